"""The table of the grid: what every row scores, how that compares with Celo, and what the paper reports."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from celo.ablations.carry_out import Trial
from celo.ablations.grid import CELO, GRID, Row
from celo.evaluation.aggregate import Estimate, aggregates, probability_of_improvement
from celo.evaluation.report.score_tables import estimate, number
from celo.evaluation.report.table import Table
from celo.evaluation.scoreboard import Scoreboard

FINAL_LOSS, SPEEDUP = "final_loss", "sustained_speedup"


class Finding(NamedTuple):
    """What one row scores, over all seeds of its meta-training.

    Attributes:
        row: which.
        by_seed: interquartile mean of the final-loss score by the seed of meta-training.
        iqm: the same over all of them.
        gap: optimality gap of the final-loss score.
        speedup: interquartile mean of the sustained speedup.
        better: probability that a run of the row ends lower than one of Celo; None for Celo itself, and where
            that is not there.
    """

    row: Row
    by_seed: dict[int, float]
    iqm: Estimate
    gap: Estimate
    speedup: Estimate
    better: Estimate | None


def findings(board: Scoreboard, done: Sequence[Trial], reps: int = 2000, seed: int = 0) -> list[Finding]:
    """What the rows score, in the order of the grid.

    Runs of all seeds of meta-training are pooled. Intervals are about the seeds of training alone, given
    these meta-parameters: one theta moves all tasks at once; how much that varies shows `Finding.by_seed`.

    Args:
        board: scores of the trials.
        done: the trials.
        reps: number of bootstrap resamples.
        seed: of the resampling.

    Returns:
        One finding per row that has a trial; none if the board has no scores.
    """
    scores = {scored.name: scored.scores for scored in board.scored}
    if not scores:
        return []
    rows = {row.name: [trial for trial in done if trial.row.name == row.name] for row in GRID}

    def pooled(kind: str, name: str) -> np.ndarray:
        return np.concatenate([scores[kind][trial.label] for trial in rows[name]])

    found = []
    for row in GRID:
        if not rows[row.name]:
            continue
        own = pooled(FINAL_LOSS, row.name)
        compared = row.name != CELO and bool(rows[CELO])
        whole = aggregates(own, reps, seed)
        found.append(
            Finding(
                row,
                {trial.seed: _iqm(scores[FINAL_LOSS][trial.label]) for trial in rows[row.name]},
                whole["iqm"],
                whole["optimality_gap"],
                aggregates(pooled(SPEEDUP, row.name), reps, seed)["iqm"],
                probability_of_improvement(own, pooled(FINAL_LOSS, CELO), reps, seed) if compared else None,
            )
        )
    return found


def _iqm(scores: np.ndarray) -> float:
    return aggregates(scores, reps=1)["iqm"].value


def table(found: Sequence[Finding]) -> Table:
    """A row per row of the grid; scores are with respect to the best Adam, above 1 is better."""
    header = ("row", "change", "seeds", "final loss: IQM", "of each seed", "optimality gap")
    header += ("speedup, sustained: IQM", "P(better than Celo)", "paper: IQM")
    return Table(header, tuple(_cells(one) for one in found))


def _cells(one: Finding) -> tuple[str, ...]:
    several = len(one.by_seed) > 1
    return (
        one.row.name,
        one.row.change,
        str(len(one.by_seed)),
        estimate(one.iqm).text,
        ", ".join(number(value).text for value in one.by_seed.values()) if several else "–",
        estimate(one.gap).text,
        estimate(one.speedup).text,
        estimate(one.better).text if one.better else "–",
        f"{one.row.published:.2f}",
    )


def records(found: Sequence[Finding]) -> list[dict[str, object]]:
    """The numbers behind the table, for `celo.evaluation.report.records.csv_bytes`."""
    rows = []
    for one in found:
        numbers: dict[str, object] = {"row": one.row.name, "table": one.row.table, "change": one.row.change}
        for name in ("iqm", "gap", "speedup", "better"):
            value = getattr(one, name) or Estimate(float("nan"), float("nan"), float("nan"))
            numbers |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        numbers["by_seed"] = " ".join(f"{seed}:{value!r}" for seed, value in one.by_seed.items())
        rows.append(numbers | {"published": one.row.published})
    return rows
