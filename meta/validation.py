"""Meta-validation: how well meta-parameters train fixed problems from the first step to the last.

The meta-loss comes from truncated trainings under random augmentation and horizons; this is what users get.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from celo.learned.base import LearnedOptimizer, check_theta
from celo.meta.compile import jit
from celo.meta.full_training import check_num_steps, train
from celo.meta.program import group_tasks
from celo.meta.tasks.base import Task, stack_tasks

PyTree = Any

TAIL = 0.1


@dataclasses.dataclass(frozen=True, eq=False)
class Validation:
    """Fixed problems to evaluate meta-parameters on: tasks, seeds, and a horizon in steps.

    A problem's value is the mean of its normalised training loss over the last tenth of its steps, without
    augmentation. Scores use the training loss too, and the steps compute it anyway; a tenth of the steps
    averages most of the noise of batches away. The normaliser limits the value of a diverged training.

    All tasks and seeds are trained in one compiled call, compiled once per configuration of a learned
    optimizer; tasks of equal structure and shapes share its code.

    Attributes:
        tasks: the tasks, with different names.
        num_steps: steps of each training; the optimizer's horizon.
        seeds: trainings per task.

    Example:
        >>> from celo.learned import LEARNED
        >>> from celo.meta.tasks import Quadratic
        >>> learned = LEARNED["celo"](stage=1)
        >>> validation = Validation([Quadratic.of([1.0, 2.0])], num_steps=20, seeds=2)
        >>> score, by_task = validation.validate(learned, learned.init(jax.random.key(0)), jax.random.key(1))
        >>> list(by_task)
        ['Quadratic2']
    """

    tasks: Sequence[Task]
    num_steps: int
    seeds: int = 3
    _members: tuple[tuple[int, ...], ...] = dataclasses.field(init=False, repr=False)
    _stacks: tuple[Task, ...] = dataclasses.field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_num_steps(self.num_steps)
        if isinstance(self.seeds, bool) or not isinstance(self.seeds, int) or self.seeds < 1:
            raise ValueError(f"seeds is {self.seeds!r}; expected a whole number of at least 1")
        names = [task.name for task in self.tasks]
        if not names:
            raise ValueError("meta-validation needs at least one task, got none")
        if len(set(names)) < len(names):
            raise ValueError(f"tasks of meta-validation need different names, got {', '.join(names)}")
        members = tuple(map(tuple, group_tasks(self.tasks)))
        object.__setattr__(self, "_members", members)
        object.__setattr__(
            self, "_stacks", tuple(stack_tasks([self.tasks[i] for i in group]) for group in members)
        )

    def validate(
        self, learned: LearnedOptimizer, theta: PyTree, key: Array
    ) -> tuple[float, dict[str, float]]:
        """Trains every problem with these meta-parameters.

        The key decides initial parameters and batches of all problems: with the same key, scores differ only
        because meta-parameters do. Returns the mean over tasks, lower is better, and each task's mean over
        seeds by its name. ValueError if ``theta`` does not fit ``learned``.
        """
        # Meta-training keeps copies on many devices; this runs on one.
        theta = jax.tree.map(np.asarray, theta)
        check_theta(learned, theta)
        keys = [jax.random.split(jax.random.fold_in(key, i), self.seeds) for i in range(len(self.tasks))]
        stacked = tuple(jnp.stack([keys[i] for i in group]) for group in self._members)
        values = jax.device_get(_program(learned, self.num_steps)(theta, self._stacks, stacked))
        of_task = {
            i: float(np.mean(value))
            for group, rows in zip(self._members, values, strict=True)
            for i, value in zip(group, rows, strict=True)
        }
        by_name = {task.name: of_task[i] for i, task in enumerate(self.tasks)}
        return float(np.mean(list(by_name.values()))), by_name


@functools.lru_cache(maxsize=16)
def _program(learned: LearnedOptimizer, num_steps: int) -> Any:
    """Compiled, for a configuration: theta, stacks of tasks and keys to (tasks, seeds) values per stack."""
    tail = max(1, round(TAIL * num_steps))

    def value(theta: PyTree, task: Task, key: Array) -> Array:
        curve = train(task, learned.optimizer(theta, num_steps), key, num_steps)
        return jnp.mean(task.normalizer(curve.loss[-tail:]))

    over_seeds = jax.vmap(value, in_axes=(None, None, 0))
    over_tasks = jax.vmap(over_seeds, in_axes=(None, 0, 0))

    def values(theta: PyTree, stacks: tuple[Task, ...], keys: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(over_tasks(theta, task, key) for task, key in zip(stacks, keys, strict=True))

    return jit(values)


def dashboard_name(name: str) -> str:
    """Name of a metric on a dashboard: in the section "train" or "validation"."""
    if name == "validation":
        return "validation/mean"
    return name if name.startswith("validation/") else f"train/{name}"
