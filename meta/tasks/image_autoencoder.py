"""Perceptrons that reconstruct images through a bottleneck."""

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp

from celo.meta.data.images import ImageData
from celo.meta.tasks.base import Batch, Label, Loss, pytree, static
from celo.meta.tasks.entry import Entry
from celo.meta.tasks.image_data import DeviceImages, ImageBatches, ImageEntry
from celo.meta.tasks.layers import (
    Layers,
    apply_mlp,
    apply_mlp_by_rows,
    check_perceptron,
    clip_loss,
    init_mlp,
    is_wide,
)


@pytree
class ImageAutoencoder(ImageBatches):
    """Reconstruct images under the mean squared error, `mean (sigmoid(output) - pixel)²`.

    The mean is over pixels and examples. Architecture and loss of the `ImageMLPAE` tasks of
    learned_optimization (Metz et al. 2022, arXiv 2203.11860).

    Attributes:
        hidden: widths of the hidden layers; the narrowest is the code.
        activation: name of the activation between layers.

    Example:
        >>> from celo.meta.data import load_images
        >>> ImageAutoencoder.of(load_images("digits"), hidden=(32, 16, 32)).name
        'ImageMLPAE_digits_8x8x1_relu32x16x32_bs128'
    """

    hidden: tuple[int, ...] = static(default=(128, 32, 128))
    activation: str = static(default="relu")

    loss_unit = "mean squared error"

    def __post_init__(self):
        check_perceptron(self.hidden, self.activation, self.batch_size)

    @classmethod
    def of(cls, data: ImageData, name: str | None = None, **config: Any) -> Self:
        """Build the task on host images; by default the name is made of the data and the `config`."""
        task = cls(DeviceImages.of(data), **config)
        made = task.describe("ImageMLPAE", data)
        return dataclasses.replace(task, label=Label(name or made))

    def init(self, key: jax.Array) -> tuple[Layers, tuple[()]]:
        """Draw the parameters; there is no model state."""
        return init_mlp(key, (self.data.features, *self.hidden, self.data.features)), ()

    def gather(self, split: str, sample: jax.Array) -> Batch:
        """Gather a batch: "image" (batch, features) in [0, 1]."""
        return {"image": self.data.gather(split, sample)["image"]}

    def loss(self, params: Layers, model_state: tuple[()], key: jax.Array, batch: Batch) -> Loss:
        """Compute the mean squared error. The key is not used: nothing is random."""
        images = batch["image"]
        if is_wide(images):
            outputs = apply_mlp_by_rows(params, images, self.activation)
        else:
            outputs, images = apply_mlp(params, images, self.activation), images.T
        return jnp.mean(jnp.square(jax.nn.sigmoid(outputs) - images)), model_state, {}

    def normalizer(self, loss: jax.Array) -> jax.Array:
        """Clip the loss to [0, 1]; NaN becomes 1 (the reference leaves NaN, which then poisons the mean)."""
        return clip_loss(loss, 1.0)


def _autoencoder(dataset: str, *hidden: int, batch_size: int = 128) -> ImageEntry:
    config = {"hidden": hidden, "batch_size": batch_size}
    return ImageEntry("image_mlp_ae", dataset, ImageAutoencoder.of, config, None, None)


def _small(dataset: str, *hidden: int) -> ImageEntry:
    config = {"hidden": hidden, "batch_size": 64}
    return ImageEntry("image_mlp_ae", dataset, ImageAutoencoder.of, config, 8, 1)


IMAGE_MLP_AE_TASKS: dict[str, Entry] = {
    "ImageMLPAE_Digits8_32x16x32_bs64": _autoencoder("digits", 32, 16, 32, batch_size=64),
    "ImageMLPAE_Mnist8_32x8x32_bs64": _small("mnist", 32, 8, 32),
    "ImageMLPAE_Cifar10BW8_32x8x32_bs64": _small("cifar10", 32, 8, 32),
    "ImageMLPAE_FashionMnist8_32x16x32_bs64": _small("fashion_mnist", 32, 16, 32),
    "ImageMLPAE_Cifar10_32x32x32_bs128": _autoencoder("cifar10", 32, 32, 32),
    "ImageMLPAE_Cifar10_256x256x256_bs128": _autoencoder("cifar10", 256, 256, 256),
    "ImageMLPAE_Cifar10_256x256x256_bs1024": _autoencoder("cifar10", 256, 256, 256, batch_size=1024),
    "ImageMLPAE_Cifar10_128x32x128_bs256": _autoencoder("cifar10", 128, 32, 128, batch_size=256),
    "ImageMLPAE_Mnist_128x32x128_bs128": _autoencoder("mnist", 128, 32, 128),
    "ImageMLPAE_FashionMnist_128x32x128_bs128": _autoencoder("fashion_mnist", 128, 32, 128),
}
