"""Convolution as one matrix product, for trainings that are vmapped on a CPU.

`jax.vmap` over kernels turns a convolution into a grouped one, which the CPU backend of XLA does several
times slower than as many single ones. A matrix product keeps its speed under `vmap`. Other backends use the
convolution of the library.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array


def convolve(
    images: Array,
    kernel: Array,
    window_strides: Sequence[int],
    padding: str,
    lhs_dilation: Sequence[int],
    rhs_dilation: Sequence[int],
    feature_group_count: int,
    **rest: Any,
) -> Array:
    """``jax.lax.conv_general_dilated`` with padding "SAME", by `as_product` on a CPU.

    Args:
        images: (batch, height, width, inputs).
        kernel: (rows, columns, inputs, outputs).
        window_strides: of rows and columns.
        padding: "SAME".
        lhs_dilation: ones.
        rhs_dilation: ones.
        feature_group_count: 1.
        rest: layout and precision as flax gives them, for the library's convolution.

    Returns:
        (batch, height / stride, width / stride, outputs), sizes rounded up.

    Raises:
        ValueError: for another padding, dilation or number of groups, whatever the backend.
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


def as_product(images: Array, kernel: Array, strides: tuple[int, int]) -> Array:
    """The convolution with padding "SAME": pixels of each window side by side, times the kernel as a matrix.

    Args:
        images: (batch, height, width, inputs).
        kernel: (rows, columns, inputs, outputs).
        strides: of rows and columns.

    Returns:
        (batch, height / stride, width / stride, outputs), sizes rounded up.

    Example:
        >>> images = jnp.arange(9.0).reshape(1, 3, 3, 1)
        >>> as_product(images, jnp.ones((3, 3, 1, 1)), (2, 2))[0, :, :, 0].tolist()
        [[8.0, 12.0], [20.0, 24.0]]
    """
    rows, columns, inputs, outputs = kernel.shape
    sizes = [-(-size // stride) for size, stride in zip(images.shape[1:3], strides, strict=True)]
    spans = [(size - 1) * stride + 1 for size, stride in zip(sizes, strides, strict=True)]
    # As TensorFlow pads: what is odd goes below and to the right.
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
