"""A plain convolutional network."""

import jax
import jax.numpy as jnp
from flax import linen as nn

from celo.meta.tasks.layers import ACTIVATIONS
from celo.meta.tasks.models import parts


class ConvNet(nn.Module):
    """Classify images: per layer a 3x3 convolution, activation, norm; then the mean over pixels, and dense.

    The norm comes *after* the activation. The first convolution has stride 2, the others 1.

    Attributes:
        channels: channels of each convolution.
        activation: a name in `celo.meta.tasks.layers.ACTIVATIONS`.
        norm: "batch_norm", "layer_norm" (over the channels of one pixel) or None.
        num_classes: number of outputs.
    """

    channels: tuple[int, ...]
    activation: str = "relu"
    norm: str | None = None
    num_classes: int = 10

    def __post_init__(self) -> None:
        """Check the configuration."""
        parts.check_network(self.activation, self.norm)
        parts.check_sizes(channels=self.channels, num_classes=self.num_classes)
        super().__post_init__()

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Compute logits (batch, classes) from images (batch, height, width, channels)."""
        x = images
        for i, channels in enumerate(self.channels):
            x = parts.convolution(channels, 3, 1 if i else 2, f"conv_{i}")(x)
            x = ACTIVATIONS[self.activation](x)
            if self.norm is not None:
                x = parts.norm(self.norm, f"norm_{i}")(x)
        return parts.dense(self.num_classes, "linear")(jnp.mean(x, axis=(1, 2)))
