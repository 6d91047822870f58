"""Which tasks can be scored: those every optimizer has finished, on the same data. Holes are named."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from celo.evaluation.cell import CellResult
from celo.evaluation.corpora import corpus_of
from celo.evaluation.scores import REFERENCE


@dataclasses.dataclass(frozen=True)
class Coverage:
    """What is there and what is missing.

    Attributes:
        tasks: all tasks, asked for or found.
        optimizers: labels of all optimizers, asked for or found.
        complete: the tasks on which all of them are finished, on the same data as far as is known.
        unfinished: pairs of task and optimizer that were asked for and are not there.
        unasked: pairs that are not there because nobody asked for them.
        mixed: tasks that are known not to be the same for all optimizers, each with those told apart.
    """

    tasks: tuple[str, ...]
    optimizers: tuple[str, ...]
    complete: tuple[str, ...]
    unfinished: tuple[tuple[str, str], ...]
    unasked: tuple[tuple[str, str], ...]
    mixed: tuple[tuple[str, str], ...]

    @property
    def holes(self) -> tuple[tuple[str, str], ...]:
        """All pairs of task and optimizer that are not there."""
        return self.unfinished + self.unasked

    def sentences(self) -> list[str]:
        """What is missing and what follows from it; nothing where nothing is missing."""
        said = []
        for pairs, what in ((self.unfinished, "Not finished"), (self.unasked, "Never asked for")):
            if pairs:
                cells = "; ".join(f"{optimizer} on {task}" for task, optimizer in pairs)
                said.append(
                    f"{what} ({len(pairs)} of {len(self.tasks) * len(self.optimizers)} cells): {cells}."
                )
        said += [
            f"{task} had other data or another definition for {groups}, so nothing compares them there."
            for task, groups in self.mixed
        ]
        if said:
            left = [task for task in self.tasks if task not in self.complete]
            said.append(
                f"Scores are over the {len(self.complete)} of {len(self.tasks)} tasks that every optimizer "
                f"has finished{' on the same data' if self.mixed else ''}; left out of every score, for all "
                f"optimizers alike: {', '.join(left)}."
            )
        return said


def coverage(cells: Sequence[CellResult], expected: Sequence[tuple[str, str]] = ()) -> Coverage:
    """Compares what is finished with every pair of a task and an optimizer, asked for or not.

    Args:
        cells: the finished cells.
        expected: pairs of task and optimizer that were asked for.

    Returns:
        The coverage. The first of the optimizers is the reference, without which nothing can be scored, even
        if nobody asked for it; the others are in order of appearance.

    Raises:
        ValueError: two cells are of the same task and optimizer; cells of a task differ in steps, or any in
            seeds.
    """
    _check(cells)
    found = [(cell.task, cell.optimizer) for cell in cells]
    tasks = tuple(dict.fromkeys(task for task, _ in (*expected, *found)))
    optimizers = tuple(dict.fromkeys((REFERENCE, *(optimizer for _, optimizer in (*expected, *found)))))
    holes = [(task, label) for task in tasks for label in optimizers if (task, label) not in found]
    mixed = _mixed(cells)
    incomplete = {task for task, _ in (*holes, *mixed)}
    return Coverage(
        tasks,
        optimizers,
        tuple(task for task in tasks if task not in incomplete),
        tuple(pair for pair in holes if pair in expected),
        tuple(pair for pair in holes if pair not in expected),
        mixed,
    )


def told_apart(digests: Iterable[tuple[str, str | None]]) -> str:
    """Who differs from whom, in words.

    Args:
        digests: names, each with its digest; those whose digest is not known differ from nobody.

    Returns:
        The names in groups of equal digests; "" if no two are known to differ.

    Example:
        >>> told_apart([("adam", "a1"), ("sgd", "b2"), ("celo", "b2"), ("old", None)])
        'adam than for sgd, celo'
        >>> told_apart([("adam", "a1"), ("old", None)])
        ''
    """
    groups: dict[str, list[str]] = {}
    for name, digest in digests:
        if digest is not None:
            groups.setdefault(digest, []).append(name)
    return " than for ".join(map(", ".join, groups.values())) if len(groups) > 1 else ""


def _mixed(cells: Sequence[CellResult]) -> tuple[tuple[str, str], ...]:
    """Tasks whose cells have different digests of the task, and the optimizers told apart."""
    found: dict[str, list[tuple[str, str | None]]] = {}
    for cell in cells:
        corpus = corpus_of(cell)
        words = f"{cell.optimizer} (on {corpus.name})" if corpus else cell.optimizer
        found.setdefault(cell.task, []).append((words, cell.task_digest))
    told = {task: told_apart(digests) for task, digests in found.items()}
    return tuple((task, groups) for task, groups in told.items() if groups)


def _check(cells: Sequence[CellResult]) -> None:
    seen: dict[tuple[str, str], CellResult] = {}
    steps: dict[str, CellResult] = {}
    for cell in cells:
        twin = seen.setdefault((cell.task, cell.optimizer), cell)
        if twin is not cell:
            raise ValueError(
                f"there are two results of {cell.optimizer} on {cell.task}, with keys {twin.key[:12]} and "
                f"{cell.key[:12]}; expected one"
            )
        first = steps.setdefault(cell.task, cell)
        if cell.num_steps != first.num_steps:
            raise ValueError(
                f"{cell.optimizer} on {cell.task} took {cell.num_steps} steps and {first.optimizer} "
                f"{first.num_steps}; scores need equal numbers"
            )
        if cell.seeds != cells[0].seeds:
            raise ValueError(
                f"{cell.optimizer} on {cell.task} has seeds {cell.seeds}, {cells[0].optimizer} on "
                f"{cells[0].task} {cells[0].seeds}; scores need the same seeds everywhere"
            )
