"""The exact meta-gradient, by backpropagation through whole inner trainings."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from celo.meta.estimators import partition
from celo.meta.estimators.antithetic import Antithetic, EstimatorState, Worker
from celo.meta.estimators.partition import Parts
from celo.meta.estimators.problem import Problem, Steps, Thetas, fresh_problem
from celo.meta.estimators.terms import Differences, Terms
from celo.meta.step_size import step_size

_NOTHING = Worker(None, None, None)


@dataclasses.dataclass(frozen=True)
class Backprop(Antithetic):
    """Reverse-mode gradient of the meta-loss of fresh inner problems, unrolled to their ends.

    ``gradient = mean over problems of g``, where ``g = d/d theta mean_t L_t`` (objective "mean") or the
    derivative of the loss after the last step on `final_batches` fresh batches ("final"). With `normalize`,
    it is the mean of ``g / |g|``: through long or unstable trainings g grows without bound (Metz et al. 2019,
    arXiv 1810.10180), and one such problem must not outweigh all others. A gradient that is not finite
    counts as 0.

    It tells what evolution strategies need as many perturbations for as theta has numbers, and costs a few
    times the training itself. All problems of an estimate share one horizon, so that none waits for another.
    The state before every `length` steps is kept; the steps are computed again for the gradient. Nothing is
    perturbed: `sigma` is not used.
    """

    final_batches: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.resume:
            raise ValueError(f"resume is {self.resume}; Backprop starts fresh problems, so none resumes")
        if self.inner.expert is not None:
            raise ValueError("Backprop has no expert to imitate; choose another estimator or no expert")

    def init(self, parts: Parts, tasks: Sequence[Any], key: Array) -> EstimatorState:
        """Nothing: every estimate starts fresh problems."""
        del parts, key
        return EstimatorState(tuple(_NOTHING for _ in tasks))

    def trainer(self, parts: Parts, key: Array, iteration: Array) -> Callable[..., tuple]:
        """As of the base; here all problems share a horizon."""
        horizon = self.inner.horizon.sample(jax.random.fold_in(key, _HORIZON), iteration)
        return lambda task, key, _: self.gradient(parts, task, key, iteration, horizon)

    def gradient(
        self, parts: Parts, task: Any, key: Array, iteration: Array, horizon: Array
    ) -> tuple[Worker, Terms, Steps, Differences]:
        """One problem's gradient, as the vector of its `Terms`, and the record of its training."""
        flat, unravel = ravel_pytree(parts.trained)

        def objective(flat: Array) -> tuple[Array, Steps]:
            thetas = Thetas((jax.tree.map(lambda x: x[None], unravel(flat)),), parts.frozen)
            problem, steps = self.whole(thetas, task, key, iteration, horizon)
            if self.objective == "final":
                last = jax.random.fold_in(key, _FINAL)
                return self.inner.final_loss(task, problem, last, self.final_batches)[0], steps
            return jnp.sum(steps.loss) / jnp.sum(steps.mask, dtype=jnp.float32), steps

        gradient, steps = jax.grad(objective, has_aux=True)(flat)
        gradient = jnp.where(jnp.all(jnp.isfinite(gradient)), gradient, 0.0)
        nothing = Differences(jnp.zeros(steps.mask.shape), jnp.ones(()))
        return _NOTHING, Terms(None, gradient), steps, nothing

    def whole(
        self, thetas: Thetas, task: Any, key: Array, iteration: Array, horizon: Array
    ) -> tuple[Problem, Steps]:
        """Trains a fresh problem to this horizon: its end, and the record of all steps that can be."""
        key_start, key_unroll = jax.random.split(key)
        start = self.inner.start(task, key_start, iteration)._replace(horizon=horizon)
        members = jax.vmap(lambda part: self.inner.member(partition.merge(part, thetas.frozen), start))
        problem = fresh_problem(members(thetas.trained[0]), start)

        def chunk(problem: Problem, number: Array) -> tuple[Problem, Steps]:
            key = jax.random.fold_in(key_unroll, number)
            draws = self.inner.draw(task, key, self.length, iteration)._replace(starts=None)
            return self.inner.unroll(thetas, task, problem, draws)

        def skip(problem: Problem, number: Array) -> tuple[Problem, Steps]:
            _, steps = jax.eval_shape(chunk, problem, number)
            masked = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), steps)
            eta = jax.vmap(step_size)(problem.members.opt_state)
            last = (jnp.broadcast_to(eta, masked.eta.shape), jnp.full_like(masked.horizon, horizon))
            return problem, masked._replace(eta=last[0], horizon=last[1])

        @jax.checkpoint
        def body(problem: Problem, number: Array) -> tuple[Problem, Steps]:
            # The horizon is the same for all problems, so this is a branch also where problems are mapped.
            return jax.lax.cond(number * self.length < horizon, chunk, skip, problem, number)

        chunks = jnp.arange(-(-self.inner.horizon.high // self.length))
        problem, steps = jax.lax.scan(body, problem, chunks)
        return problem, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps)

    def weigh(self, steps: Steps, differences: Differences) -> Terms:
        """Every gradient weighs the same."""
        del steps, differences
        return Terms(None, jnp.ones(()))

    def _normalized(self, weights: Terms, vectors: Terms) -> Terms:
        """The weights, divided by the norm of each problem's gradient."""
        norm = jnp.linalg.norm(vectors.new, axis=-1)
        return weights._replace(new=jnp.where(norm > 0, weights.new / jnp.where(norm > 0, norm, 1.0), 0.0))


# Numbers of random keys beyond those that splitting a key gives.
_HORIZON, _FINAL = 1 << 16, 1 << 17
