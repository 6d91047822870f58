"""How Shampoo cuts a tensor into blocks: small axes are merged, long ones are cut.

Blocks of one tensor are stacked along a leading axis, so that one batched operation serves all of them. The
last block of an axis is padded with zeros. A padded row has a zero row and column in the statistics, hence an
eigenvector of its own: padding changes nothing in the part that is kept.
"""

from __future__ import annotations

import math

import jax.numpy as jnp
from jax import Array


def merged_shape(shape: tuple[int, ...], limit: int | None) -> tuple[int, ...]:
    """The shape with neighbouring axes merged for as long as their product is at most `limit`.

    Args:
        shape: shape of the tensor.
        limit: largest merged axis; None leaves the shape as it is.

    Returns:
        The merged shape, without axes of size 1; ``(1,)`` for a tensor with one entry and an axis.

    Example:
        >>> merged_shape((1, 2, 512, 1, 2048, 1, 3, 4), 1024)
        (1024, 2048, 12)
    """
    if limit is None or not shape:
        return shape
    merged: list[int] = []
    current = 1
    for size in shape:
        if current * size <= limit:
            current *= size
            continue
        merged.append(current)
        current = size
    merged.append(current)
    return tuple(size for size in merged if size > 1) or (1,)


def block_sizes(shape: tuple[int, ...], block_size: int) -> tuple[int, ...]:
    """Size of a block along every axis, ``min(size, block_size)``."""
    return tuple(min(size, block_size) for size in shape)


def block_count(shape: tuple[int, ...], block_size: int) -> int:
    """Number of blocks a tensor of this shape is cut into."""
    sizes = block_sizes(shape, block_size)
    return math.prod(-(-size // block) for size, block in zip(shape, sizes, strict=True))


def to_blocks(x: Array, block_size: int) -> Array:
    """Cuts a tensor into blocks, padding the last one along each axis with zeros.

    Args:
        x: tensor of rank r and shape (d_0, ..., d_{r-1}).
        block_size: largest block along an axis.

    Returns:
        Array of shape (blocks, b_0, ..., b_{r-1}), ``b_i = min(d_i, block_size)``; blocks in row-major order.
    """
    sizes = block_sizes(x.shape, block_size)
    counts = [-(-size // block) for size, block in zip(x.shape, sizes, strict=True)]
    padded = [count * block for count, block in zip(counts, sizes, strict=True)]
    x = jnp.pad(x, [(0, new - old) for new, old in zip(padded, x.shape, strict=True)])
    interleaved = [n for pair in zip(counts, sizes, strict=True) for n in pair]
    order = [*range(0, 2 * len(sizes), 2), *range(1, 2 * len(sizes), 2)]
    return x.reshape(interleaved).transpose(order).reshape((math.prod(counts), *sizes))


def from_blocks(blocks: Array, shape: tuple[int, ...]) -> Array:
    """Inverse of `to_blocks`.

    Args:
        blocks: array of shape (blocks, b_0, ..., b_{r-1}).
        shape: shape of the tensor they were cut from.

    Returns:
        The tensor, without the padding.
    """
    sizes = blocks.shape[1:]
    counts = [-(-size // block) for size, block in zip(shape, sizes, strict=True)]
    rank = len(sizes)
    order = [axis for pair in zip(range(rank), range(rank, 2 * rank), strict=True) for axis in pair]
    x = blocks.reshape((*counts, *sizes)).transpose(order)
    x = x.reshape([count * block for count, block in zip(counts, sizes, strict=True)])
    return x[tuple(slice(size) for size in shape)]
