"""A worker of a cluster: whole trainings of its inner problems, with theta + e and theta - e.

A perturbation follows from a seed. A worker answers with a weight and a few measurements per problem, and
never with a vector as long as theta.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.flatten_util import ravel_pytree

from celo.learned.base import LearnedOptimizer
from celo.meta.compile import jit
from celo.meta.estimators import Summary, partition
from celo.meta.estimators.antithetic import NOTHING, problem_keys, problem_number
from celo.meta.estimators.summary import difference_snr, summarise
from celo.meta.program import group_tasks
from celo.meta.runs.fingerprint import arrays_fingerprint
from celo.meta.stage import Stage
from celo.meta.tasks import make, stack_tasks

_REPEAT = 1 << 31  # beyond the numbers of meta-iterations and of problems


class Seed(NamedTuple):
    """What the randomness of an answer follows from.

    Attributes:
        version: meta-iterations that theta has behind it.
        repeat: how often the worker was asked with this version before.
    """

    version: int
    repeat: int = 0

    def key(self, key: Array) -> Array:
        """The key of the estimate; without a repeat it is that of `StageProgram` in this meta-iteration."""
        key = jax.random.fold_in(key, self.version)
        return jax.random.fold_in(key, _REPEAT + self.repeat) if self.repeat else key


class Share(NamedTuple):
    """The inner problems of one worker.

    Attributes:
        families: (f,) indices of task families, in the order of `celo.meta.program.group_tasks`.
        numbers: (f, p) int32 numbers of their problems, which the keys follow from.
    """

    families: np.ndarray
    numbers: np.ndarray


class Answer(NamedTuple):
    """What a worker sends.

    Attributes:
        seed: of the perturbations and all else that was random.
        weights: (f, p) weight of each problem's perturbation in the meta-gradient.
        summary: fields (f, p), see `Summary`.
        difference_snr: () of these problems, see `celo.meta.estimators.summary.difference_snr`.
    """

    seed: Seed
    weights: np.ndarray
    summary: Summary
    difference_snr: np.ndarray


def shares(groups: Sequence[Sequence[int]], problems: int, workers: int) -> tuple[Share, ...]:
    """Divide the problems of all families among workers: whole families, or equal pieces of one family.

    Args:
        groups: indices of tasks in groups of equal shape, see `celo.meta.program.group_tasks`.
        problems: inner problems per family.
        workers: number of workers.

    Raises:
        ValueError: a worker would have no problem, or a family would be cut into unequal pieces.

    Example:
        >>> [share.numbers.tolist() for share in shares([[0, 1]], problems=4, workers=4)]
        [[[0, 1]], [[4, 5]], [[2, 3]], [[6, 7]]]
    """
    count = sum(map(len, groups))
    pieces = max(1, workers // count)
    if workers > count and (workers % count or problems % pieces):
        raise ValueError(
            f"workers is {workers}; expected at most {count}, the number of task families, or {count} times "
            f"a divisor of {problems}, the problems of each"
        )
    problem = np.arange(problems)
    rows = [
        problem_number(g, i, problem, problems) for g, group in enumerate(groups) for i in range(len(group))
    ]
    numbers = np.stack(rows).astype(np.int32).reshape(count, pieces, -1)
    families = [np.arange(worker % count, count, min(workers, count)) for worker in range(workers)]
    return tuple(Share(held, numbers[held, worker // count]) for worker, held in enumerate(families))


class Unroller:
    """Unrolls a share of the inner problems of a stage; it is compiled at the first answer.

    Args:
        stage: the stage, whose estimator keeps nothing between meta-iterations.
        learned: the learned optimizer, in the configuration of the stage.
        tasks: the task families of the share, in its order.
        share: the problems.
        key: of the stage.
    """

    def __init__(
        self, stage: Stage, learned: LearnedOptimizer, tasks: Sequence[Any], share: Share, key: Array
    ):
        self._groups = group_tasks(tasks)
        self._tasks = [stack_tasks([tasks[i] for i in group]) for group in self._groups]
        self._share, self._key = share, key
        self._estimator = stage.gradient_estimator(learned, None)
        shapes = jax.eval_shape(learned.init, jax.random.key(0))
        unravel = ravel_pytree(jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes))[1]
        trainable = stage.trainable(learned, shapes)
        self._parts = lambda flat: partition.split(unravel(flat), trainable)
        self._unroll = jit(self._unrolled)

    def unroll(self, theta: np.ndarray, seed: Seed) -> Answer:
        """The answer for a raveled theta, (size,), and a seed."""
        arguments = (self._tasks, self._share.numbers, jnp.asarray(theta), seed.key(self._key))
        measured = self._unroll(*arguments, jnp.asarray(seed.version, jnp.int32))
        return Answer(seed, *jax.device_get(measured))

    def _unrolled(self, tasks: Any, numbers: Array, flat: Array, key: Array, iteration: Array) -> tuple:
        parts = self._parts(flat)

        def one(task: Any, key: Array) -> tuple:
            _, _, steps, differences = self._estimator.train(parts, task, NOTHING, key, iteration)
            weight = self._estimator.weigh(steps, differences).new
            return weight, summarise(steps), differences.delta, steps.mask

        keys = problem_keys(key, numbers)
        each = [
            self._estimator.over_problems(one, task, keys[np.asarray(group)])
            for group, task in zip(self._groups, tasks, strict=True)
        ]
        weights, summaries, deltas, masks = zip(*each, strict=True)
        joined = jax.tree.map(lambda *x: jnp.concatenate(x), *zip(weights, summaries, strict=True))
        return *joined, difference_snr(deltas, masks)


@dataclasses.dataclass(frozen=True)
class Job:
    """What a worker process is started with.

    Attributes:
        stage: the stage.
        learned: the learned optimizer, in the configuration of the stage.
        digests: the names of its task families in the order of its share, each with the digest of its data.
        data_dir: folder of datasets, see `celo.meta.data`.
        share: its problems.
        key_data: of the stage's key.
        folder: working folder, where tasks of the user's own are found.
    """

    stage: Stage
    learned: LearnedOptimizer
    digests: dict[str, str]
    data_dir: str | None
    share: Share
    key_data: np.ndarray
    folder: str


class UnrollWorker(Unroller):
    """An `Unroller` in a process of its own, which reads the data itself.

    ValueError if its data are not those of the learner.
    """

    def __init__(self, job: Job):
        os.chdir(job.folder)
        tasks = [make(name, job.data_dir) for name in job.digests]
        for task, (name, digest) in zip(tasks, job.digests.items(), strict=True):
            if (found := arrays_fingerprint(task)) != digest:
                raise ValueError(f"the data of {name} have the digest {found} here, {digest} at the learner")
        key = jax.random.wrap_key_data(jnp.asarray(job.key_data))
        super().__init__(job.stage, job.learned, tasks, job.share, key)
