"""Base of the evolution-strategies estimators: antithetic pairs of trainings over many inner problems.

Each of N problems per task family is trained twice, with theta + e and theta - e, on the same randomness;
``e ~ N(0, sigma^2)`` perturbs the trained part of theta. Estimators differ in how long a perturbation stays
with a problem, in what they remember of past ones, and in how both weigh in the gradient.
"""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
from jax import Array
from jax.flatten_util import ravel_pytree

from celo.meta.estimators import resume_buffer
from celo.meta.estimators.partition import Parts
from celo.meta.estimators.problem import Problem, Steps, Thetas
from celo.meta.estimators.resume_buffer import Buffer
from celo.meta.estimators.summary import Report, difference_snr, gradient_snr, summarise
from celo.meta.estimators.terms import Differences, Terms, contributions
from celo.meta.estimators.unroll import InnerTraining

PyTree = Any
Objective = Literal["mean", "log", "final"]

# Problems are numbered within a group of families; groups are this far apart.
_MOST_PROBLEMS = 1 << 20
# Numbers of random keys beyond those that splitting a key gives.
_MEMORY, _RESUME = 1 << 16, 1 << 17


class Worker(NamedTuple):
    """One inner problem of an estimator, or many: then leaves have leading axes (families, problems).

    Attributes:
        problem: the pair of trainings, theta + e and theta - e.
        memory: (size,) what is kept of past perturbations; None for an estimator that keeps nothing.
        buffer: the stored training; None if nothing resumes.
    """

    problem: Problem
    memory: Array | None
    buffer: Buffer | None


_none: Any = None
NOTHING = Worker(_none, None, None)
"""The worker of an estimator that starts fresh problems in every estimate and keeps none."""


class EstimatorState(NamedTuple):
    """State of an estimator: one entry per group of task families of equal shape."""

    workers: tuple[Worker, ...]


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
        objective: "mean" of the losses over the steps; "log": of their logarithms; or "final": the last loss
            of a training, for which a truncation contributes what the loss gains in it.
        resume: probability that a reset resumes the stored training, see
            `celo.meta.estimators.resume_buffer`; 0 = nothing is stored.
        normalize: whether the gradient of each family has norm 1 in the mean over families, so that families
            whose losses differ in scale count alike (VeLO, arXiv 2211.09760, appendix D).
    """

    inner: InnerTraining
    problems: int = 8
    length: int = 50
    sigma: float = 0.01
    axis: str | None = None
    objective: Objective = "mean"
    resume: float = 0.0
    normalize: bool = False

    def __post_init__(self) -> None:
        for name in ("problems", "length"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if not 0 < self.sigma < float("inf"):
            raise ValueError(f"sigma is {self.sigma}; expected a positive number")
        if not 0.0 <= self.resume <= 1.0:
            raise ValueError(f"resume is {self.resume}; expected a probability")
        if self.objective not in get_args(Objective):
            raise ValueError(f"objective is {self.objective!r}; expected 'mean', 'log' or 'final'")

    @abc.abstractmethod
    def weigh(self, steps: Steps, differences: Differences) -> Terms:
        """The weights, each (), with which one problem's `Terms` enter its gradient."""

    def first_memory(self, key: Array, size: int) -> Array | None:
        """The memory of a problem before the first estimate, (size,); by default there is none."""
        del key, size

    def remember(self, vectors: Terms, steps: Steps) -> Array | None:
        """The memory after an estimate with these vectors."""
        del vectors, steps

    def perturbations(self, vectors: Terms) -> tuple[Array, ...]:
        """The perturbation of theta in all lives, or in each; see `Thetas`."""
        return (vectors.new,)

    def differences(self, steps: Steps) -> Differences:
        """How the objective differs between the signs."""
        return contributions(steps, self.objective)

    def init(self, parts: Parts, tasks: Sequence[Any], key: Array) -> EstimatorState:
        """State before the first estimate; arguments as of `estimate`."""
        size = ravel_pytree(parts.trained)[0].size
        start = jnp.zeros((), jnp.int32)

        def begin(task: Any, key: Array) -> Worker:
            memory = self.first_memory(jax.random.fold_in(key, _MEMORY), size)
            thetas = self.thetas(parts, Terms(memory, jnp.zeros((size,), jnp.float32)))
            problem = self.inner.begin(thetas, task, key, start, offset=True)
            return Worker(problem, memory, resume_buffer.empty(problem, memory) if self.resume else None)

        return EstimatorState(
            tuple(
                self.over_problems(begin, task, self._keys(key, group, task))
                for group, task in enumerate(tasks)
            )
        )

    def estimate(
        self, parts: Parts, tasks: Sequence[Any], state: EstimatorState, key: Array, iteration: Array
    ) -> tuple[Array, EstimatorState, Report]:
        """One estimate of the meta-gradient, for one stacked task per group of families of equal shape.

        The gradient is with respect to the raveled trained part, (size,): the mean over families and
        problems, NaN replaced by 0. ``parts`` are those of theta, see `celo.meta.estimators.partition`;
        ``iteration`` is the () int32 meta-iteration. Returned are the gradient, the state after, and the
        record.
        """
        train = self.trainer(parts, key, iteration)
        workers, groups, records = [], [], []
        for group, task in enumerate(tasks):
            keys = self._keys(key, group, task)
            worker, vectors, steps, differences = self.over_problems(train, task, keys, state.workers[group])
            if self.inner.expert is not None:
                differences = self.inner.expert.differences(steps, iteration, self.axis)
            weights = jax.vmap(jax.vmap(self.weigh))(steps, differences)
            workers.append(worker)
            groups.append((weights, vectors))
            records.append((steps, differences))
        if self.normalize:
            groups = [(self._normalized(*group), group[1]) for group in groups]
        gradient = self._mean(groups)
        return gradient, EstimatorState(tuple(workers)), self._report(gradient, groups, records)

    def trainer(self, parts: Parts, key: Array, iteration: Array) -> Callable[..., tuple]:
        """The function of ``(task, key, worker)`` that gives one problem's share, see `train`."""
        return lambda task, key, worker: self.train(parts, task, worker, key, iteration)

    def train(
        self, parts: Parts, task: Any, worker: Worker, key: Array, iteration: Array
    ) -> tuple[Worker, Terms, Steps, Differences]:
        """One problem's share of an estimate: it is trained, and what follows from its losses alone."""
        key_unroll = jax.random.split(key)[1]
        size = ravel_pytree(parts.trained)[0].size
        stored = None if worker.buffer is None else worker.buffer.memory
        vectors = Terms(worker.memory, self.perturbation(key, size), stored)
        problem, steps, differences = self.unroll(parts, task, worker, vectors, key_unroll, iteration)
        buffer = worker.buffer
        if buffer is not None:
            buffer = resume_buffer.push(buffer, worker.problem, worker.memory, steps)
        return Worker(problem, self.remember(vectors, steps), buffer), vectors, steps, differences

    def perturbation(self, key: Array, size: int) -> Array:
        """The (size,) perturbation that a problem draws with the key of an estimate."""
        return self.sigma * normal(jax.random.split(key)[0], size)

    def unroll(
        self, parts: Parts, task: Any, worker: Worker, vectors: Terms, key: Array, iteration: Array
    ) -> tuple[Problem, Steps, Differences]:
        """Trains one problem with theta + e and theta - e for `length` steps."""
        draws = self.inner.draw(task, key, self.length, iteration)
        if worker.buffer is not None:
            draws = worker.buffer.offer(draws, jax.random.fold_in(key, _RESUME), self.resume)
        problem, steps = self.inner.unroll(self.thetas(parts, vectors), task, worker.problem, draws)
        return problem, steps, self.differences(steps)

    def thetas(self, parts: Parts, vectors: Terms) -> Thetas:
        """``theta + e`` and ``theta - e`` along a leading axis, with the perturbations of the estimator."""
        flat, unravel = ravel_pytree(parts.trained)
        pairs = [jnp.stack([flat + e, flat - e]) for e in self.perturbations(vectors)]
        return Thetas(tuple(jax.vmap(unravel)(pair) for pair in pairs), parts.frozen)

    def over_problems(self, function: Any, task: Any, keys: Array, *state: PyTree) -> Any:
        """Applies ``function(task, key, *state)`` to all families and problems of a group."""
        over_problems = jax.vmap(function, in_axes=(None, *(0 for _ in (keys, *state))))
        return jax.vmap(over_problems)(task, keys, *state)

    def _keys(self, key: Array, group: int, task: Any) -> Array:
        """A key per family and problem that does not depend on how problems are sharded."""
        shards = 1 if self.axis is None else jax.lax.axis_size(self.axis)
        local = self.problems // shards
        first = 0 if self.axis is None else jax.lax.axis_index(self.axis) * local
        family, problem = jnp.arange(families(task))[:, None], first + jnp.arange(local)[None]
        return problem_keys(key, problem_number(group, family, problem, self.problems))

    def _normalized(self, weights: Terms, vectors: Terms) -> Terms:
        """The weights of a group, divided by the norm of the gradient that they give their family."""
        pairs = [(w, v) for w, v in zip(weights, vectors, strict=True) if v is not None]
        parts = [jnp.einsum("fp,fps->fs", w, v, precision="highest") for w, v in pairs]
        means = sum(parts, start=jnp.zeros((), jnp.float32)) / self.problems
        if self.axis is not None:
            means = jax.lax.psum(means, self.axis)
        norm = jnp.linalg.norm(means, axis=1, keepdims=True)
        return jax.tree.map(lambda w: jnp.where(norm > 0, w / jnp.where(norm > 0, norm, 1.0), 0.0), weights)

    def _mean(self, groups: Sequence[tuple[Terms, Terms]]) -> Array:
        """Mean over all problems of all groups and shards of the weighted vectors; NaN becomes 0."""
        count = sum(vectors.new.shape[0] * vectors.new.shape[1] for _, vectors in groups)
        total = jnp.zeros((), jnp.float32)
        for weights, vectors in groups:
            for weight, vector in zip(weights, vectors, strict=True):
                if vector is not None:
                    total = total + jnp.einsum("fp,fps->s", weight, vector, precision="highest")
        mean = total / count if self.axis is None else jax.lax.pmean(total / count, self.axis)
        return jnp.where(jnp.isnan(mean), 0.0, mean)

    def _report(
        self, gradient: Array, groups: list[tuple[Terms, Terms]], records: list[tuple[Steps, Differences]]
    ) -> Report:
        """The record of an estimate, of the problems of all shards."""
        summaries = tuple(jax.vmap(jax.vmap(summarise))(steps) for steps, _ in records)
        if self.axis is not None:
            summaries = jax.lax.all_gather(summaries, self.axis, axis=1, tiled=True)
        count = self.problems * sum(vectors.new.shape[0] for _, vectors in groups)
        deltas = [differences.delta for _, differences in records]
        masks = [steps.mask for steps, _ in records]
        return Report(
            summaries,
            gradient_snr(gradient, groups, count, self.axis),
            difference_snr(deltas, masks, self.axis),
        )


def problem_number(group: int, family: Any, problem: Any, problems: int) -> Any:
    """The number of a problem among those of all families, of which each has so many; arrays broadcast."""
    return group * _MOST_PROBLEMS + family * problems + problem


def problem_keys(key: Array, numbers: Array) -> Array:
    """The keys of problems in one estimate, from its key and their (families, problems) numbers."""
    fold = jax.vmap(jax.vmap(jax.random.fold_in, in_axes=(None, 0)), in_axes=(None, 0))
    return fold(key, numbers)


def normal(key: Array, size: int) -> Array:
    """(size,) standard normal numbers.

    The generator's older numbering of blocks uses both words of a block, which is half the work. The newer
    one lets several devices draw parts of one array, which one problem never needs.
    """
    with jax.threefry_partitionable(False):
        return jax.random.normal(key, (size,), jnp.float32)
