"""Base of the evolution-strategies estimators: antithetic pairs of trainings over many inner problems.

Each of N problems per task family has a perturbation ``e ~ N(0, sigma^2)`` of the trained part of theta,
drawn again at every estimate, and is trained twice, with theta + e and theta - e, on the same randomness.
Estimators differ in how they turn the two loss curves, the perturbation and past ones into a gradient.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from celo.meta.estimators.unroll import InnerTraining, Problem, Steps

PyTree = Any

# Problems are numbered within a group of families; groups are this far apart.
_MOST_PROBLEMS = 1 << 20


class EstimatorState(NamedTuple):
    """State of an estimator, one entry per group of task families of equal shape.

    Attributes:
        problems: inner problems; leaves have leading axes (families, problems) and then the axis of members.
        accumulators: sums of past perturbations of the raveled trained part of theta, (families, problems,
            size).
    """

    problems: tuple[Problem, ...]
    accumulators: tuple[Array, ...]


class Weights(NamedTuple):
    """One problem's contribution to the gradient, ``past xi + new e``; each ().

    With these two numbers per problem, the mean over problems is two products of a vector with a matrix.

    Attributes:
        past: weight of the accumulator as it was before this estimate.
        new: weight of this estimate's perturbation.
        finished: bool, whether a training ended.
    """

    past: Array
    new: Array
    finished: Array


class Summary(NamedTuple):
    """Record of one estimate, per family and problem: every field is (families, problems).

    Attributes:
        loss: mean normalised loss over the unmasked steps and both members: the meta-loss of the problem.
        diverged: 1 if the raw loss of a member was not finite at any unmasked step, else 0.
        eta_low: smallest step size of the scheduler over the steps and members.
        eta_mean: mean step size.
        eta_high: largest step size.
        horizon: horizon in force at the end.
    """

    loss: Array
    diverged: Array
    eta_low: Array
    eta_mean: Array
    eta_high: Array
    horizon: Array

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> Summary:
        """A summary of zeros, each field of this shape."""
        zeros = jnp.zeros(shape, jnp.float32)
        return cls(zeros, zeros, zeros, zeros, zeros, jnp.zeros(shape, jnp.int32))


def summarise(steps: Steps) -> Summary:
    """The `Summary` of one problem's unroll."""
    weights = steps.mask.astype(jnp.float32)
    total = jnp.maximum(jnp.sum(weights), 1.0)
    finite = jnp.isfinite(steps.raw_loss) | ~steps.mask[:, None]
    return Summary(
        loss=jnp.sum(weights * jnp.mean(steps.loss, axis=1)) / total,
        diverged=jnp.any(~finite).astype(jnp.float32),
        eta_low=jnp.min(steps.eta),
        eta_mean=jnp.mean(steps.eta),
        eta_high=jnp.max(steps.eta),
        horizon=steps.horizon[-1],
    )


def families(task: Any) -> int:
    """Number of task families in a stacked task; a task without arrays is one."""
    leaves = jax.tree.leaves(task)
    return len(leaves[0]) if leaves else 1


@dataclasses.dataclass(frozen=True)
class Antithetic(abc.ABC):
    """Base of the estimators.

    Attributes:
        inner: how inner problems are drawn and trained.
        problems: inner problems per task family (N).
        length: inner steps per estimate (the truncation K).
        sigma: standard deviation of the perturbations.
        axis: name of the mesh axis the problems are sharded over when called inside `jax.shard_map`, else
            None.
    """

    inner: InnerTraining
    problems: int = 8
    length: int = 50
    sigma: float = 0.01
    axis: str | None = None

    def __post_init__(self) -> None:
        for name in ("problems", "length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if not 0 < self.sigma < float("inf"):
            raise ValueError(f"sigma is {self.sigma}; expected a positive number")

    @abc.abstractmethod
    def weigh(self, steps: Steps) -> Weights:
        """The weights of one problem's perturbation and accumulator, from its pair (theta + e, theta - e)."""

    def accumulate(self, weights: Weights, e: Array, xi: Array) -> Array:
        """The accumulator after an estimate with perturbation ``e``, (size,); zero for most estimators."""
        del weights, e
        return xi

    def init(self, trained: PyTree, frozen: PyTree, tasks: Sequence[Any], key: Array) -> EstimatorState:
        """State before the first estimate; arguments as of `estimate`."""
        size = ravel_pytree(trained)[0].size
        pair = self.pair(trained, jnp.zeros((size,), jnp.float32))
        start = jnp.zeros((), jnp.int32)

        def begin(task: Any, key: Array) -> Problem:
            return self.inner.begin(pair, frozen, task, key, start, offset=True)

        problems = tuple(
            self._over_problems(begin, task, self._keys(key, group, task)) for group, task in enumerate(tasks)
        )
        return EstimatorState(
            problems, tuple(jnp.zeros((*p.step.shape, size), jnp.float32) for p in problems)
        )

    def estimate(
        self,
        trained: PyTree,
        frozen: PyTree,
        tasks: Sequence[Any],
        state: EstimatorState,
        key: Array,
        iteration: Array,
    ) -> tuple[Array, EstimatorState, tuple[Summary, ...]]:
        """One estimate of the meta-gradient, for one stacked task per group of families of equal shape.

        The gradient is with respect to the raveled ``trained``, (size,): the mean over families and problems,
        NaN replaced by 0. ``trained`` and ``frozen`` are the parts of theta, see
        `celo.meta.estimators.partition`; ``iteration`` is the () int32 meta-iteration. Returned are the
        gradient, the state after, and one `Summary` per group.
        """

        def one(task: Any, key: Array, problem: Problem, xi: Array) -> tuple:
            key_e, key_unroll = jax.random.split(key)
            e = self.sigma * _normal(key_e, xi.size)
            problem, steps = self.unroll(trained, frozen, task, problem, e, key_unroll, iteration)
            weights = self.weigh(steps)
            return (weights, e), self.accumulate(weights, e, xi), problem, summarise(steps)

        results = []
        for group, task in enumerate(tasks):
            keys = self._keys(key, group, task)
            results.append(
                self._over_problems(one, task, keys, state.problems[group], state.accumulators[group])
            )
        weighted, accumulators, problems, summaries = zip(*results, strict=True)
        gradient = self._mean([(w, xi, e) for (w, e), xi in zip(weighted, state.accumulators, strict=True)])
        if self.axis is not None:
            summaries = jax.lax.all_gather(summaries, self.axis, axis=1, tiled=True)
        return gradient, EstimatorState(problems, accumulators), tuple(summaries)

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
        """Trains one problem with theta + e and theta - e for `length` steps."""
        pair = self.pair(trained, e)
        return self.inner.unroll(pair, frozen, task, problem, key, self.length, iteration)

    def pair(self, trained: PyTree, e: Array) -> PyTree:
        """``theta + e`` and ``theta - e`` along a leading axis."""
        flat, unravel = ravel_pytree(trained)
        return jax.vmap(unravel)(jnp.stack([flat + e, flat - e]))

    def plain_weight(self, steps: Steps) -> Array:
        """The weight of ``e`` without a memory, ``sum(w delta) / sum(w) / (2 sigma^2)``."""
        weights = steps.mask.astype(jnp.float32)
        delta = jnp.sum(weights * (steps.loss[:, 0] - steps.loss[:, 1])) / jnp.maximum(jnp.sum(weights), 1.0)
        return delta / (2.0 * self.sigma**2)

    def _over_problems(self, function: Any, task: Any, keys: Array, *state: PyTree) -> Any:
        """Applies ``function(task, key, *state)`` to all families and problems of a group."""
        over_problems = jax.vmap(function, in_axes=(None, *(0 for _ in (keys, *state))))
        return jax.vmap(over_problems)(task, keys, *state)

    def _keys(self, key: Array, group: int, task: Any) -> Array:
        """A key per family and problem that does not depend on how problems are sharded."""
        shards = 1 if self.axis is None else jax.lax.axis_size(self.axis)
        local = self.problems // shards
        first = 0 if self.axis is None else jax.lax.axis_index(self.axis) * local
        number = jnp.arange(families(task))[:, None] * self.problems + first + jnp.arange(local)[None]
        fold = jax.vmap(jax.vmap(jax.random.fold_in, in_axes=(None, 0)), in_axes=(None, 0))
        return fold(key, number + group * _MOST_PROBLEMS)

    def _mean(self, groups: Sequence[tuple[Weights, Array, Array]]) -> Array:
        """Mean over all problems of all groups and shards of ``past xi + new e``; NaN becomes 0."""
        count = sum(xi.shape[0] * xi.shape[1] for _, xi, _ in groups)
        total = jnp.zeros((), jnp.float32)
        for weights, xi, e in groups:
            for weight, vectors in ((weights.past, xi), (weights.new, e)):
                total = total + jnp.einsum("fp,fps->s", weight, vectors, precision="highest")
        mean = total / count if self.axis is None else jax.lax.pmean(total / count, self.axis)
        return jnp.where(jnp.isnan(mean), 0.0, mean)


def _normal(key: Array, size: int) -> Array:
    """(size,) standard normal numbers.

    The generator's older numbering of blocks uses both words of a block, which is half the work. The newer
    one lets several devices draw parts of one array, which one problem never needs.
    """
    with jax.threefry_partitionable(False):
        return jax.random.normal(key, (size,), jnp.float32)
