"""The residual network with norms before the convolutions (He et al. 2016, arXiv 1603.05027)."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from celo.meta.tasks.models import parts

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
        """Check the configuration."""
        parts.check_sizes(
            blocks=self.blocks, channels=self.channels, stem=self.stem, num_classes=self.num_classes
        )
        if not len(self.blocks) == len(self.channels) == len(_STRIDES):
            raise ValueError(f"blocks and channels must have four entries: {self.blocks}, {self.channels}")
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Compute logits (batch, classes) from images (batch, height, width, channels)."""
        x = parts.convolution(_STEM_CHANNELS, self.stem, 2, "stem", use_bias=False)(images)
        if self.max_pool:
            x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        for group, (blocks, channels, stride) in enumerate(
            zip(self.blocks, self.channels, _STRIDES, strict=True)
        ):
            for i in range(blocks):
                block = _Bottleneck(channels, 1 if i else stride, i == 0, name=f"block_{group}_{i}")
                x = block(x)
        x = jnp.mean(jax.nn.relu(parts.batch_norm("norm")(x)), axis=(1, 2))
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
            x = jax.nn.relu(parts.batch_norm(f"norm_{i}")(x))
            if i == 0 and self.projection:
                project = parts.convolution(self.channels, 1, self.stride, "projection", use_bias=False)
                shortcut = project(x)
            x = parts.convolution(channels, size, stride, f"conv_{i}", use_bias=False)(x)
        return x + shortcut
