"""The estimators: persistent, truncated and full-unroll evolution strategies."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from celo.meta.estimators.antithetic import Antithetic, PyTree, Weights
from celo.meta.estimators.unroll import Problem, Steps


def pes_weights(positive: Array, negative: Array, mask: Array, done: Array) -> tuple[Array, Array, Array]:
    """Weights ``A`` and ``B`` of the accumulated and the new perturbation, and whether a step was done.

    With ``delta_t = L+_t - L-_t`` for the (K,) losses with theta + e and theta - e, mask ``w`` (steps that
    count) and ``f_t = 1`` from the first done step on (that step included):
    ``A = sum((1 - f) w delta) / sum(w)``, ``B = sum(f w delta) / sum(w)``.
    """
    finished = jnp.cumsum(done.astype(jnp.int32)) > 0
    weights = mask.astype(jnp.float32)
    delta = weights * (positive - negative) / jnp.maximum(jnp.sum(weights), 1.0)
    return jnp.sum(jnp.where(finished, 0.0, delta)), jnp.sum(jnp.where(finished, delta, 0.0)), finished[-1]


@dataclasses.dataclass(frozen=True)
class PES(Antithetic):
    """Persistent ES (Vicol, Metz and Sohl-Dickstein 2021, arXiv 2112.13835).

    Unbiased over truncations because past perturbations of a training stay in its accumulator
    ``xi <- xi + e``: ``gradient = mean over problems of (A xi + B e) / (2 sigma^2)``. A problem that was done
    restarts its accumulator at ``e``.
    """

    def weigh(self, steps: Steps) -> Weights:
        """``A (xi + e) + B e = A xi + (A + B) e``, over ``2 sigma^2``; see `pes_weights`."""
        a, b, finished = pes_weights(steps.loss[:, 0], steps.loss[:, 1], steps.mask, steps.done)
        scale = 1.0 / (2.0 * self.sigma**2)
        return Weights(scale * a, scale * (a + b), finished)

    def accumulate(self, weights: Weights, e: Array, xi: Array) -> Array:
        """``xi + e``, or ``e`` where a training ended."""
        return jnp.where(weights.finished, e, xi + e)


@dataclasses.dataclass(frozen=True)
class TruncatedES(Antithetic):
    """Antithetic ES on each truncation alone: ``mean over problems of e mean_t(delta_t) / (2 sigma^2)``.

    Without a memory, hence biased towards short-term gains.
    """

    def weigh(self, steps: Steps) -> Weights:
        """``e mean_t(delta_t) / (2 sigma^2)``."""
        weight = self.plain_weight(steps)
        return Weights(jnp.zeros_like(weight), weight, jnp.any(steps.done))


@dataclasses.dataclass(frozen=True)
class FullES(TruncatedES):
    """Antithetic ES on whole trainings: every estimate starts fresh problems and unrolls them to the end.

    Unbiased, and as slow as a whole training per estimate. `length` is not used: K is the longest horizon.
    Steps after the end of a shorter training are masked out.
    """

    def unroll(
        self,
        trained: PyTree,
        frozen: PyTree,
        task: Any,
        problem: Problem,
        e: Array,
        key: Array,
        iteration: Array,
    ) -> tuple[Problem, Steps]:
        """Starts a problem and trains it with theta + e and theta - e to its end."""
        del problem
        key_begin, key_unroll = jax.random.split(key)
        pair = self.pair(trained, e)
        problem = self.inner.begin(pair, frozen, task, key_begin, iteration, offset=False)
        length = self.inner.horizon.high
        problem, steps = self.inner.unroll(pair, frozen, task, problem, key_unroll, length, iteration)
        ended = jnp.cumsum(steps.done.astype(jnp.int32)) - steps.done.astype(jnp.int32) > 0
        mask = steps.mask & ~ended
        loss = jnp.where(mask[:, None], steps.loss, 0.0)
        horizon = jnp.full_like(steps.horizon, steps.horizon[0])  # that of the training measured
        return problem, steps._replace(mask=mask, loss=loss, horizon=horizon)
