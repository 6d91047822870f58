"""Full-unroll evolution strategies: unbiased, and as slow as a whole training per estimate."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax import Array

from celo.meta.estimators.antithetic import Antithetic, PyTree, Weights
from celo.meta.estimators.unroll import Problem, Steps


@dataclasses.dataclass(frozen=True)
class FullES(Antithetic):
    """Antithetic ES on whole trainings: every estimate starts fresh problems and unrolls them to the end.

    `length` is not used: K is the longest horizon. Steps after the end of a shorter training are masked out.
    ``gradient = mean over problems of e mean_t(delta_t) / (2 sigma^2)``.
    """

    def unroll(
        self, trained: PyTree, frozen: PyTree, task, problem: Problem, e: Array, key: Array, iteration: Array
    ) -> tuple[Problem, Steps]:
        """Starts a problem and trains it with theta + e and theta - e to its end."""
        del problem
        key_begin, key_unroll = jax.random.split(key)
        pair = self.pair(trained, e)
        problem = self.inner.begin(pair, frozen, task, key_begin, iteration, offset=False)
        length = self.inner.horizon.maximum
        problem, steps = self.inner.unroll(pair, frozen, task, problem, key_unroll, length, iteration)
        ended = jnp.cumsum(steps.done.astype(jnp.int32)) - steps.done.astype(jnp.int32) > 0
        mask = steps.mask & ~ended
        loss = jnp.where(mask[:, None], steps.loss, 0.0)
        horizon = jnp.full_like(steps.horizon, steps.horizon[0])  # that of the training measured
        return problem, steps._replace(mask=mask, loss=loss, horizon=horizon)

    def weigh(self, steps: Steps) -> Weights:
        """``e mean_t(delta_t) / (2 sigma^2)``; what came before was about other trainings."""
        weight = self.plain_weight(steps)
        return Weights(jnp.zeros_like(weight), weight, jnp.any(steps.done))
