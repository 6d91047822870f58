"""Learned optimizers against Adam at its best learning rate, on the same problems: a small evaluation."""

from __future__ import annotations

import contextlib
import dataclasses
import math
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from celo.evaluation.cell import CellResult
from celo.evaluation.contestants import Contestant, learned_contestant
from celo.evaluation.hyperparameters import GRIDS
from celo.evaluation.plan import Evaluation
from celo.evaluation.resources import Resources
from celo.evaluation.rules import HandDesigned
from celo.evaluation.runner import Observer, run
from celo.evaluation.selection import choose
from celo.evaluation.settings import Settings
from celo.evaluation.task_comparison import TaskComparison
from celo.learned.base import LearnedOptimizer
from celo.meta.full_training import check_num_steps
from celo.meta.tasks.base import Task

PyTree = Any

ADAM = "Adam"
ADAM_GRID = GRIDS["half_powers"]


class Entry(NamedTuple):
    """A learned optimizer to compare.

    Attributes:
        label: what to call it.
        learned: its configuration.
        theta: its meta-parameters.
    """

    label: str
    learned: LearnedOptimizer
    theta: PyTree


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What all tasks and optimizers of a comparison share.

    Attributes:
        seeds: trainings of each optimizer; every optimizer gets the same initial parameters and batches.
        learning_rates: constant learning rates of Adam.
        seed: of the random keys.
        trainings_at_once: the most trainings of Adam that a device does at a time, see
            `celo.evaluation.resources.Resources`.
        folder: where finished trainings are kept, and found again by the same comparison; None = nowhere.
        log: gets a line about every job.
    """

    seeds: int = 3
    learning_rates: tuple[float, ...] = ADAM_GRID
    seed: int = 0
    trainings_at_once: int = 0
    folder: Path | None = None
    log: Callable[[str], None] = dataclasses.field(default=lambda line: None, repr=False)

    def __post_init__(self) -> None:
        """Checks the numbers."""
        for name, least in (("seeds", 1), ("trainings_at_once", 0)):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise ValueError(f"{name} is {value!r}; expected a whole number of at least {least}")
        if not self.learning_rates:
            raise ValueError("a comparison needs at least one learning rate of Adam, got none")
        for rate in self.learning_rates:
            if not 0 < rate < math.inf:
                raise ValueError(f"a learning rate is {rate}; expected a positive finite number")


def compare(
    entries: Sequence[Entry], tasks: Sequence[Task], num_steps: int, comparison: Comparison | None = None
) -> list[TaskComparison]:
    """Trains every task with every learned optimizer and with Adam at every learning rate.

    Args:
        entries: the learned optimizers, of different labels.
        tasks: the tasks, of different names.
        num_steps: steps of each training.
        comparison: seeds, rates, and where to keep finished trainings.

    Returns:
        What was found on each task, in order.

    Raises:
        TypeError: if the number of steps is not a whole number.
        ValueError: for a number of steps below 1, no entry, no task, names or labels that are given twice,
            and meta-parameters that do not fit their optimizer; all before anything is compiled.
        RuntimeError: a training failed, as for want of memory.
    """
    comparison = comparison or Comparison()
    contestants = _contestants(entries, tasks, comparison)
    cells = _cells(contestants, tasks, check_num_steps(num_steps), comparison)
    return [
        TaskComparison(
            cells[task.name, ADAM], {entry.label: choose(cells[task.name, entry.label]) for entry in entries}
        )
        for task in tasks
    ]


def _cells(
    contestants: Sequence[Contestant], tasks: Sequence[Task], steps: int, comparison: Comparison
) -> dict[tuple[str, str], CellResult]:
    """The cells of all optimizers on all tasks, by task and label."""
    # Evaluations at the beginning and the end only: nothing here is made of those in between.
    settings = Settings(steps, comparison.seeds, comparison.seed, eval_every=steps)
    with _folder(comparison.folder, settings) as folder:
        evaluation = Evaluation(
            contestants,
            {task.name: lambda task=task: task for task in tasks},
            settings,
            folder,
            log=comparison.log,
            # Each report is of the latest checkpoints alone, so that a label may change its meaning.
            lasting_labels=False,
        )
        outcome = run(evaluation, Resources(comparison.trainings_at_once), _Lines(comparison.log))
        if outcome.missing:
            reasons = "; ".join(f"{name.words}: {reason}" for name, reason in outcome.failures)
            raise RuntimeError(f"{len(outcome.missing)} cells were not done: {reasons}")
        return {(cell.task, cell.optimizer): cell for cell in evaluation.results()}


class _Lines(Observer):
    """A line for every cell."""

    def __init__(self, write: Callable[[str], None]):
        self._write = write

    def log(self, line: str) -> None:
        self._write(line)

    def finished(self, cell: CellResult, how: str) -> None:
        done = f"{cell.final_loss.size} trainings of {cell.num_steps} steps, {cell.info['seconds']:.0f} s"
        self.log(f"{cell.optimizer} on {cell.task}: {done if how == 'done' else 'already done'}")


def _contestants(entries: Sequence[Entry], tasks: Sequence[Task], comparison: Comparison) -> list[Contestant]:
    """Adam and the learned optimizers, after checking all that was asked for."""
    if not tasks:
        raise ValueError("a comparison needs at least one task, got none")
    if not entries:
        raise ValueError("a comparison needs at least one learned optimizer, got none")
    _check_different("tasks", [task.name for task in tasks])
    _check_different("labels", [ADAM, *(entry.label for entry in entries)])
    rates = tuple({"learning_rate": rate} for rate in comparison.learning_rates)
    # Adam first: its cells are the longest.
    return [
        Contestant(ADAM, HandDesigned("adam"), rates),
        *(learned_contestant(entry.label, entry.learned, entry.theta) for entry in entries),
    ]


def _check_different(what: str, names: Sequence[str]) -> None:
    if len({name.lower() for name in names}) < len(names):
        raise ValueError(f"the {what} of a comparison need different names, got {', '.join(names)}")


@contextlib.contextmanager
def _folder(folder: Path | None, settings: Settings) -> Iterator[Path]:
    """The folder of the trainings of these settings; one for the time being if they are not to be kept."""
    if folder is None:
        with tempfile.TemporaryDirectory() as temporary:
            yield Path(temporary)
    else:
        yield folder / "trainings" / f"{settings.steps}-steps-{settings.seeds}-seeds-from-{settings.seed}"
