"""Base of the estimators that train fresh problems to their ends in every estimate, without perturbing theta.

All problems of an estimate share one horizon, so that none waits for another.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from celo.meta.estimators import partition
from celo.meta.estimators.antithetic import NOTHING, Antithetic, EstimatorState, Worker
from celo.meta.estimators.partition import Parts
from celo.meta.estimators.problem import Problem, Steps, Thetas, fresh_problem
from celo.meta.estimators.terms import Differences, Terms
from celo.meta.step_size import step_size

_HORIZON, FINAL = 1 << 16, 1 << 17  # keys beyond those that splitting gives


@dataclasses.dataclass(frozen=True)
class WholeTrainings(Antithetic):
    """The mean over problems of a gradient that each problem gives by itself.

    With `normalize` it is the mean of ``g / |g|``. A gradient that is not finite counts as 0. `length` is the
    number of steps in one piece of a training.
    """

    final_batches: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        name = type(self).__name__
        if self.resume:
            raise ValueError(f"resume is {self.resume}; {name} starts fresh problems, so none resumes")
        if self.inner.expert is not None:
            raise ValueError(f"{name} has no expert to imitate; choose another estimator or no expert")

    @abc.abstractmethod
    def gradient(
        self, parts: Parts, task: Any, key: Array, iteration: Array, horizon: Array
    ) -> tuple[Array, Steps]:
        """One problem's gradient, (size,), and the record of its training."""

    def init(self, parts: Parts, tasks: Sequence[Any], key: Array) -> EstimatorState:
        """Nothing: every estimate starts fresh problems."""
        del parts, key
        return EstimatorState(tuple(NOTHING for _ in tasks))

    def trainer(self, parts: Parts, key: Array, iteration: Array) -> Callable[..., tuple]:
        """As of the base; here all problems share a horizon, and no differences between signs are weighed."""
        horizon = self.inner.horizon.sample(jax.random.fold_in(key, _HORIZON), iteration)

        def train(task: Any, key: Array, worker: Worker) -> tuple[Worker, Terms, Steps, Differences]:
            del worker
            gradient, steps = self.gradient(parts, task, key, iteration, horizon)
            gradient = jnp.where(jnp.all(jnp.isfinite(gradient)), gradient, 0.0)
            nothing = Differences(jnp.zeros(steps.mask.shape, jnp.float32), jnp.ones((), jnp.float32))
            return NOTHING, Terms(None, gradient), steps, nothing

        return train

    def whole(
        self,
        thetas_at: Callable[[Array], Thetas],
        task: Any,
        key: Array,
        iteration: Array,
        horizon: Array,
    ) -> tuple[Problem, Steps]:
        """Trains a fresh problem to this horizon: its end, and the record of all steps that can be.

        ``thetas_at`` gives the meta-parameters of a piece of the training from the number of its first step.
        Reverse-mode differentiation keeps the state before every piece, and computes the rest again.
        """
        key_start, key_unroll = jax.random.split(key)
        start = self.inner.start(task, key_start, iteration)._replace(horizon=horizon)
        first = thetas_at(jnp.zeros((), jnp.int32))
        members = jax.vmap(lambda part: self.inner.member(partition.merge(part, first.frozen), start))
        problem = fresh_problem(members(first.trained[0]), start)

        def piece(problem: Problem, number: Array) -> tuple[Problem, Steps]:
            key = jax.random.fold_in(key_unroll, number)
            draws = self.inner.draw(task, key, self.length, iteration)._replace(starts=None)
            return self.inner.unroll(thetas_at(number * self.length), task, problem, draws)

        def skip(problem: Problem, number: Array) -> tuple[Problem, Steps]:
            _, steps = jax.eval_shape(piece, problem, number)
            masked = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), steps)
            eta = jnp.broadcast_to(
                jax.vmap(lambda member: step_size(member.opt_state))(problem.members), steps.eta.shape
            )
            return problem, masked._replace(eta=eta, horizon=jnp.full_like(masked.horizon, horizon))

        @jax.checkpoint
        def body(problem: Problem, number: Array) -> tuple[Problem, Steps]:
            # The horizon is the same for all problems, so this is a branch also where problems are mapped.
            return jax.lax.cond(number * self.length < horizon, piece, skip, problem, number)

        problem, steps = jax.lax.scan(body, problem, jnp.arange(self.pieces, dtype=jnp.int32))
        return problem, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps)

    @property
    def pieces(self) -> int:
        """Pieces of the longest training."""
        return -(-self.inner.horizon.high // self.length)

    def weigh(self, steps: Steps, differences: Differences) -> Terms:
        """Every gradient weighs the same."""
        del steps, differences
        return Terms(None, jnp.ones((), jnp.float32))

    def _normalized(self, weights: Terms, vectors: Terms) -> Terms:
        """The weights, divided by the norm of each problem's gradient."""
        norm = jnp.linalg.norm(vectors.new, axis=-1)
        return weights._replace(new=jnp.where(norm > 0, weights.new / jnp.where(norm > 0, norm, 1.0), 0.0))
