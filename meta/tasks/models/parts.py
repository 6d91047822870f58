"""Layers with the defaults of the reference implementation, which is written in haiku, and their checks."""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from flax import linen as nn

from celo._core.mlp import truncated_normal
from celo._core.names import unknown_name
from celo.meta.tasks.layers import ACTIVATIONS, check_positive
from celo.meta.tasks.models.convolution import convolve
from celo.meta.tasks.products import dot_general

NORMS = ("batch_norm", "layer_norm")
EPSILON = 1e-5
DECAY = 0.9


def kernel_init(key: jax.Array, shape: Sequence[int], dtype: object = jnp.float32) -> jax.Array:
    """Draw a kernel: normal of sigma `1/sqrt(fan-in)`, cut at two sigma and not rescaled.

    Args:
        key: random key.
        shape: the last axis is the outputs, the others are the inputs.
        dtype: only float32; flax passes it.
    """
    del dtype
    return truncated_normal(key, tuple(shape), math.prod(shape[:-1]))


def dense(outputs: int, name: str) -> nn.Dense:
    """Make a dense layer: kernel as in `kernel_init`, bias zero."""
    return nn.Dense(outputs, kernel_init=kernel_init, dot_general=dot_general, name=name)


def convolution(
    channels: int, size: int, stride: int, name: str | None = None, use_bias: bool = True
) -> nn.Conv:
    """Make a convolution of square windows, padded to keep the size up to the stride ("SAME")."""
    return nn.Conv(
        channels,
        (size, size),
        strides=(stride, stride),
        padding="SAME",
        use_bias=use_bias,
        kernel_init=kernel_init,
        conv_general_dilated=convolve,
        name=name,
    )


def batch_norm(name: str | None = None) -> nn.BatchNorm:
    """Make a batch norm over all axes but the last, by the statistics of the batch also in evaluation.

    Its moving averages (decay 0.9) are kept in the model state and play no part in the loss.
    """
    return nn.BatchNorm(use_running_average=False, momentum=DECAY, epsilon=EPSILON, name=name)


def norm(kind: str, name: str | None = None) -> nn.BatchNorm | nn.LayerNorm:
    """Make a norm with scale and offset; a layer norm is over the last axis alone."""
    if kind == "batch_norm":
        return batch_norm(name)
    return nn.LayerNorm(epsilon=EPSILON, use_fast_variance=False, name=name)


def check_network(activation: str, kind: str | None) -> None:
    """Raise a ValueError for an unknown activation or norm."""
    if activation not in ACTIVATIONS:
        raise unknown_name("activation", activation, ACTIVATIONS)
    if kind is not None and kind not in NORMS:
        raise unknown_name("norm", kind, NORMS)


def check_sizes(**sizes: object) -> None:
    """Raise a ValueError unless every size, and every size in a tuple of them, is at least 1."""
    for what, value in sizes.items():
        for size in value if isinstance(value, tuple) else (value,):
            check_positive(what, size)
