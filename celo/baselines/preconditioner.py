"""Kronecker-factored preconditioning of one tensor: the statistics of its axes and their inverse roots."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from celo.baselines.blocks import block_count, block_sizes, from_blocks, to_blocks

SMALLEST_MAXIMUM = 1e-6

Matrices = tuple[Array, ...]


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
