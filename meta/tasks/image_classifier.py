"""Image classification with any network."""

import dataclasses
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import linen as nn

from celo._core.names import unknown_name
from celo.meta.data.images import ImageData
from celo.meta.tasks.base import Aux, Batch, Label, ModelState, Params, pytree, static
from celo.meta.tasks.image_data import DeviceImages, ImageBatches
from celo.meta.tasks.layers import check_positive, cross_entropy
from celo.meta.tasks.normalizers import NORMALIZERS


def _cross_entropy(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.mean(cross_entropy(logits, labels, axis=-1))


def _squared_error(logits: jax.Array, labels: jax.Array) -> jax.Array:
    return jnp.mean(jnp.square(logits - jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)))


LOSSES: Mapping[str, Callable[[jax.Array, jax.Array], jax.Array]] = MappingProxyType(
    {"cross_entropy": _cross_entropy, "squared_error": _squared_error}
)
"""Name to loss of logits (batch, classes) and labels (batch,).

"cross_entropy" is the mean cross-entropy in nats; "squared_error" is the mean over batch and classes of the
squared difference from 1 for the label's class, from 0 for the others.
"""


@pytree
class ImageClassifier(ImageBatches):
    """Classify images by a network given as a flax module.

    Norms and dropout are in training mode in every split, as in the reference.

    Source of the tasks built with it: learned_optimization (Metz et al. 2022, arXiv 2203.11860).

    Attributes:
        data: images on the device.
        label: holds the name.
        network: maps images (batch, height, width, channels) to logits (batch, num_classes); hashable.
        shape: height, width and channels of an image.
        objective: a name in `LOSSES`.
        normalization: a name in `celo.meta.tasks.normalizers.NORMALIZERS`.
        batch_size: examples per batch.

    Example:
        >>> from celo.meta.data import load_images
        >>> from celo.meta.tasks.models import ConvNet
        >>> task = ImageClassifier.of(load_images("digits"), ConvNet(channels=(4, 8), norm="batch_norm"))
        >>> params, state = task.init(jax.random.key(0))
        >>> sorted(state["batch_stats"]["norm_0"])
        ['mean', 'var']
    """

    data: DeviceImages
    label: Label = static()
    network: nn.Module = static()
    shape: tuple[int, int, int] = static()
    objective: str = static(default="cross_entropy")
    normalization: str = static(default="clip_finite")
    batch_size: int = static(default=128)

    def __post_init__(self):
        check_positive("batch_size", self.batch_size)
        if self.objective not in LOSSES:
            raise unknown_name("objective", self.objective, LOSSES)
        if self.normalization not in NORMALIZERS:
            raise unknown_name("normalization", self.normalization, NORMALIZERS)
        if self.num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, got {self.num_classes!r}")

    @classmethod
    def of(cls, data: ImageData, network: nn.Module, name: str | None = None, **config: Any) -> Self:
        """Build the task on a dataset.

        Args:
            data: the images, on the host.
            network: the module; its field `num_classes` is set to that of the data.
            name: name of the task; by default made of the data and the network.
            **config: `objective`, `normalization`, `batch_size`.
        """
        network = network.clone(num_classes=data.num_classes)
        task = cls(DeviceImages.of(data), Label(""), network, data.shape, **config)
        made = f"{type(network).__name__}_{data.name}_{'x'.join(map(str, data.shape))}_bs{task.batch_size}"
        return dataclasses.replace(task, label=Label(name or made))

    @property
    def num_classes(self) -> int:
        """Number of classes C; the loss of a uniform guess is ln C."""
        return getattr(self.network, "num_classes")  # noqa: B009  # a field of every module given to `of`

    def init(self, key: jax.Array) -> tuple[Params, ModelState]:
        """Draw the parameters; the model state is the collections of the network that are not trained."""
        keys: Any = dict(zip(("params", "dropout"), jax.random.split(key), strict=True))
        variables = dict(self.network.init(keys, jnp.zeros((1, *self.shape), jnp.float32)))
        params = variables.pop("params")
        return params, variables or ()

    def loss(
        self, params: Params, model_state: ModelState, key: jax.Array, batch: Batch
    ) -> tuple[jax.Array, ModelState, Aux]:
        """Compute the mean loss; aux holds the accuracy. The key is for dropout."""
        images = batch["image"].reshape(-1, *self.shape)
        variables = {"params": params, **(model_state or {})}
        logits, new_state = self.network.apply(
            variables, images, rngs={"dropout": key}, mutable=list(model_state)
        )
        accuracy = jnp.mean(jnp.argmax(logits, axis=-1) == batch["label"])
        loss = LOSSES[self.objective](logits, batch["label"])
        return loss, dict(new_state) or (), {"accuracy": accuracy}

    def normalizer(self, loss: jax.Array) -> jax.Array:
        """Map a loss to the range of the meta-objective, see `celo.meta.tasks.normalizers`."""
        return NORMALIZERS[self.normalization](loss, self.num_classes)
