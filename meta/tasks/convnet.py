"""Plain convolutional networks on images, and their tasks."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from celo.meta.tasks import networks
from celo.meta.tasks.entry import Entry
from celo.meta.tasks.image_classifier import classifier
from celo.meta.tasks.image_data import ImageEntry
from celo.meta.tasks.layers import Activation, activation_of


class ConvNet(nn.Module):
    """Classify images: per layer a 3x3 convolution, activation, norm; then the mean over pixels, and dense.

    The norm comes *after* the activation. The first convolutions have stride 2, the others 1.

    Attributes:
        channels: channels of each convolution.
        activation: a name in `celo.meta.tasks.layers.ACTIVATIONS`, or a function.
        norm: "batch_norm", "layer_norm" (over the channels of one pixel) or None.
        downsampled: how many convolutions have stride 2.
        num_classes: number of outputs.
    """

    channels: tuple[int, ...]
    activation: Activation = "relu"
    norm: str | None = None
    downsampled: int = 1
    num_classes: int = 10

    def __post_init__(self) -> None:
        networks.check_network(self.activation, self.norm)
        networks.check_sizes(channels=self.channels, num_classes=self.num_classes)
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Compute logits (batch, classes) from images (batch, height, width, channels)."""
        x = images
        for i, channels in enumerate(self.channels):
            x = networks.convolution(channels, 3, 2 if i < self.downsampled else 1, f"conv_{i}")(x)
            x = activation_of(self.activation)(x)
            if self.norm is not None:
                x = networks.norm(self.norm, f"norm_{i}")(x)
        return networks.dense(self.num_classes, "linear")(jnp.mean(x, axis=(1, 2)))


def _conv(
    dataset: str, size: int | None, *channels: int, batch_size: int = 128, **network: Any
) -> ImageEntry:
    net = ConvNet(channels, **network)
    return classifier("conv", dataset, size, net, batch_size, normalization="clip")


CONV_TASKS: dict[str, Entry] = {
    "Conv_Cifar10_8_16x32": _conv("cifar10", 8, 16, 32),
    "Conv_Cifar10_16_32x64x64": _conv("cifar10", 16, 32, 64, 64),
    "Conv_Cifar10_16_16x32x32_batchnorm_bs64": _conv(
        "cifar10", 16, 16, 32, 32, batch_size=64, norm="batch_norm"
    ),
    "Conv_Cifar10_16_16x32x32_layernorm_bs64": _conv(
        "cifar10", 16, 16, 32, 32, batch_size=64, norm="layer_norm"
    ),
    "Conv_Cifar10_32x64x64": _conv("cifar10", None, 32, 64, 64),
    "Conv_Cifar10_32x64x64_Tanh": _conv("cifar10", None, 32, 64, 64, activation="tanh"),
    "Conv_Cifar10_32x64x64_batchnorm": _conv("cifar10", None, 32, 64, 64, norm="batch_norm"),
    "Conv_Cifar10_32x64x64_layernorm": _conv("cifar10", None, 32, 64, 64, norm="layer_norm"),
    "Conv_Cifar100_32x64x64": _conv("cifar100", None, 32, 64, 64),
    "Conv_Cifar100_32x64x64_BS32": _conv("cifar100", None, 32, 64, 64, batch_size=32),
    "Conv_Cifar100_32x64x64_Tanh": _conv("cifar100", None, 32, 64, 64, activation="tanh"),
    "Conv_imagenet32_16_32x64x64": _conv("imagenet2012", 32, 32, 64, 64),
    "Conv_imagenet16_16_64x128x128x128": _conv("imagenet2012", 16, 64, 128, 128, 128),
}
