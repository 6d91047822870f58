"""Image classification with a multi-layer perceptron: the tasks Celo is meta-trained on."""

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp

from celo.meta.data.images import ImageData
from celo.meta.tasks.base import Aux, Batch, Label, pytree, static
from celo.meta.tasks.image_data import DeviceImages, ImageBatches, default_name
from celo.meta.tasks.layers import (
    Layers,
    apply_mlp,
    check_perceptron,
    clip_loss,
    cross_entropy,
    init_mlp,
    uniform_guess_ceiling,
)


@pytree
class ImageMLP(ImageBatches):
    """Classify images by a perceptron under the mean softmax cross-entropy, in nats.

    Source: Moudgil et al. 2025 (arXiv 2501.12670), section 4: four such families, 64-32-10, batch 64.

    Attributes:
        data: images on the device.
        label: holds the name.
        num_classes: number of classes C; the loss of a uniform guess is ln C.
        hidden: widths of the hidden layers.
        activation: name of the activation between layers.
        batch_size: examples per batch.

    Example:
        >>> from celo.meta.data import load_images
        >>> key = jax.random.key(0)
        >>> task = ImageMLP.of(load_images("digits"))
        >>> params, state = task.init(key)
        >>> loss, state, aux = task.loss(params, state, key, task.batch(key, "train"))
        >>> aux["accuracy"].shape
        ()
    """

    data: DeviceImages
    label: Label = static()
    num_classes: int = static()
    hidden: tuple[int, ...] = static(default=(32,))
    activation: str = static(default="relu")
    batch_size: int = static(default=64)

    def __post_init__(self):
        check_perceptron(self.hidden, self.activation, self.batch_size)
        if self.num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {self.num_classes!r}")

    @classmethod
    def of(cls, data: ImageData, name: str | None = None, **config: Any) -> Self:
        """Build the task on a dataset.

        Args:
            data: the images, on the host.
            name: name of the task; by default made of the data and the configuration.
            **config: `hidden`, `activation`, `batch_size`.
        """
        task = cls(DeviceImages.of(data), Label(""), data.num_classes, **config)
        made = default_name("ImageMLP", data, task.hidden, task.activation, task.batch_size)
        return dataclasses.replace(task, label=Label(name or made))

    def init(self, key: jax.Array) -> tuple[Layers, tuple[()]]:
        """Draw the parameters; there is no model state."""
        return init_mlp(key, (self.data.features, *self.hidden, self.num_classes)), ()

    def loss(
        self, params: Layers, model_state: tuple[()], key: jax.Array, batch: Batch
    ) -> tuple[jax.Array, tuple[()], Aux]:
        """Compute the mean cross-entropy; aux holds the accuracy. The key is not used: nothing is random."""
        logits = apply_mlp(params, batch["image"], self.activation)
        accuracy = jnp.mean(jnp.argmax(logits, axis=0) == batch["label"])
        loss = jnp.mean(cross_entropy(logits, batch["label"], axis=0))
        return loss, model_state, {"accuracy": accuracy}

    def normalizer(self, loss: jax.Array) -> jax.Array:
        """Clip the loss to [0, 1.5 ln C]; NaN becomes 1.5 ln C."""
        return clip_loss(loss, uniform_guess_ceiling(self.num_classes))
