"""Removing noise from images: a small U-Net."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from celo.meta.data.images import ImageData
from celo.meta.tasks import networks
from celo.meta.tasks.base import Batch, Label, Loss, Params, pytree, static
from celo.meta.tasks.entry import Entry
from celo.meta.tasks.image_data import DeviceImages, ImageBatches, ImageEntry
from celo.meta.tasks.layers import check_positive, clip_loss


class UNet(nn.Module):
    """From images to images of the same shape, through half and a quarter of the resolution.

    At each resolution one convolution and ReLU on the way down, from the second on with stride 2; on the way
    up each pixel is repeated, joined with the activations of the way down, and convolved again.

    Source: Ronneberger et al. 2015 (arXiv 1505.04597), at a small size.

    Attributes:
        channels: of the convolutions at each resolution, from full to lowest.
    """

    channels: tuple[int, ...] = (16, 32, 64)

    def __post_init__(self) -> None:
        networks.check_sizes(channels=self.channels)
        super().__post_init__()

    @nn.compact
    def __call__(self, images: Array) -> Array:
        """Compute images (batch, height, width, channels) from images of that shape."""
        x, passed = images, []
        for level, channels in enumerate(self.channels):
            stride = 2 if level else 1
            x = jax.nn.relu(networks.convolution(channels, 3, stride, f"down_{level}")(x))
            passed.append(x)
        for level in reversed(range(len(self.channels) - 1)):
            height, width = passed[level].shape[1:3]
            x = jnp.repeat(jnp.repeat(x, 2, axis=1), 2, axis=2)[:, :height, :width]
            x = jnp.concatenate([x, passed[level]], axis=-1)
            x = jax.nn.relu(networks.convolution(self.channels[level], 3, 1, f"up_{level}")(x))
        return networks.convolution(images.shape[-1], 1, 1, "out")(x)


@pytree
class Denoising(ImageBatches):
    """Restore images from noisy ones under the mean squared error.

    The loss is ``mean (f(x + n) - x)²`` with ``n ~ N(0, sigma²)``, drawn anew for every loss, in evaluation
    too. Pixels are in [0, 1].

    Attributes:
        network: from noisy images to restored ones.
        shape: height, width and channels of an image.
        sigma: standard deviation of the noise.
    """

    network: nn.Module = static()
    shape: tuple[int, int, int] = static()
    sigma: float = static(default=0.5)

    loss_unit = "mean squared error"

    def __post_init__(self) -> None:
        check_positive("batch_size", self.batch_size)
        if not 0 < self.sigma < float("inf"):
            raise ValueError(f"sigma must be a positive finite number, got {self.sigma!r}")

    @classmethod
    def of(cls, data: ImageData, network: nn.Module, name: str | None = None, **config: Any) -> Self:
        """Build the task on host images."""
        task = cls(DeviceImages.of(data), network, data.shape, **config)
        return dataclasses.replace(task, label=Label(name or f"Denoising_{data.name}_bs{task.batch_size}"))

    def init(self, key: Array) -> tuple[Params, tuple[()]]:
        """Draw the parameters; there is no model state."""
        return self.network.init(key, jnp.zeros((1, *self.shape), jnp.float32))["params"], ()

    def loss(self, params: Params, model_state: tuple[()], key: Array, batch: Batch) -> Loss:
        """Compute the mean squared error; the key is for the noise."""
        images = batch["image"].reshape(-1, *self.shape)
        noisy = images + self.sigma * jax.random.normal(key, images.shape)
        restored: Any = self.network.apply({"params": params}, noisy)
        return jnp.mean(jnp.square(restored - images)), model_state, {}

    def normalizer(self, loss: Array) -> Array:
        """Clip the loss to [0, 1]; NaN becomes 1."""
        return clip_loss(loss, 1.0)


DENOISING_TASKS: dict[str, Entry] = {
    "Denoising_Mnist14_UNet8x16x32_bs64": ImageEntry(
        "denoising", "mnist", Denoising.of, {"network": UNet((8, 16, 32)), "batch_size": 64}, 14, 1
    )
}
