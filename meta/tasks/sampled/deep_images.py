"""Families of sampled residual networks and vision transformers, with their published ranges."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from celo.meta.data.images import ImageData
from celo.meta.tasks import networks
from celo.meta.tasks.image_classifier import ImageClassifier
from celo.meta.tasks.layers import Activation, activation_of
from celo.meta.tasks.sampled import distributions
from celo.meta.tasks.sampled.distributions import Choice, Configuration, LogInt, Uniform
from celo.meta.tasks.sampled.graph import Dynamic
from celo.meta.tasks.sampled.images import ImageFamily
from celo.meta.tasks.sampled.task import SampledTask
from celo.meta.tasks.vit import VisionTransformer

_STRIDES = (1, 2, 2, 2)
_DIVISOR = 4
_PATTERNS = ((1, 1, 1, 1), (1, 2, 4, 8), (1, 2, 2, 4), (1, 2, 2, 2), (1, 2, 4, 4))


class ResNetV1(nn.Module):
    """Classify images by four groups of bottleneck blocks, each norm after its convolution.

    A convolution of stride 2, batch norm and the activation; a 3x3 maximum of stride 2; the blocks, whose own
    activation is ReLU; the mean over pixels and a dense layer that starts at zero. The first block of each
    group projects its input; those of groups 2 to 4 halve the resolution.

    Source: He et al. 2015 (arXiv 1512.03385).

    Attributes:
        blocks: number of blocks of each group.
        channels: channels each group puts out.
        stem: height and width of the window of the first convolution.
        stem_channels: its channels.
        max_pool: whether the maximum follows it.
        activation: after the first convolution: a name, or a function.
        num_classes: number of outputs.
    """

    blocks: tuple[int, ...]
    channels: tuple[int, ...]
    stem: int = 3
    stem_channels: int = 64
    max_pool: bool = True
    activation: Activation = "relu"
    num_classes: int = 10

    def __post_init__(self) -> None:
        networks.check_network(self.activation, None)
        networks.check_sizes(
            blocks=self.blocks, channels=self.channels, stem=self.stem, stem_channels=self.stem_channels
        )
        if not len(self.blocks) == len(self.channels) == len(_STRIDES):
            raise ValueError(f"blocks and channels must have four entries: {self.blocks}, {self.channels}")
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Compute logits (batch, classes) from images (batch, height, width, channels)."""
        x = networks.convolution(self.stem_channels, self.stem, 2, "stem", use_bias=False)(images)
        x = activation_of(self.activation)(networks.batch_norm("norm")(x))
        if self.max_pool:
            x = nn.max_pool(x, (3, 3), (2, 2), "SAME")
        groups = zip(self.blocks, self.channels, _STRIDES, strict=True)
        for group, (blocks, channels, stride) in enumerate(groups):
            for i in range(blocks):
                x = _Bottleneck(channels, 1 if i else stride, i == 0, name=f"block_{group}_{i}")(x)
        head = nn.Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="linear")
        return head(jnp.mean(x, axis=(1, 2)))


class _Bottleneck(nn.Module):
    """Three times convolution (1x1, 3x3, 1x1) and batch norm, ReLU between them; added to the input; ReLU."""

    channels: int
    stride: int
    projection: bool

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        narrow = self.channels // _DIVISOR
        shortcut = x
        if self.projection:
            project = networks.convolution(self.channels, 1, self.stride, "projection", use_bias=False)
            shortcut = networks.batch_norm("norm_projection")(project(x))
        layers = ((narrow, 1, 1), (narrow, 3, self.stride), (self.channels, 1, 1))
        for i, (channels, size, stride) in enumerate(layers):
            x = jax.nn.relu(x) if i else x
            x = networks.convolution(channels, size, stride, f"conv_{i}", use_bias=False)(x)
            x = networks.batch_norm(f"norm_{i}")(x)
        return jax.nn.relu(x + shortcut)


@dataclasses.dataclass(frozen=True)
class DeepFamily(ImageFamily):
    """Base of the deep networks, with the normaliser ``clip(10 L / ln 2C, 0, 10)``."""

    image_size: LogInt = LogInt(8, 64)
    batch_size: LogInt = LogInt(4, 256)

    def build(self, data: ImageData, name: str, dynamic: Dynamic, **config: Any) -> SampledTask:
        """Build the task; the network has initialisers of its own."""
        task = ImageClassifier.of(data, normalization="relative", **config)
        return SampledTask.of(task, dynamic, name)


@dataclasses.dataclass(frozen=True)
class ResNetFamily(DeepFamily):
    """Residual networks, see `ResNetV1`; each of the four groups has its own number of blocks."""

    max_blocks_per_group: LogInt = LogInt(1, 10)
    channel_pattern: Choice = Choice(_PATTERNS)
    max_layer_size: LogInt = LogInt(8, 256)
    initial_conv_kernel_size: Choice = Choice((3, 5, 7))
    initial_conv_channels: LogInt = LogInt(8, 64)
    max_pool: Choice = Choice((True, False))

    shared = ("activation",)

    def configure(self, key: jax.Array) -> dict[str, Any]:
        """Draw a configuration; "blocks_per_group" depends on the largest number of them."""
        configuration = super().configure(key)
        blocks = LogInt(1, configuration["max_blocks_per_group"])
        groups = distributions.configure(key, {f"blocks_{i}": blocks for i in range(len(_STRIDES))})
        return {**configuration, "blocks_per_group": tuple(groups.values())}

    def model(self, configuration: Configuration) -> dict[str, Any]:
        """The network; the number of classes is set to that of the data."""
        size = configuration["max_layer_size"]
        network = ResNetV1(
            configuration["blocks_per_group"],
            tuple(size * factor for factor in configuration["channel_pattern"]),
            configuration["initial_conv_kernel_size"],
            configuration["initial_conv_channels"],
            configuration["max_pool"],
        )
        return {"network": network}


@dataclasses.dataclass(frozen=True)
class ViTFamily(DeepFamily):
    """Vision transformers. Patches larger than the image, which would leave none, are not drawn."""

    layers: LogInt = LogInt(1, 16)
    num_heads: LogInt = LogInt(1, 16)
    hidden_per_head: LogInt = LogInt(8, 64)
    hidden_per_head_of_many: LogInt = LogInt(8, 32)
    mlp_dim: LogInt = LogInt(32, 512)
    patch_size: Choice = Choice((2, 4, 8, 12, 16))
    dropout: Uniform = Uniform(0.0, 0.8)
    attention_dropout: Uniform = Uniform(0.0, 0.8)
    drops: Choice = Choice((True,) * 7 + (False,) * 3)

    def configure(self, key: jax.Array) -> dict[str, Any]:
        """Draw a configuration: patches that fit into the image, narrower heads if there are four or more."""
        configuration = super().configure(key)
        fitting = Choice(tuple(x for x in self.patch_size.values if x <= configuration["image_size"]))
        configuration |= distributions.configure(key, {"patch_size": fitting})
        of_many = configuration.pop("hidden_per_head_of_many")
        if configuration["num_heads"] >= 4:
            configuration["hidden_per_head"] = of_many
        if not configuration.pop("drops"):
            configuration |= {"dropout": 0.0, "attention_dropout": 0.0}
        return configuration

    def model(self, configuration: Configuration) -> dict[str, Any]:
        """The network; the number of classes is set to that of the data."""
        network = VisionTransformer(
            configuration["num_heads"] * configuration["hidden_per_head"],
            configuration["mlp_dim"],
            configuration["num_heads"],
            configuration["layers"],
            configuration["patch_size"],
            configuration["dropout"],
            configuration["attention_dropout"],
        )
        return {"network": network}
