"""Evolution strategies over the step sizes of a scheduler, and the chain rule from there to its weights."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from celo._core.scheduler import Observation, SharedScheduler
from celo.meta.estimators import partition
from celo.meta.estimators.antithetic import normal
from celo.meta.estimators.partition import Parts
from celo.meta.estimators.problem import Steps, Thetas
from celo.meta.estimators.terms import contributions
from celo.meta.estimators.whole import FINAL, WholeTrainings

KNOTS = np.asarray([0.0, 0.03, 0.1, 0.22, 0.4, 0.6, 0.8, 0.95], np.float32)
_SHIFTS = 1 << 18  # beyond the other keys


def hats(progress: Array) -> Array:
    """(..., 8) piecewise linear functions of progress, one of them 1 at each knot and their sum always 1."""
    one = jax.vmap(lambda values: jnp.interp(progress, KNOTS, values), out_axes=-1)
    return one(jnp.eye(len(KNOTS), dtype=jnp.float32))


@dataclasses.dataclass(frozen=True)
class ScheduleES(WholeTrainings):
    """Antithetic ES on eight numbers of each training's schedule instead of on theta.

    The scheduler sets ``log eta_t = a_t``. A problem is trained with ``a_t + s(t)`` and ``a_t - s(t)``, where
    ``s(t) = sum_k c_k h_k(t / T)`` with `hats` h and ``c ~ N(0, sigma^2)``, constant over `length` steps:

    ``g_k = c_k (J+_k - J-_k) / (2 sigma^2)``, ``v_t = sum_k g_k h_k(t) / sum_s h_k(s)``,
    ``gradient = mean over problems and signs of sum_t v_t d a_t / d theta``.

    J_k is the objective over the steps that h_k can influence. The last factor is exact, by backpropagation
    through the scheduler along the losses that it saw; that other step sizes lead to other losses is in v_t.
    So the noise is that of eight perturbations, where ES over a scheduler of 35,000 weights has that of
    35,000. What it cannot see are changes to a schedule that are finer than the hats. `sigma` is the standard
    deviation of a logarithm of step sizes.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        scheduler = getattr(self.inner.learned, "scheduler", None)
        if not isinstance(scheduler, SharedScheduler) or scheduler.form != "exp":
            raise ValueError(
                f"ScheduleES needs a scheduler of one step size, 0.1 exp(x), and {self.inner.learned} has "
                "none; choose celo, celo_adam or celo2_auto, or another estimator"
            )

    def gradient(
        self, parts: Parts, task: Any, key: Array, iteration: Array, horizon: Array
    ) -> tuple[Array, Steps]:
        """One problem's gradient, (size,), and the record of its two trainings."""
        shifts = self.sigma * normal(jax.random.fold_in(key, _SHIFTS), len(KNOTS))

        def thetas_at(step: Array) -> Thetas:
            s = jnp.dot(self._hats(step, horizon), shifts)
            pair = jax.vmap(lambda shift: _shifted(parts.trained, shift))(jnp.stack([s, -s]))
            return Thetas((pair,), parts.frozen)

        problem, steps = self.whole(thetas_at, task, key, iteration, horizon)
        at = jnp.arange(len(steps.mask), dtype=jnp.int32)
        h = jnp.where(steps.mask[:, None], jax.vmap(lambda t: self._hats(t, horizon))(at), 0.0)
        if self.objective == "final":
            last = self.inner.final_loss(task, problem, jax.random.fold_in(key, FINAL), self.final_batches)
            change = jnp.full(len(KNOTS), last[0] - last[1])
        else:
            delta = contributions(steps, self.objective).averaged
            # No step before the first of a hat depends on it.
            change = jnp.sum(jnp.where(jnp.cumsum(h, axis=0) > 0, delta[:, None], 0.0), axis=0)
        slope = shifts * change / (2.0 * self.sigma**2)
        total = jnp.sum(h, axis=0)
        v = h @ jnp.where(total > 0, slope / jnp.where(total > 0, total, 1.0), 0.0)
        return self.pull_back(parts, steps.raw_loss, v, horizon), steps

    def pull_back(self, parts: Parts, losses: Array, v: Array, horizon: Array) -> Array:
        """``sum_t v_t d log eta_t / d theta``, (size,), the mean over the (K, members) losses it saw."""
        flat, unravel = ravel_pytree(parts.trained)
        scheduler = self.inner.learned.scheduler

        def weighted(flat: Array, losses: Array) -> Array:
            theta = partition.merge(unravel(flat), parts.frozen)["scheduler"]

            def step(state: Any, seen: tuple) -> tuple[Any, Array]:
                t, loss, weight = seen
                eta, state = scheduler.step(theta, state, Observation(loss, t, horizon))
                return state, weight * jnp.log(eta)

            def piece(state: Any, seen: tuple) -> tuple[Any, Array]:
                state, values = jax.lax.scan(step, state, seen)
                return state, jnp.sum(values)

            @jax.checkpoint
            def body(state: Any, seen: tuple) -> tuple[Any, Array]:
                nothing = jnp.zeros((), jnp.float32)
                return jax.lax.cond(seen[0][0] < horizon, piece, lambda s, _: (s, nothing), state, seen)

            at = jnp.arange(len(losses), dtype=jnp.int32)
            pieces = jax.tree.map(lambda x: x.reshape(self.pieces, self.length), (at, losses, v))
            state, _ = scheduler.start(theta, None, horizon)
            return jnp.sum(jax.lax.scan(body, state, pieces)[1])

        return jnp.mean(jax.vmap(jax.grad(weighted), in_axes=(None, 1))(flat, losses), axis=0)

    def _hats(self, step: Array, horizon: Array) -> Array:
        """The hats in the piece of this step, at its middle."""
        middle = (step // self.length * self.length).astype(jnp.float32) + (self.length - 1) / 2
        return hats(middle / horizon.astype(jnp.float32))


def _shifted(trained: Any, shift: Array) -> Any:
    """Meta-parameters whose scheduler sets step sizes larger by the factor ``exp(shift)``."""
    scheduler = trained["scheduler"]
    head = scheduler["step_size"] | {"b": scheduler["step_size"]["b"] + shift}
    return trained | {"scheduler": scheduler | {"step_size": head}}
