"""The table of the grid: what every row scores, how that compares with Celo, and what the paper reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from celo.ablations.grid import CELO, GRID, Row
from celo.evaluation.report.table import DASH, Table, estimate, number
from celo.evaluation.scores import ScoreTable
from celo.evaluation.statistics import Estimate, aggregates, probability_of_improvement

FINAL_LOSS, SPEEDUP = "final_loss", "sustained_speedup"
ESTIMATES = ("iqm", "gap", "speedup", "better")


def label(row: Row, seed: int) -> str:
    """Label of a row meta-trained from a seed: among the results, and as the name of its folder."""
    return f"{row.name}.{seed}"


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one row scores, over all seeds of its meta-training.

    Attributes:
        row: the row.
        by_seed: interquartile mean of the final-loss score by the seed of meta-training.
        iqm: the same over all seeds.
        gap: optimality gap of the final-loss score.
        speedup: interquartile mean of the sustained speedup.
        better: probability that a training of the row ends lower than one of Celo; None for Celo itself and
            without a Celo to compare with.
    """

    row: Row
    by_seed: dict[int, float]
    iqm: Estimate
    gap: Estimate
    speedup: Estimate
    better: Estimate | None


def findings(scores: ScoreTable, seeds: Sequence[int], reps: int = 2000, seed: int = 0) -> list[Finding]:
    """What the rows score, in the order of the grid; nothing without a scored task.

    Trainings from all ``seeds`` of meta-training are pooled. Intervals cover the seeds of training alone,
    given these meta-parameters; `Finding.by_seed` shows how much one theta differs from another. The scores
    label every optimizer as `label` does; ``reps`` and ``seed`` are of the bootstrap.
    """
    if not scores.kinds:
        return []
    final_loss, speedup = scores.scores(FINAL_LOSS), scores.scores(SPEEDUP)
    done = {row.name: [one for one in seeds if label(row, one) in final_loss] for row in GRID}
    celo = [final_loss[label(GRID[0], one)] for one in done[CELO]]
    found = []
    for row in GRID:
        if not done[row.name]:
            continue
        own = np.concatenate([final_loss[label(row, one)] for one in done[row.name]])
        fast = np.concatenate([speedup[label(row, one)] for one in done[row.name]])
        whole = aggregates(own, reps, seed)
        better = None
        if row.name != CELO and celo:
            better = probability_of_improvement(own, np.concatenate(celo), reps, seed)
        by_seed = {one: aggregates(final_loss[label(row, one)], 1)["iqm"].value for one in done[row.name]}
        fastest = aggregates(fast, reps, seed)["iqm"]
        found.append(Finding(row, by_seed, whole["iqm"], whole["optimality_gap"], fastest, better))
    return found


def table(found: Sequence[Finding]) -> Table:
    """A row per row of the grid; scores are with respect to the best Adam, above 1 is better."""
    header = ("row", "change", "seeds", "final loss: IQM", "of each seed", "optimality gap")
    header += ("speedup, sustained: IQM", "P(better than Celo)", "paper: IQM")
    return Table(header, tuple(_cells(one) for one in found))


def _cells(one: Finding) -> tuple[str, ...]:
    by_seed = ", ".join(map(number, one.by_seed.values())) if len(one.by_seed) > 1 else DASH
    better = estimate(*one.better) if one.better else DASH
    head = (one.row.name, one.row.change, str(len(one.by_seed)), estimate(*one.iqm), by_seed)
    return (*head, estimate(*one.gap), estimate(*one.speedup), better, f"{one.row.published:.2f}")


def records(found: Sequence[Finding]) -> list[dict[str, object]]:
    """The numbers behind the table, one record per row, as table.csv holds them."""
    rows = []
    for one in found:
        numbers: dict[str, object] = {"row": one.row.name, "table": one.row.table, "change": one.row.change}
        for name in ESTIMATES:
            value = getattr(one, name) or Estimate(float("nan"), float("nan"), float("nan"))
            numbers |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        numbers["by_seed"] = " ".join(f"{seed}:{value!r}" for seed, value in one.by_seed.items())
        rows.append(numbers | {"published": one.row.published})
    return rows
