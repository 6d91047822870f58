"""Shared layers of networks on images, as flax modules: the defaults of the reference, which uses haiku.

On a CPU convolutions are one matrix product each. `jax.vmap` over kernels turns a convolution into a grouped
one, which XLA's CPU backend does several times slower than as many single ones; a product keeps its speed.
"""

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from celo._core.mlp import truncated_normal
from celo._core.names import unknown_name
from celo.meta.tasks.layers import Activation, check_activation, check_positive, dot_general

NORMS = ("batch_norm", "layer_norm")
EPSILON = 1e-5
DECAY = 0.9


def kernel_init(key: jax.Array, shape: Sequence[int], dtype: object = jnp.float32) -> jax.Array:
    """Draw a kernel: normal of sigma `1/sqrt(fan-in)`, cut at two sigma and not rescaled.

    The last axis is the outputs, the others are the inputs; the dtype is float32, flax passes it.
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


def check_network(activation: Activation, kind: str | None) -> None:
    """Raise a ValueError for an unknown activation or norm."""
    check_activation(activation)
    if kind is not None and kind not in NORMS:
        raise unknown_name("norm", kind, NORMS)


def check_sizes(**sizes: object) -> None:
    """Raise a ValueError unless every size, and every size in a tuple of them, is at least 1."""
    for what, value in sizes.items():
        for size in value if isinstance(value, tuple) else (value,):
            check_positive(what, size)


def convolve(
    images: jax.Array,
    kernel: jax.Array,
    window_strides: Sequence[int],
    padding: str,
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    feature_group_count: int,
    **rest: Any,
) -> jax.Array:
    """``jax.lax.conv_general_dilated`` with padding "SAME", by `as_product` on a CPU.

    ValueError for another padding, dilation or number of groups, whatever the backend.
    """
    if padding != "SAME":
        raise ValueError(f"padding is {padding!r}; expected 'SAME'")
    if {*lhs_dilation, *rhs_dilation, feature_group_count} != {1}:
        raise ValueError(
            f"dilations are {lhs_dilation} and {rhs_dilation}, groups {feature_group_count}; expected ones"
        )
    if jax.default_backend() != "cpu":
        return jax.lax.conv_general_dilated(images, kernel, window_strides, padding, **rest)
    return as_product(images, kernel, (window_strides[0], window_strides[1]))


def as_product(images: jax.Array, kernel: jax.Array, strides: tuple[int, int]) -> jax.Array:
    """The convolution with padding "SAME": pixels of each window side by side, times the kernel as a matrix.

    From (batch, height, width, inputs) and (rows, columns, inputs, outputs) to (batch, height / stride,
    width / stride, outputs), sizes rounded up.

    Example:
        >>> images = jnp.arange(9.0).reshape(1, 3, 3, 1)
        >>> as_product(images, jnp.ones((3, 3, 1, 1)), (2, 2))[0, :, :, 0].tolist()
        [[8.0, 12.0], [20.0, 24.0]]
    """
    rows, columns, inputs, outputs = kernel.shape
    sizes = [-(-size // stride) for size, stride in zip(images.shape[1:3], strides, strict=True)]
    spans = [(size - 1) * stride + 1 for size, stride in zip(sizes, strides, strict=True)]
    # As in TensorFlow, an odd pixel of padding goes below and to the right.
    total = [
        max(span + window - 1 - size, 0)
        for span, window, size in zip(spans, (rows, columns), images.shape[1:3], strict=True)
    ]
    widths = [(0, 0), *((pad // 2, pad - pad // 2) for pad in total), (0, 0)]
    padded = jnp.pad(images, widths)
    windows = [
        padded[:, i : i + spans[0] : strides[0], j : j + spans[1] : strides[1]]
        for i in range(rows)
        for j in range(columns)
    ]
    matrix = kernel.reshape(rows * columns * inputs, outputs)
    return jnp.matmul(jnp.concatenate(windows, axis=-1), matrix)
