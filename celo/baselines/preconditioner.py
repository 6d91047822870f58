"""Kronecker-factored preconditioning of one tensor: its blocks, the statistics of their axes, the roots.

Small axes of the tensor are merged, long ones are cut. Blocks of one tensor are stacked along a leading axis,
so that one batched operation serves all of them. The last block of an axis is padded with zeros. A padded row
has a zero row and column in the statistics, hence a separate eigenvector: padding changes nothing in the
entries that are kept.
"""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax import Array

SMALLEST_MAXIMUM = 1e-6

Matrices = tuple[Array, ...]


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


def inverse_root(matrix: Array, power: int, epsilon: float | Array) -> Array:
    """Inverse root of symmetric positive semi-definite matrices, ``(A + ridge I)^(-1/power)``.

    ``ridge = epsilon * max(largest eigenvalue, 1e-6)``. Computed from an eigendecomposition. The distributed
    implementation iterates a coupled Newton method until its residual is 1e-6, finds the largest eigenvalue
    by power iteration, and keeps the old root when the residual stays above 0.1; here nothing iterates.
    Eigenvalues that rounding made negative count as 0: in float32, directions below about 1e-7 of the largest
    eigenvalue see the ridge alone.

    Args:
        matrix: array (..., n, n).
        power: p of the root.
        epsilon: ridge, relative to the largest eigenvalue.

    Returns:
        Array of the same shape.
    """
    values, vectors = jnp.linalg.eigh(matrix)
    ridge = epsilon * jnp.maximum(values[..., -1:], SMALLEST_MAXIMUM)
    roots = (jnp.maximum(values, 0.0) + ridge) ** (-1.0 / power)
    return jnp.einsum("...ij,...j,...kj->...ik", vectors, roots, vectors, precision="highest")


def gram(blocks: Array, axis: int) -> Array:
    """``G G^T`` of every block unfolded along one axis.

    Args:
        blocks: array (blocks, b_0, ..., b_{r-1}).
        axis: the axis k of a block, the stacking axis not counted.

    Returns:
        Array (blocks, b_k, b_k).
    """
    unfolded = jnp.moveaxis(blocks, axis + 1, 1).reshape((blocks.shape[0], blocks.shape[axis + 1], -1))
    return jnp.einsum("nij,nkj->nik", unfolded, unfolded, precision="highest")


def _finite_or(new: Array, old: Array) -> Array:
    """The new matrices where all their entries are finite, the old ones elsewhere."""
    return jnp.where(jnp.all(jnp.isfinite(new), axis=(-2, -1), keepdims=True), new, old)


@dataclasses.dataclass(frozen=True)
class Preconditioner:
    """One factor per axis and block: ``u = G x_1 L_1^(-1/2r) ... x_r L_r^(-1/2r)``, r the rank.

    Attributes:
        shape: shape the tensor is seen in, of rank r >= 1.
        block_size: largest block along an axis.
        b2: decay of the statistics; 1 sums them.
        epsilon: initial statistics ``epsilon * I``, and the ridge of `inverse_root`.
        compute_steps: steps between two computations of the roots.
    """

    shape: tuple[int, ...]
    block_size: int
    b2: float | Array
    epsilon: float | Array
    compute_steps: int

    def init(self) -> tuple[Matrices, Matrices]:
        """``(statistics, roots)``, each one array (blocks, b, b) per axis: ``epsilon * I`` and ``I``."""
        count = block_count(self.shape, self.block_size)
        sizes = block_sizes(self.shape, self.block_size)
        roots = tuple(jnp.tile(jnp.eye(size, dtype=jnp.float32), (count, 1, 1)) for size in sizes)
        return tuple(self.epsilon * root for root in roots), roots

    def accumulate(self, g: Array, statistics: Matrices) -> Matrices:
        """``L <- b2 L + (1 - b2) G G^T``; a plain sum when b2 is 1."""
        # In float32, as the statistics are, where parameters and gradients are of double precision.
        blocks = to_blocks(jnp.asarray(g, jnp.float32).reshape(self.shape), self.block_size)
        weight = jnp.where(self.b2 == 1.0, 1.0, 1.0 - self.b2)
        # A gradient whose square overflows would poison the average for good: such a step is left out of it.
        return tuple(
            _finite_or(self.b2 * old + weight * gram(blocks, axis), old)
            for axis, old in enumerate(statistics)
        )

    def refresh(self, count: Array, statistics: Matrices, roots: Matrices) -> Matrices:
        """The roots of the statistics, or the old ones between two computations.

        Args:
            count: steps taken before this one.
            statistics: what `accumulate` returned.
            roots: the roots so far.
        """
        power = 2 * len(self.shape)

        def compute() -> Matrices:
            new = [inverse_root(matrix, power, self.epsilon) for matrix in statistics]
            return tuple(_finite_or(n, old) for n, old in zip(new, roots, strict=True))

        if self.compute_steps == 1:
            return compute()
        return jax.lax.cond(count % self.compute_steps == 0, compute, lambda: roots)

    def apply(self, g: Array, roots: Matrices) -> Array:
        """The preconditioned gradient ``u``, in the gradient's own shape."""
        blocks = to_blocks(g.reshape(self.shape), self.block_size)
        for root in roots:  # each pass treats the leading axis of the blocks and moves it to the end
            blocks = jnp.einsum("nb...,nbc->n...c", blocks, root, precision="highest")
        return from_blocks(blocks, self.shape).reshape(g.shape)
