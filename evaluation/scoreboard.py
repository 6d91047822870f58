"""All scores of an evaluation, with the best Adam's own runs as the first row: the noise reference."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from celo.evaluation.cell import CellResult
from celo.evaluation.corpora import corpus_of
from celo.evaluation.coverage import Coverage, coverage
from celo.evaluation.envelope import Envelope, velo_speedup_score
from celo.evaluation.scores import REFERENCE, SCORES, Reference, reference, unscorable
from celo.evaluation.selection import Chosen, choose

NOISE = "Adam* (noise reference)"
VELO_MEANING = (
    "Steps that tuned Adam needs to reach the run's final loss, by the envelope of Adam's training curves, "
    "divided by the run's own number of steps, as VeLO's authors measure it."
)


class Scored(NamedTuple):
    """One kind of score of all optimizers.

    Attributes:
        name: for files.
        title: for headings.
        meaning: in a sentence.
        tasks: names of the tasks, the columns.
        scores: (S, tasks) by label of the optimizer, `NOISE` first.
    """

    name: str
    title: str
    meaning: str
    tasks: tuple[str, ...]
    scores: Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True, eq=False)
class Scoreboard:
    """Everything scored of an evaluation.

    Attributes:
        coverage: what is finished and what is missing.
        unscorable: complete tasks that cannot be scored, each with the reason.
        tasks: the tasks that are scored: complete, with a reference.
        seeds: their numbers.
        runs: by label and task the trainings at the best configuration, of every finished cell; Adam's under
            the label `NOISE`.
        references: what the best Adam reaches, by task, wherever Adam is finished and can be scored against.
        scored: one per kind of score, over the same tasks but for VeLO's; none if no task can be scored.
        envelopes: of tuned Adam by task, as given; None if none were.
        without_envelope: scored tasks that VeLO's speedup leaves out although envelopes were given, each with
            the reason.
    """

    coverage: Coverage
    unscorable: Mapping[str, str]
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    runs: Mapping[str, Mapping[str, Chosen]]
    references: Mapping[str, Reference]
    scored: tuple[Scored, ...]
    envelopes: Mapping[str, Envelope] | None
    without_envelope: Mapping[str, str]

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the rows: the noise reference, then the optimizers."""
        return tuple(self.runs)


def scoreboard(
    cells: Sequence[CellResult],
    expected: Sequence[tuple[str, str]] = (),
    envelopes: Mapping[str, Envelope] | None = None,
) -> Scoreboard:
    """Scores every optimizer on every task on which all of them are finished.

    Args:
        cells: the finished cells.
        expected: pairs of task and optimizer that were asked for.
        envelopes: of tuned Adam by task, for VeLO's speedup; None for none. Tasks without an envelope of the
            same data are left out of that score.

    Returns:
        The scoreboard; without scores if there is no task to score.

    Raises:
        ValueError: there is no cell, or cells do not belong together, see `celo.evaluation.coverage.coverage`.
    """
    if not cells:
        asked = "; ".join(f"{optimizer} on {task}" for task, optimizer in expected)
        raise ValueError(f"there is no finished cell to report on; asked for: {asked or 'nothing'}")
    covered = coverage(cells, expected)
    by_label: dict[str, dict[str, Chosen]] = {_row(label): {} for label in covered.optimizers}
    for cell in cells:
        by_label[_row(cell.optimizer)][cell.task] = choose(cell)
    references, refused = _references(covered.tasks, by_label)
    refused = {task: reason for task, reason in refused.items() if task in covered.complete}
    tasks = tuple(task for task in covered.complete if task in references)
    without = {} if envelopes is None else _without_envelope(tasks, cells, envelopes)
    fitting = {task: one for task, one in (envelopes or {}).items() if task not in without}
    scored = _scored(tasks, by_label, references, fitting) if tasks else ()
    return Scoreboard(
        covered, refused, tasks, cells[0].seeds, by_label, references, scored, envelopes, without
    )


def _references(
    tasks: Sequence[str], runs: Mapping[str, Mapping[str, Chosen]]
) -> tuple[dict[str, Reference], dict[str, str]]:
    """What the best Adam reaches on each task that can be scored, and why others cannot."""
    references, refused = {}, {}
    for task in tasks:
        adam = runs[NOISE].get(task)
        reason = unscorable(adam, {label: own[task] for label, own in runs.items() if task in own})
        if reason is not None:
            refused[task] = reason
        elif adam is not None and (best := reference(adam)) is not None:
            references[task] = best
    return references, refused


def _row(label: str) -> str:
    return NOISE if label == REFERENCE else label


def _without_envelope(
    tasks: Sequence[str], cells: Sequence[CellResult], envelopes: Mapping[str, Envelope]
) -> dict[str, str]:
    """Tasks without an envelope that says anything about their runs, and why."""
    found = {}
    for task in tasks:
        own = [cell for cell in cells if cell.task == task]
        digests = {cell.task_digest for cell in own} - {None}
        envelope = envelopes.get(task)
        if envelope is None:
            found[task] = "there is no envelope of Adam for"
        elif envelope.evaluations is None:
            corpora = [corpus for cell in own if (corpus := corpus_of(cell))]
            if any(corpus.substituted for corpus in corpora):
                found[task] = "the envelope is of the published corpus, the runs are not, on"
            elif any(corpus.retokenized for corpus in corpora):
                found[task] = "the envelope is of the published tokenizer, the runs are not, on"
        elif envelope.task_digest is not None and digests - {envelope.task_digest}:
            found[task] = "the envelope is of other data or another definition of the task than the runs on"
    return found


def _scored(
    tasks: tuple[str, ...],
    runs: Mapping[str, Mapping[str, Chosen]],
    references: Mapping[str, Reference],
    envelopes: Mapping[str, Envelope],
) -> tuple[Scored, ...]:
    made = []
    for score in SCORES:
        columns = {
            label: np.stack([score.of(own[task], references[task]) for task in tasks], axis=1)
            for label, own in runs.items()
        }
        made.append(Scored(score.name, score.title, score.meaning, tasks, columns))
    known = tuple(task for task in tasks if task in envelopes)
    if known:
        columns = {
            label: np.stack([velo_speedup_score(own[task], envelopes[task]) for task in known], axis=1)
            for label, own in runs.items()
        }
        made.append(Scored("velo_speedup", "VeLO's speedup", VELO_MEANING, known, columns))
    return tuple(made)
