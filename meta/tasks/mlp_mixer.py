"""MLP-Mixers (Tolstikhin et al. 2021, arXiv 2105.01601), and their tasks."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from celo.meta.tasks import networks
from celo.meta.tasks.entry import Entry
from celo.meta.tasks.image_classifier import classifier
from celo.meta.tasks.image_data import ImageEntry


class MLPMixer(nn.Module):
    """Classify images by patches, with perceptrons along the patches and along the channels in turn.

    A block is `x + mlp(norm(x)')'`, then `x + mlp(norm(x))`, where the prime swaps patches and channels; then
    a norm, the mean over patches and a head that starts at zero. Norms are layer norms with epsilon 1e-6.

    Attributes:
        width: channels of a patch.
        token_width: hidden width of the perceptrons along the patches.
        channel_width: hidden width of the perceptrons along the channels.
        depth: number of blocks.
        patch: height and width of a patch in pixels.
        num_classes: number of outputs.
    """

    width: int
    token_width: int
    channel_width: int
    depth: int
    patch: int = 16
    num_classes: int = 10

    def __post_init__(self) -> None:
        sizes = ("width", "token_width", "channel_width", "depth", "patch", "num_classes")
        networks.check_sizes(**{name: getattr(self, name) for name in sizes})
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Compute logits (batch, classes) from images (batch, height, width, channels)."""
        window = (self.patch, self.patch)
        x = nn.Conv(self.width, window, strides=window, padding="VALID", name="embedding")(images)
        x = x.reshape(len(images), -1, self.width)
        for i in range(self.depth):
            y = nn.LayerNorm(name=f"token_norm_{i}")(x).swapaxes(1, 2)
            x = x + _Mlp(self.token_width, name=f"token_mlp_{i}")(y).swapaxes(1, 2)
            y = nn.LayerNorm(name=f"channel_norm_{i}")(x)
            x = x + _Mlp(self.channel_width, name=f"channel_mlp_{i}")(y)
        x = jnp.mean(nn.LayerNorm(name="norm")(x), axis=1)
        return nn.Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")(x)


class _Mlp(nn.Module):
    """Dense, gelu, dense back to the width of the input."""

    hidden: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        return nn.Dense(x.shape[-1])(nn.gelu(nn.Dense(self.hidden)(x)))


_TINY = MLPMixer(width=512, token_width=384, channel_width=2048, depth=5)
_SMALL = MLPMixer(width=768, token_width=384, channel_width=3072, depth=8)


def _mixer(dataset: str, size: int | None, network: MLPMixer, batch_size: int = 128) -> ImageEntry:
    return classifier("mlp_mixer", dataset, size, network, batch_size, normalization="relative")


MLP_MIXER_TASKS: dict[str, Entry] = {
    "MLPMixer_Cifar100_small16": _mixer("cifar100", None, _SMALL),
    "MLPMixer_Cifar100_tiny16": _mixer("cifar100", None, _TINY),
    "MLPMixer_Cifar100_bs256_tiny16": _mixer("cifar100", None, _TINY, 256),
    "MLPMixer_Food101_64_small16": _mixer("food101", 64, _SMALL),
    "MLPMixer_Food101_64_tiny16": _mixer("food101", 64, _TINY),
    "MLPMixer_Food101_64_bs256_tiny16": _mixer("food101", 64, _TINY, 256),
    "MLPMixer_ImageNet64_small16": _mixer("imagenet2012", 64, _SMALL),
    "MLPMixer_ImageNet64_tiny16": _mixer("imagenet2012", 64, _TINY),
    "MLPMixer_ImageNet64_bs256_tiny16": _mixer("imagenet2012", 64, _TINY, 256),
}
