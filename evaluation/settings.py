"""What all cells of an evaluation share."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax

from celo._core.names import unknown_name
from celo.evaluation import rules
from celo.evaluation.code_identity import code_identity, own_sources
from celo.evaluation.contestants import Contestant
from celo.evaluation.hyperparameters import GRIDS
from celo.meta import evaluated_training
from celo.meta.evaluated_training import EvaluatedTraining
from celo.meta.runs.fingerprint import fingerprint
from celo.meta.tasks.base import Task

# What turns trainings into a cell. Alone: by way of the optimizers' registry they import everything.
_PROGRAM = ("celo.evaluation.cell_program", "celo.evaluation.open_cell", "celo.meta.compile")


@dataclasses.dataclass(frozen=True)
class Settings:
    """What all cells of an evaluation share.

    Attributes:
        steps: of every training.
        seeds: trainings of each configuration; equal seeds mean equal initial parameters and batches for all
            optimizers, and those of the first do not depend on how many there are.
        seed: of the random keys, and of the random search of hyperparameters.
        eval_every: steps from one evaluation to the next.
        eval_batches: batches of each split per evaluation.
        grid: learning rates of hand-designed optimizers, see `celo.evaluation.hyperparameters.GRIDS`.
    """

    steps: int = 2000
    seeds: int = 3
    seed: int = 0
    eval_every: int = 10
    eval_batches: int = 5
    grid: str = "half_powers"

    def __post_init__(self) -> None:
        """Checks the numbers."""
        _ = self.plan
        if isinstance(self.seeds, bool) or not isinstance(self.seeds, int) or self.seeds < 1:
            raise ValueError(f"seeds is {self.seeds!r}; expected a whole number of at least 1")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed!r}; expected a whole number from 0 to {2**32 - 1}")
        if self.grid not in GRIDS:
            raise unknown_name("grid of learning rates", self.grid, GRIDS)

    @property
    def plan(self) -> EvaluatedTraining:
        """The plan of every training."""
        return EvaluatedTraining(self.steps, self.eval_every, self.eval_batches)

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """Number of each seed."""
        return tuple(range(self.seeds))

    def key(self) -> jax.Array:
        """The key that the number of a seed is folded into."""
        return jax.random.key(self.seed)


def task_digest(task: Task) -> str:
    """A digest of a task: its configuration and all its data."""
    return fingerprint(task=task)


def code_digest(task: Task) -> str:
    """A digest of the code, the versions of libraries and the platform that all cells of a task share.

    What only one optimizer is made of, as the class of a learned one, does not count, so that the digests of
    two optimizers on a task are equal unless something was changed between them.

    Args:
        task: the task; its data do not count.
    """
    code = code_identity(evaluated_training, rules, *_classes(task))
    return fingerprint(code=code, program=own_sources(*_PROGRAM))


def cell_key(task: Task, digest: str, contestant: Contestant, settings: Settings) -> str:
    """A digest of everything that decides the numbers of a cell, and of nothing else.

    Args:
        task: the task.
        digest: its `task_digest`, which takes long where there are many data.
        contestant: the optimizer; its label does not count.
        settings: steps, seeds, evaluations; the grid counts as the configurations the optimizer has.

    Returns:
        SHA-256 in hexadecimal.

    Raises:
        TypeError: something of it has no lasting description.
    """
    classes = {*_classes(task), *_classes(contestant.rule)}
    return fingerprint(
        task=digest,
        rule=repr(contestant.rule),
        configurations=repr([sorted(one.items()) for one in contestant.configurations]),
        theta=contestant.theta,
        plan=repr(settings.plan),
        seeds=[settings.seed, *settings.seed_numbers],
        code=code_identity(evaluated_training, *classes),
        program=own_sources(*_PROGRAM),
    )


def _classes(thing: Any) -> Iterator[type]:
    """The classes of a dataclass and of the dataclasses in it."""
    if dataclasses.is_dataclass(thing) and not isinstance(thing, type):
        yield type(thing)
        for field in dataclasses.fields(thing):
            yield from _classes(getattr(thing, field.name))
    elif isinstance(thing, tuple | list):
        for item in thing:
            yield from _classes(item)
