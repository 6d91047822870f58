"""Tables of a report: the score table, one table per score, and what the trainings were made with."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from celo.evaluation.checks import setting_words
from celo.evaluation.choice import Result
from celo.evaluation.report.table import DASH, Cell, Table, estimate, number
from celo.evaluation.results import Runs
from celo.evaluation.scores import NOISE, ScoreTable
from celo.evaluation.statistics import Summary
from celo.evaluation.velo import PERCENTILES
from celo.evaluation.velo import rows as velo_rows

TITLES = {"iqm": "IQM", "median": "median", "mean": "mean", "optimality_gap": "optimality gap"}


def overview(table: ScoreTable, summaries: Sequence[Summary]) -> Table:
    """IQM of every score with its interval, a row per optimizer, the noise reference first."""
    rows = [
        (
            Cell(label),
            *(estimate(*summary.aggregates[label]["iqm"]) for summary in summaries),
            _count_diverged([table.results[label][task].runs for task in table.tasks]),
            _tuned_over(table, label),
        )
        for label in table.labels
    ]
    titles = (f"{summary.score.title}: IQM" for summary in summaries)
    return Table(("optimizer", *titles, "diverged, setting scored", "settings"), tuple(rows))


def score_table(table: ScoreTable) -> Table:
    """A row per task and optimizer: the best setting, its final loss, and both ratios to the best Adam's.

    The ratio of means is ``L_Adam* / mean(L)``, the mean of ratios the mean over seeds of ``L_Adam* / L``,
    which is the final-loss score of the task. "Beats" counts Adam's settings whose mean final loss is higher.
    """
    rows = [
        (
            Cell(task),
            Cell(label),
            _setting(own[task]),
            Cell(str(len(own[task].settings)), len(own[task].settings)),
            _final_loss(own[task].runs),
            _test_split(own[task].runs),
            *map(number, table.ratios(task, label)),
            _beaten(table, task, label),
            _count_diverged(own[task].settings),
        )
        for task in table.all_tasks
        for label, own in table.results.items()
        if task in own
    ]
    header = (
        "task",
        "optimizer",
        "setting",
        "settings",
        "final loss",
        "test",
        "ratio of means",
        "mean of ratios",
    )
    return Table((*header, "beats", "diverged, all settings"), tuple(rows), words=2)


def aggregates(table: ScoreTable, summary: Summary) -> Table:
    """Every aggregate of one score with its interval, and the probability to beat the best Adam."""
    rows = [
        (
            Cell(label),
            *(estimate(*summary.aggregates[label][name]) for name in TITLES),
            estimate(*summary.improvement[label]),
            _count_diverged([table.results[label][task].runs for task in table.tasks]),
            _tuned_over(table, label),
        )
        for label in table.labels
    ]
    header = ("optimizer", *TITLES.values(), "P(better than Adam*)", "diverged, setting scored", "settings")
    return Table(header, tuple(rows))


def velo(table: ScoreTable) -> Table:
    """VeLO's columns, a row for each single setting and for the best of several."""
    rows = [
        (Cell(name), Cell(f"{trials:,}", trials), *map(number, (mean, inverse, *percentiles)))
        for name, trials, (mean, inverse, percentiles) in velo_rows(table)
    ]
    heads = ("optimizer", "trials", "mean min(s, 30)", "mean min(1/s, 10)")
    return Table((*heads, *(f"{at}%" for at in PERCENTILES)), tuple(rows))


def task_scores(table: ScoreTable, summary: Summary) -> Table:
    """One score, mean over seeds, a row per task and a column per optimizer; first the settings tried."""
    rows = [
        (Cell(task), *(number(float(own[:, i].mean())) for own in summary.scores.values()))
        for i, task in enumerate(summary.tasks)
    ]
    return Table(("task", *summary.scores), (_settings_row(table), *rows))


def final_losses(table: ScoreTable) -> Table:
    """Final losses, mean over seeds that did not diverge and sample deviation; a dash where unfinished.

    The first row has the settings tried.
    """
    rows = [
        (Cell(task), *(_final_loss(runs) if runs else number(math.nan) for runs in found))
        for task in table.all_tasks
        if any(found := [table.best(task, label) for label in table.labels])
    ]
    return Table(("task", *table.labels), (_settings_row(table), *rows))


def corpora(table: ScoreTable) -> Table | None:
    """The corpus and the vocabulary that the language models of a task read; None if there are none."""
    rows = {
        (task, row.corpus, row.vocabulary)
        for own in table.results.values()
        for task, result in own.items()
        if (row := result.runs.rows[0]).corpus or row.vocabulary
    }
    return Table(("task", "corpus", "vocabulary"), tuple(sorted(rows)), words=3) if rows else None


def diverged(trainings: pd.DataFrame) -> Table | None:
    """The trainings that diverged at the best setting, and at which step; None if none did."""
    rows = []
    for row in trainings.to_dict("records"):
        if row["diverged"]:
            step, seed = row["diverged_at_step"], row["seed"]
            where = Cell("in the final loss", math.inf) if pd.isna(step) else Cell(str(step), step)
            rows.append((row["optimizer"], row["task"], Cell(str(seed), seed), row["setting"], where))
    return Table(("optimizer", "task", "seed", "setting", "at step"), tuple(rows), words=2) if rows else None


def run_time(times: pd.DataFrame) -> Table:
    """Milliseconds per step of every optimizer on every task, their ratio to Adam's, and all seconds."""
    adam = times[times["optimizer"] == NOISE].set_index("task")["ms_per_step"]
    rows = []
    for row in times.to_dict("records"):
        time = row["ms_per_step"]
        ratio = time / adam.get(row["task"], math.nan)
        counts = (row[name] for name in ("trainings", "trainings_at_once", "parameters"))
        facts = (Cell(f"{count:,}", count) for count in counts)
        cells = (number(time, 3 if time < 1 else 2), number(ratio), *facts, number(row["seconds"], 1))
        rows.append((Cell(row["task"]), Cell(row["optimizer"]), *cells))
    header = ("task", "optimizer", "ms per step", "× Adam", "trainings", "at once", "parameters", "seconds")
    return Table(header, tuple(rows), words=2)


def environments(table: ScoreTable) -> Table:
    """Versions, revisions and devices of the trainings, each combination with the number of trainings."""
    counted = Counter(
        (", ".join(f"{k} {v}" for k, v in row.versions.items()), row.revision[:12], row.device, row.numerics)
        for own in table.results.values()
        for result in own.values()
        for runs in result.settings
        for row in runs.rows
    )
    made = tuple((*words, Cell(f"{count:,}", count)) for words, count in counted.items())
    return Table(("versions", "revision", "device", "settings of JAX", "trainings"), made, words=4)


def findings(table: ScoreTable) -> list[str]:
    """On which tasks each learned optimizer ends lower than the best Adam, and on which no lower."""
    said = []
    for label, own in table.results.items():
        pairs = [(task, result) for task, result in own.items() if task in table.results[NOISE]]
        if not pairs or not pairs[0][1].runs.rows[0].learned:
            continue
        adam = {task: table.results[NOISE][task].runs.mean_final_loss for task, _ in pairs}
        better = [task for task, result in pairs if result.runs.mean_final_loss < adam[task]]
        worse = [task for task, _ in pairs if task not in better]
        for how, tasks in (("lower", better), ("no lower", worse)):
            if tasks:
                adam_words = f"Adam at the best of {table.settings(NOISE)[-1]} settings"
                said.append(f"{label} ends {how} than {adam_words} on {_tasks(tasks, len(pairs))}.")
    return said


def _tasks(names: Sequence[str], of: int) -> str:
    counted = f"{len(names)} of {of} task{'s' * (of != 1)}"
    return counted if of > 8 else f"{counted}: {', '.join(names)}"


def _settings_row(table: ScoreTable) -> tuple[Cell, ...]:
    return (Cell("settings"), *(_tuned_over(table, label) for label in table.labels))


def _tuned_over(table: ScoreTable, label: str) -> Cell:
    """How many settings the best was chosen from on each task."""
    tried = table.settings(label)
    if not tried:
        return number(math.nan)
    counts = " to ".join(map(str, dict.fromkeys((tried[0], tried[-1]))))
    return Cell("untuned" if tried == (1,) else f"best of {counts}", tried[-1])


def _count_diverged(runs: Sequence[Runs]) -> Cell:
    failed = np.concatenate([one.diverged for one in runs]) if runs else np.zeros(0, bool)
    return Cell(f"{failed.sum()} of {failed.size}", int(failed.sum()))


def _beaten(table: ScoreTable, task: str, label: str) -> Cell:
    adam = table.results[NOISE].get(task)
    if label == NOISE or adam is None:
        return number(math.nan)
    beaten = table.settings_beaten(task, label)
    return Cell(f"{beaten} of {len(adam.settings)}", beaten)


def _setting(result: Result) -> Cell:
    words, rate = setting_words(result.runs.setting), result.runs.setting.get("learning_rate", 0.0)
    return Cell(f"{words} (edge)" if result.edge else words or DASH, rate)


def _mean_of_finite(values: np.ndarray, failed: np.ndarray) -> float:
    """Mean over the seeds that did not diverge; NaN if none is left."""
    finite = values[~failed].astype(np.float64)
    return float(finite.mean()) if finite.size else math.nan


def _final_loss(runs: Runs) -> Cell:
    failed, mean = int(runs.diverged.sum()), _mean_of_finite(runs.final_loss, runs.diverged)
    if math.isnan(mean):
        return Cell("diverged", math.inf)
    spread = "" if math.isnan(runs.spread) else f" ± {runs.spread:.2g}"
    return Cell(f"{mean:.3g}{spread}" + (f", {failed} diverged" if failed else ""), mean)


def _test_split(runs: Runs) -> Cell:
    loss, accuracy = runs.evaluations("test_loss"), runs.evaluations("test_accuracy")
    mean = math.nan if loss is None else _mean_of_finite(loss[:, -1], runs.diverged)
    if math.isnan(mean):
        return number(math.nan)
    share = "" if accuracy is None else f", {100 * _mean_of_finite(accuracy[:, -1], runs.diverged):.1f}%"
    return Cell(f"{mean:.3g}{share}", mean)
