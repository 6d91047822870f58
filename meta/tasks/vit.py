"""Vision transformers (Dosovitskiy et al. 2020, arXiv 2010.11929), and their tasks."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from celo.meta.tasks import networks
from celo.meta.tasks.entry import Entry
from celo.meta.tasks.image_classifier import classifier
from celo.meta.tasks.image_data import ImageEntry


class VisionTransformer(nn.Module):
    """Classify images by patches: a learned token is prepended and, after the blocks, read by the head.

    Learned positions are added to all tokens. A block is `x + attention(norm(x))`, then `x + mlp(norm(x))`;
    norms are layer norms with epsilon 1e-6. The head starts at zero, so the first loss is ln C.

    Attributes:
        width: width of the tokens.
        mlp_width: hidden width of each block's perceptron.
        heads: attention heads; they divide the width.
        depth: number of blocks.
        patch: height and width of a patch in pixels.
        dropout: share of the embedded tokens and of each block's outputs set to zero, also in evaluation.
        attention_dropout: the same of the weights of the attention.
        num_classes: number of outputs.
    """

    width: int
    mlp_width: int
    heads: int
    depth: int
    patch: int = 16
    dropout: float = 0.0
    attention_dropout: float = 0.0
    num_classes: int = 10

    def __post_init__(self) -> None:
        sizes = ("width", "mlp_width", "heads", "depth", "patch", "num_classes")
        networks.check_sizes(**{name: getattr(self, name) for name in sizes})
        if self.width % self.heads:
            raise ValueError(f"heads must divide the width {self.width}, got {self.heads}")
        for name in ("dropout", "attention_dropout"):
            if not 0.0 <= getattr(self, name) < 1.0:
                raise ValueError(f"{name} must be at least 0 and below 1, got {getattr(self, name)!r}")
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Compute logits (batch, classes) from images (batch, height, width, channels)."""
        window = (self.patch, self.patch)
        x = nn.Conv(self.width, window, strides=window, padding="VALID", name="embedding")(images)
        x = x.reshape(len(images), -1, self.width)
        token = self.param("token", nn.initializers.zeros, (1, 1, self.width))
        x = jnp.concatenate([jnp.broadcast_to(token, (len(images), 1, self.width)), x], axis=1)
        positions = nn.initializers.normal(0.02)
        x = x + self.param("position", positions, (1, x.shape[1], self.width))
        x = nn.Dropout(self.dropout, deterministic=not self.dropout)(x)
        for i in range(self.depth):
            config = (self.mlp_width, self.heads, self.dropout, self.attention_dropout)
            x = _Block(*config, name=f"block_{i}")(x)
        x = nn.LayerNorm(name="norm")(x)
        head = nn.Dense(self.num_classes, kernel_init=nn.initializers.zeros, name="head")
        return head(x[:, 0])


class _Block(nn.Module):
    """Self-attention and a perceptron, each on normalised tokens and added to them."""

    mlp_width: int
    heads: int
    dropout: float = 0.0
    attention_dropout: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        uniform = nn.initializers.xavier_uniform()
        drop = nn.Dropout(self.dropout, deterministic=not self.dropout)
        attention = nn.MultiHeadDotProductAttention(
            self.heads,
            kernel_init=uniform,
            dropout_rate=self.attention_dropout,
            broadcast_dropout=False,
            deterministic=not self.attention_dropout,
        )
        x = x + drop(attention(nn.LayerNorm()(x)))
        small = nn.initializers.normal(1e-6)
        y = nn.Dense(self.mlp_width, kernel_init=uniform, bias_init=small)(nn.LayerNorm()(x))
        y = nn.Dense(x.shape[-1], kernel_init=uniform, bias_init=small)(drop(nn.gelu(y)))
        return x + drop(y)


_WIDE = VisionTransformer(width=384, mlp_width=1536, heads=6, depth=6)
_DEEP = VisionTransformer(width=128, mlp_width=512, heads=4, depth=10)


def _vit(dataset: str, size: int | None, network: VisionTransformer) -> ImageEntry:
    return classifier("vit", dataset, size, network, normalization="relative")


VIT_TASKS: dict[str, Entry] = {
    "VIT_Cifar100_wideshallow": _vit("cifar100", None, _WIDE),
    "VIT_Cifar100_skinnydeep": _vit("cifar100", None, _DEEP),
    "VIT_Food101_64_wideshallow": _vit("food101", 64, _WIDE),
    "VIT_Food101_64_skinnydeep": _vit("food101", 64, _DEEP),
    "VIT_ImageNet64_wideshallow": _vit("imagenet2012", 64, _WIDE),
    "VIT_ImageNet64_skinnydeep": _vit("imagenet2012", 64, _DEEP),
}
