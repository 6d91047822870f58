"""Residual networks with norms before the convolutions (He et al. 2016, arXiv 1603.05027)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from celo.meta.tasks import networks
from celo.meta.tasks.entry import Entry
from celo.meta.tasks.image_classifier import classifier
from celo.meta.tasks.image_data import ImageEntry

_STEM_CHANNELS = 64
_STRIDES = (1, 2, 2, 2)
_DIVISOR = 4


class ResNet(nn.Module):
    """Classify images by four groups of bottleneck blocks.

    A convolution of stride 2 to 64 channels and a 3x3 maximum of stride 2; then the blocks; then batch norm,
    ReLU, the mean over pixels and a dense layer that starts at zero. Convolutions have no bias. The first
    block of each group changes the number of channels; those of groups 2 to 4 halve the resolution.

    Attributes:
        blocks: number of blocks of each group.
        channels: channels each group puts out.
        stem: height and width of the window of the first convolution.
        max_pool: whether the maximum follows it.
        num_classes: number of outputs.
    """

    blocks: tuple[int, int, int, int]
    channels: tuple[int, int, int, int]
    stem: int = 3
    max_pool: bool = True
    num_classes: int = 10

    def __post_init__(self) -> None:
        networks.check_sizes(
            blocks=self.blocks, channels=self.channels, stem=self.stem, num_classes=self.num_classes
        )
        if not len(self.blocks) == len(self.channels) == len(_STRIDES):
            raise ValueError(f"blocks and channels must have four entries: {self.blocks}, {self.channels}")
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Compute logits (batch, classes) from images (batch, height, width, channels)."""
        x = networks.convolution(_STEM_CHANNELS, self.stem, 2, "stem", use_bias=False)(images)
        if self.max_pool:
            x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        for group, (blocks, channels, stride) in enumerate(
            zip(self.blocks, self.channels, _STRIDES, strict=True)
        ):
            for i in range(blocks):
                block = _Bottleneck(channels, 1 if i else stride, i == 0, name=f"block_{group}_{i}")
                x = block(x)
        x = jnp.mean(jax.nn.relu(networks.batch_norm("norm")(x)), axis=(1, 2))
        return nn.Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="linear")(x)


class _Bottleneck(nn.Module):
    """Three times batch norm, ReLU, convolution (1x1, 3x3, 1x1), added to the input.

    With a projection the input is replaced by a 1x1 convolution of what comes out of the first ReLU.
    """

    channels: int
    stride: int
    projection: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        narrow = self.channels // _DIVISOR
        layers = ((narrow, 1, 1), (narrow, 3, self.stride), (self.channels, 1, 1))
        shortcut = x
        for i, (channels, size, stride) in enumerate(layers):
            x = jax.nn.relu(networks.batch_norm(f"norm_{i}")(x))
            if i == 0 and self.projection:
                project = networks.convolution(self.channels, 1, self.stride, "projection", use_bias=False)
                shortcut = project(x)
            x = networks.convolution(channels, size, stride, f"conv_{i}", use_bias=False)(x)
        return x + shortcut


_ONE_EACH = (1, 1, 1, 1)


def _resnet(
    size: int,
    batch_size: int,
    channels: tuple[int, int, int, int],
    stem: int,
    blocks: tuple[int, int, int, int] = _ONE_EACH,
    max_pool: bool = True,
) -> ImageEntry:
    network = ResNet(blocks, channels, stem, max_pool)
    return classifier("resnet", "imagenet2012", size, network, batch_size, normalization="none")


RESNET_TASKS: dict[str, Entry] = {
    "Resnet_Cifar10_16_16x32x64x64": classifier(
        "resnet", "cifar10", 16, ResNet(_ONE_EACH, (16, 32, 64, 64), max_pool=False), 64
    ),
    "Resnet_MultiRuntime_0": _resnet(16, 64, (8, 16, 16, 16), 3),
    "Resnet_MultiRuntime_1": _resnet(16, 64, (8, 16, 16, 32), 3),
    "Resnet_MultiRuntime_2": _resnet(16, 64, (64, 128, 128, 128), 3),
    "Resnet_MultiRuntime_3": _resnet(16, 192, (64, 128, 256, 512), 5),
    "Resnet_MultiRuntime_4": _resnet(16, 192, (128, 256, 512, 512), 5),
    "Resnet_MultiRuntime_5": _resnet(32, 128, (128, 256, 512, 512), 5),
    "Resnet_MultiRuntime_6": _resnet(32, 256, (128, 256, 512, 512), 3),
    "Resnet_MultiRuntime_7": _resnet(32, 256, (256, 512, 512, 1024), 5),
    "Resnet_MultiRuntime_8": _resnet(64, 256, (256, 512, 1024, 1024), 3),
    "Resnet_MultiRuntime_9": _resnet(64, 256, (256, 512, 1024, 1024), 3, (1, 2, 4, 5)),
    "Resnet_MultiRuntime_10": _resnet(64, 256, (256, 512, 1024, 1024), 5, (1, 1, 3, 4), max_pool=False),
}
