"""The estimators: persistent, single-perturbation, truncated and full-unroll evolution strategies.

| estimator | a perturbation lasts | memory | weight of a step's difference |
|---|---|---|---|
| `PES` | a truncation | the sum of past perturbations | memory + new perturbation |
| `ESSingle` | a training | that perturbation | memory |
| `TruncatedES` | a truncation | none | new perturbation |
| `FullES` | a training, in one estimate | none | new perturbation |
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from celo.meta.estimators.antithetic import Antithetic, Worker, normal
from celo.meta.estimators.partition import Parts
from celo.meta.estimators.problem import CURRENT, FRESH, RESUMED, Problem, Steps
from celo.meta.estimators.terms import Differences, Terms, in_life


@dataclasses.dataclass(frozen=True)
class PES(Antithetic):
    """Persistent ES (Vicol, Metz and Sohl-Dickstein 2021, arXiv 2112.13835).

    Unbiased over truncations because past perturbations of a training stay in its accumulator
    ``xi <- xi + e``: ``gradient = mean over problems of (A xi + B e) / (2 sigma^2)``. With the contributions
    ``delta_t`` of steps and ``f_t = 1`` from the first done step on (that step included),
    ``A = sum((1 - f) delta)`` weighs the accumulator with e added and ``B = sum(f delta)`` the e alone; a
    problem that was done restarts its accumulator at ``e``. This is the published form, in which the last
    loss of a training forgets the past.

    With objective "final" or a buffer, forgetting would bias the estimate. Then A has all steps of the
    training, and steps of a resumed training weigh its stored accumulator, which is the next one.
    """

    @property
    def _exact(self) -> bool:
        return self.objective == "final" or self.resume > 0

    def first_memory(self, key: Array, size: int) -> Array:
        """An empty accumulator."""
        del key
        return jnp.zeros((size,), jnp.float32)

    def weigh(self, steps: Steps, differences: Differences) -> Terms:
        """``A (xi + e) + B e + S (xi_stored + e)``, over ``2 sigma^2``."""
        scale, delta = 1.0 / (2.0 * self.sigma**2), differences.averaged
        if not self._exact:
            finished = _finished(steps)
            a, b = (jnp.sum(jnp.where(of, delta, 0.0)) for of in (~finished, finished))
            return Terms(scale * a, scale * (a + b), jnp.zeros_like(a))
        a, b, s = (in_life(delta, steps.life, life) for life in (CURRENT, FRESH, RESUMED))
        return Terms(scale * a, scale * (a + b + s), scale * s)

    def remember(self, vectors: Terms, steps: Steps) -> Array:
        """``xi + e`` of the training that runs at the end; ``e`` where one ended."""
        xi, e, stored = vectors
        if not self._exact:
            return jnp.where(_finished(steps)[-1], e, xi + e)
        return _of_life(steps, xi + e, e, None if stored is None else stored + e)


@dataclasses.dataclass(frozen=True)
class ESSingle(Antithetic):
    """ES-Single, or noise-reuse ES (arXiv 2304.11153 and 2304.12180): one perturbation per training.

    It is drawn when a training starts and stays until it ends, so there is nothing to accumulate:
    ``gradient = mean over problems of e sum_t(delta_t) / (2 sigma^2)``. Unbiased over truncations as PES is,
    with a variance that does not grow with their number.
    """

    def first_memory(self, key: Array, size: int) -> Array:
        """The perturbation of the first training."""
        return self.sigma * normal(key, size)

    def perturbations(self, vectors: Terms) -> tuple[Array, ...]:
        """That of the running training, a new one after a reset, and that of a training resumed."""
        return tuple(vector for vector in vectors if vector is not None)

    def weigh(self, steps: Steps, differences: Differences) -> Terms:
        """Each perturbation weighs the steps that it was in force."""
        scale, delta = 1.0 / (2.0 * self.sigma**2), differences.averaged
        return Terms(*(scale * in_life(delta, steps.life, life) for life in (CURRENT, FRESH, RESUMED)))

    def remember(self, vectors: Terms, steps: Steps) -> Array:
        """The perturbation in force at the end."""
        return _of_life(steps, *vectors)


@dataclasses.dataclass(frozen=True)
class TruncatedES(Antithetic):
    """Antithetic ES on each truncation alone: ``mean over problems of e mean_t(delta_t) / (2 sigma^2)``.

    Without a memory, hence biased towards short-term gains.
    """

    def weigh(self, steps: Steps, differences: Differences) -> Terms:
        """``e mean_t(delta_t) / (2 sigma^2)``."""
        weight = jnp.sum(differences.delta) / differences.count / (2.0 * self.sigma**2)
        return Terms(jnp.zeros_like(weight), weight, jnp.zeros_like(weight))


@dataclasses.dataclass(frozen=True)
class FullES(TruncatedES):
    """Antithetic ES on whole trainings: every estimate starts fresh problems and unrolls them to the end.

    Unbiased, and as slow as a whole training per estimate. `length` is not used: K is the longest horizon.
    Steps after the end of a shorter training are masked out.

    The objective "final" is VeLO's (arXiv 2211.09760, appendix D.1): the loss after the last step, the mean
    over `final_batches` fresh batches that both signs share.
    """

    final_batches: int = 100

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume:
            raise ValueError(f"resume is {self.resume}; FullES starts fresh problems, so none resumes")

    def unroll(
        self, parts: Parts, task: Any, worker: Worker, vectors: Terms, key: Array, iteration: Array
    ) -> tuple[Problem, Steps, Differences]:
        """Starts a problem and trains it with theta + e and theta - e to its end."""
        del worker
        key_begin, key_unroll = jax.random.split(key)
        thetas = self.thetas(parts, vectors)
        problem = self.inner.begin(thetas, task, key_begin, iteration, offset=False)
        draws = self.inner.draw(task, key_unroll, self.inner.horizon.high, iteration)
        problem, steps = self.inner.unroll(thetas, task, problem, draws._replace(starts=None))
        if self.objective != "final":
            return problem, steps, self.differences(steps)
        loss = self.inner.final_loss(task, problem, jax.random.fold_in(key, _FINAL), self.final_batches)
        delta = jnp.where(steps.done, loss[0] - loss[1], 0.0)  # a training ends once
        return problem, steps, Differences(delta, jnp.ones((), jnp.float32))


_FINAL = 1 << 16  # beyond the keys that splitting gives


def _finished(steps: Steps) -> Array:
    """(K,) bool, true from the first done step on."""
    return jnp.cumsum(steps.done.astype(jnp.int32)) > 0


def _of_life(steps: Steps, current: Array, fresh: Array, resumed: Array | None) -> Array:
    """The vector of the life at the end of an unroll."""
    each = (current, fresh) if resumed is None else (current, fresh, resumed)
    return jax.lax.select_n(jnp.minimum(steps.life[-1], len(each) - 1), *each)
