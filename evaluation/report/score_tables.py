"""Tables of scores: of each optimizer over all tasks, and of each task."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from celo.evaluation.aggregate import Estimate
from celo.evaluation.report.table import Table
from celo.evaluation.scoreboard import Scoreboard, Scored
from celo.evaluation.selection import Chosen
from celo.evaluation.summary import Summary

AGGREGATES = {"iqm": "IQM", "median": "median", "mean": "mean", "optimality_gap": "optimality gap"}


class Cell(NamedTuple):
    """A cell of a sortable table: its text, and what it is sorted by."""

    text: str
    key: str | float


def sortable(header: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Table:
    """A table that its reader can sort."""
    texts = tuple(tuple(cell.text for cell in row) for row in rows)
    return Table(tuple(header), texts, tuple(tuple(cell.key for cell in row) for row in rows))


def name(text: str) -> Cell:
    """A cell of words."""
    return Cell(text, text.lower())


def number(value: float, digits: int = 2) -> Cell:
    """A cell of a number with decimals; a dash, sorted last, where there is none."""
    if math.isnan(value):
        return Cell("–", -math.inf)
    return Cell(f"{value:.{digits}f}" if abs(value) < 1e4 else f"{value:.2g}", value)


def estimate(found: Estimate) -> Cell:
    """A cell of an estimate with its interval, or without where there is none."""
    value = number(found.value)
    if math.isnan(found.low):
        return value
    return Cell(f"{value.text} [{number(found.low).text}, {number(found.high).text}]", found.value)


def overview(board: Scoreboard, summaries: Sequence[Summary]) -> Table:
    """IQM of every score with its interval, a row per optimizer, the noise reference first."""
    rows = [
        [
            name(label),
            *(estimate(summary.aggregates[label]["iqm"]) for summary in summaries),
            diverged_count(board, label),
            tuned_over(board, label),
        ]
        for label in board.labels
    ]
    titles = [f"{summary.scored.title}: IQM" for summary in summaries]
    return sortable(["optimizer", *titles, "diverged", "configurations"], rows)


def score_table(board: Scoreboard, summary: Summary) -> Table:
    """Every aggregate of one score with its interval, and the probability to beat the best Adam."""
    rows = [
        [
            name(label),
            *(estimate(summary.aggregates[label][aggregate]) for aggregate in AGGREGATES),
            estimate(summary.improvement[label]),
            diverged_count(board, label),
        ]
        for label in board.labels
    ]
    return sortable(["optimizer", *AGGREGATES.values(), "P(better than Adam*)", "diverged"], rows)


def task_scores(board: Scoreboard, scored: Scored) -> Table:
    """One score, mean over seeds, a row per task and a column per optimizer."""
    rows = [
        [name(task), *(number(float(scored.scores[label][:, i].mean())) for label in board.labels)]
        for i, task in enumerate(scored.tasks)
    ]
    return sortable(["task", *board.labels], rows)


def final_losses(board: Scoreboard) -> Table:
    """Final losses, mean over seeds and deviation of a sample, of every finished cell; Adam's rate."""
    rows = []
    for task in finished_tasks(board):
        runs = {label: own[task] for label, own in board.runs.items() if task in own}
        steps = next(iter(runs.values())).cell.num_steps
        cells = [name(task), Cell(str(steps), steps)]
        cells += [_final_loss(runs[label]) if label in runs else number(math.nan) for label in board.labels]
        rows.append(cells)
    return sortable(["task", "steps", *board.labels], rows)


def held_out(board: Scoreboard) -> Table | None:
    """Test loss, and accuracy where there is one, at the last evaluation; None if nothing was evaluated."""
    rows = []
    for task in finished_tasks(board):
        runs = {label: own.get(task) for label, own in board.runs.items()}
        rows.append([name(task), *(_held_out(run) if run else number(math.nan) for run in runs.values())])
    table = sortable(["task", *board.labels], rows)
    return table if any(cell != "–" for row in table.rows for cell in row[1:]) else None


def choices(board: Scoreboard) -> Table:
    """The configuration scored, for every optimizer that has several, on every task."""
    tuned = [label for label in board.labels if any(_trials(run) > 1 for run in board.runs[label].values())]
    rows = []
    for task in finished_tasks(board):
        cells = [name(task)]
        for label in tuned:
            run = board.runs[label].get(task)
            cells.append(_choice(run) if run else number(math.nan))
        rows.append(cells)
    return sortable(["task", *tuned], rows)


def tuned_over(board: Scoreboard, label: str) -> Cell:
    """How many configurations the best was chosen from on each task."""
    trials = sorted({_trials(run) for run in board.runs[label].values()})
    if not trials:
        return number(math.nan)
    words = "untuned" if trials == [1] else "best of " + " to ".join(map(str, {trials[0]: 0, trials[-1]: 0}))
    return Cell(words, trials[-1])


def diverged_count(board: Scoreboard, label: str) -> Cell:
    """How many of the scored runs diverged."""
    runs = [board.runs[label][task].diverged for task in board.tasks]
    failed = int(sum(map(np.sum, runs)))
    return Cell(f"{failed} of {sum(map(len, runs))}", failed)


def finished_tasks(board: Scoreboard) -> list[str]:
    """Tasks with any finished cell, in order."""
    return [task for task in board.coverage.tasks if any(task in own for own in board.runs.values())]


def mean_of_finite(values: np.ndarray, diverged: np.ndarray) -> float:
    """Mean over the seeds that did not diverge; NaN if all did."""
    finite = values[~diverged].astype(np.float64)
    return float(finite.mean()) if finite.size else math.nan


def configuration_words(run: Chosen) -> str:
    """The hyperparameters of the configuration scored; a learning rate alone without its name."""
    chosen = run.configuration
    if list(chosen) == ["learning_rate"]:
        return f"{chosen['learning_rate']:.2g}"
    return ", ".join(f"{key} {value:.3g}" for key, value in chosen.items())


def _trials(run: Chosen) -> int:
    return len(run.cell.configurations)


def _choice(run: Chosen) -> Cell:
    words = configuration_words(run)
    rate = run.configuration.get("learning_rate", 0.0)
    return Cell(f"{words} (edge)" if run.edge else words or "–", rate)


def _final_loss(run: Chosen) -> Cell:
    failed, mean = int(run.diverged.sum()), mean_of_finite(run.final_loss, run.diverged)
    if math.isnan(mean):
        return Cell("diverged", math.inf)
    spread = "" if math.isnan(run.spread) else f" ± {run.spread:.2g}"
    return Cell(f"{mean:.3g}{spread}" + (f", {failed} diverged" if failed else ""), mean)


def _held_out(run: Chosen) -> Cell:
    found = {
        kind: mean_of_finite(run.cell.evaluations[f"test_{kind}"][run.index, :, -1], run.diverged)
        for kind in ("loss", "accuracy")
        if f"test_{kind}" in run.cell.evaluations
    }
    if math.isnan(found.get("loss", math.nan)):
        return number(math.nan)
    accuracy = f", {100 * found['accuracy']:.1f}%" if "accuracy" in found else ""
    return Cell(f"{found['loss']:.3g}{accuracy}", found["loss"])
