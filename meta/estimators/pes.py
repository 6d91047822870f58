"""Persistent Evolution Strategies (Vicol, Metz and Sohl-Dickstein 2021, arXiv 2112.13835)."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
from jax import Array

from celo.meta.estimators.antithetic import Antithetic, Weights
from celo.meta.estimators.unroll import Steps


def pes_weights(positive: Array, negative: Array, mask: Array, done: Array) -> tuple[Array, Array, Array]:
    """The weights of the accumulated and of the new perturbation, ``A`` and ``B``.

    With ``delta_t = L+_t - L-_t``, mask ``w`` and ``f_t = 1`` from the first done step on (that step
    included): ``A = sum((1 - f) w delta) / sum(w)``, ``B = sum(f w delta) / sum(w)``.

    Args:
        positive: (K,) losses with theta + e.
        negative: (K,) losses with theta - e.
        mask: (K,) bool, steps that count.
        done: (K,) bool, last steps of trainings.

    Returns:
        ``A``, ``B`` and whether any step was done, each ().
    """
    finished = jnp.cumsum(done.astype(jnp.int32)) > 0
    weights = mask.astype(jnp.float32)
    delta = weights * (positive - negative) / jnp.maximum(jnp.sum(weights), 1.0)
    return jnp.sum(jnp.where(finished, 0.0, delta)), jnp.sum(jnp.where(finished, delta, 0.0)), finished[-1]


@dataclasses.dataclass(frozen=True)
class PES(Antithetic):
    """PES: unbiased over truncations because past perturbations of a training stay in its accumulator.

    With accumulator ``xi <- xi + e``: ``gradient = mean over problems of (A xi + B e) / (2 sigma^2)``. A
    problem that was done restarts its accumulator at ``e``.
    """

    def weigh(self, steps: Steps) -> Weights:
        """``A (xi + e) + B e = A xi + (A + B) e``, over ``2 sigma^2``; see `pes_weights`."""
        a, b, finished = pes_weights(steps.loss[:, 0], steps.loss[:, 1], steps.mask, steps.done)
        scale = 1.0 / (2.0 * self.sigma**2)
        return Weights(scale * a, scale * (a + b), finished)

    def accumulate(self, weights: Weights, e: Array, xi: Array) -> Array:
        """``xi + e``, or ``e`` where a training ended."""
        return jnp.where(weights.finished, e, xi + e)
