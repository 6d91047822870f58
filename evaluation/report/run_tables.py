"""Tables about the runs themselves: how long a step took, which runs diverged, on which data."""

from __future__ import annotations

import math
from typing import Any

from celo.evaluation.report.score_tables import (
    Cell,
    configuration_words,
    finished_tasks,
    name,
    number,
    sortable,
)
from celo.evaluation.report.table import Table
from celo.evaluation.scoreboard import NOISE, Scoreboard
from celo.evaluation.selection import Chosen
from celo.meta.runs.files import json_bytes, json_ready


def runtime(board: Scoreboard) -> Table | None:
    """Milliseconds per training step and their ratio to Adam's; None if no time was measured."""
    rows, measured = [], False
    for task in finished_tasks(board):
        times = {label: milliseconds(own.get(task)) for label, own in board.runs.items()}
        measured |= not all(map(math.isnan, times.values()))
        cells = [name(task)]
        for label, time in times.items():
            cells.append(_time(time))
            if label != NOISE:
                cells.append(_ratio(time / times[NOISE]))
        rows.append(cells)
    header = ["task"]
    for label in board.labels:
        header += ["Adam"] if label == NOISE else [label, "× Adam"]
    return sortable(header, rows) if measured else None


def milliseconds(run: Chosen | None) -> float:
    """Milliseconds per step that the runner measured; NaN if it did not, or found no more than overhead."""
    seconds = float(run.cell.info.get("seconds_per_step") or math.nan) if run else math.nan
    return 1000.0 * seconds if seconds > 0 else math.nan


def diverged(board: Scoreboard) -> Table | None:
    """The runs that diverged at the configuration scored, and when; None if none did."""
    rows = []
    for label, own in board.runs.items():
        for task, run in own.items():
            for seed in run.diverged.nonzero()[0]:
                step = first_failure(run, int(seed))
                where = Cell("in the final loss", math.inf) if step is None else Cell(str(step), step)
                number_of_seed = run.cell.seeds[seed]
                words = name(configuration_words(run) or "–")
                rows.append(
                    [name(label), name(task), Cell(str(number_of_seed), number_of_seed), words, where]
                )
    return sortable(["optimizer", "task", "seed", "configuration", "at step"], rows) if rows else None


def first_failure(run: Chosen, seed: int) -> int | None:
    """The step, counted from 1, whose loss is the first that is not finite; None if only the final one is."""
    failed = [step for step, loss in enumerate(run.loss[seed], 1) if not math.isfinite(loss)]
    return failed[0] if failed else None


def data(board: Scoreboard) -> Table | None:
    """Which corpus and tokenizer, or other data, the runs of a task used; None if none says so."""
    rows = []
    for task in finished_tasks(board):
        said = {_words(run[task].cell.info.get("data")) for run in board.runs.values() if task in run} - {""}
        rows += [(task, words) for words in sorted(said)]
    return Table(("task", "data"), tuple(rows)) if rows else None


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {_words(item)}" for key, item in value.items())
    return "" if value is None else str(value)


def provenances(board: Scoreboard) -> list[tuple[str, str]]:
    """What the cells were made with: each different account once, with the number of its cells, as JSON.

    The time at which a cell began is left out: it alone would make every account different.
    """
    counted: dict[str, int] = {}
    for own in board.runs.values():
        for run in own.values():
            made = dict(run.cell.info.get("provenance") or {})
            made.pop("created", None)
            text = json_bytes(json_ready(made)).decode().rstrip()
            counted[text] = counted.get(text, 0) + 1
    return [(f"{count} cell{'s' * (count > 1)} made with", text) for text, count in counted.items()]


def cells(board: Scoreboard) -> Table:
    """Every finished cell: its key, its configurations, how many ran at once, and how long it took."""
    rows = []
    for label, own in board.runs.items():
        for task, run in own.items():
            info = run.cell.info
            rows.append(
                [
                    name(task),
                    name(label),
                    name(run.cell.key[:16]),
                    Cell(str(len(run.cell.configurations)), len(run.cell.configurations)),
                    number(float(info.get("trainings_at_once", math.nan)), 0),
                    number(float(info.get("parameters", math.nan)), 0),
                    number(float(info.get("seconds", math.nan)), 1),
                ]
            )
    return sortable(["task", "optimizer", "key", "configurations", "at once", "parameters", "seconds"], rows)


def _time(value: float) -> Cell:
    return number(value, 3 if value < 1 else 2)


def _ratio(value: float) -> Cell:
    return number(value, 2 if value < 10 else 1)
