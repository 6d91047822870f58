"""A multi-layer perceptron with norms and dropout."""

import jax
from flax import linen as nn

from celo.meta.tasks.layers import ACTIVATIONS
from celo.meta.tasks.models import parts


class Perceptron(nn.Module):
    """Classify flattened images: per hidden layer dense, norm, dropout, activation; then dense.

    The perceptron without norm and dropout has a faster form, `celo.meta.tasks.ImageMLP`.

    Attributes:
        hidden: widths of the hidden layers.
        activation: a name in `celo.meta.tasks.layers.ACTIVATIONS`.
        norm: "batch_norm", "layer_norm" or None.
        dropout: share of units set to zero, also in evaluation.
        num_classes: number of outputs.
    """

    hidden: tuple[int, ...]
    activation: str = "relu"
    norm: str | None = None
    dropout: float = 0.0
    num_classes: int = 10

    def __post_init__(self) -> None:
        """Check the configuration."""
        parts.check_network(self.activation, self.norm)
        parts.check_sizes(hidden=self.hidden, num_classes=self.num_classes)
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be at least 0 and below 1, got {self.dropout!r}")
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Compute logits (batch, classes) from images (batch, height, width, channels)."""
        x = images.reshape(len(images), -1)
        for i, width in enumerate(self.hidden):
            x = parts.dense(width, f"linear_{i}")(x)
            if self.norm is not None:
                x = parts.norm(self.norm, f"norm_{i}")(x)
            if self.dropout:
                x = nn.Dropout(self.dropout, deterministic=False)(x)
            x = ACTIVATIONS[self.activation](x)
        return parts.dense(self.num_classes, f"linear_{len(self.hidden)}")(x)
