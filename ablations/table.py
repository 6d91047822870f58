"""The table of the grid: what every row scores, how that compares with Celo, and what the paper reports."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from celo.ablations.grid import CELO, GRID, Row
from celo.evaluation.report.table import DASH, Table, estimate, number
from celo.evaluation.scores import ScoreTable
from celo.evaluation.statistics import Estimate, aggregates, probability_of_improvement

FINAL_LOSS, SPEEDUP, SUSTAINED = "final_loss", "speedup", "sustained_speedup"
ESTIMATES = ("iqm", "median", "gap", "speedup", "sustained", "better")


def label(row: Row, seed: int) -> str:
    """Label of a row meta-trained from a seed, among the results; released weights have no seed."""
    return row.name if row.weights else f"{row.name}.{seed}"


@dataclasses.dataclass(frozen=True)
class Finding:
    """What one row scores, over all seeds of its meta-training.

    Attributes:
        row: the row.
        by_seed: interquartile mean of the final-loss score by the seed of meta-training.
        iqm: the same over all seeds.
        median: median of the final-loss score.
        gap: optimality gap of the final-loss score.
        speedup: interquartile mean of the speedup by first crossing, as the paper measures it.
        sustained: interquartile mean of the sustained speedup.
        better: probability that a training of the row ends lower than one of Celo; None for Celo itself and
            without a Celo to compare with.
    """

    row: Row
    by_seed: dict[int, float]
    iqm: Estimate
    median: Estimate
    gap: Estimate
    speedup: Estimate
    sustained: Estimate
    better: Estimate | None


def findings(
    scores: ScoreTable, seeds: Sequence[int], reps: int = 2000, seed: int = 0, celo: str = CELO
) -> list[Finding]:
    """What the rows score, in the order of the grid; nothing without a scored task.

    Trainings from all ``seeds`` of meta-training are pooled. Intervals cover the seeds of training alone,
    given these meta-parameters; `Finding.by_seed` shows how much one theta differs from another. The scores
    label every optimizer as `label` does; ``reps`` and ``seed`` are of the bootstrap; ``celo`` is the row
    that the others are compared with.
    """
    if not scores.kinds:
        return []
    kinds = {kind: scores.scores(kind) for kind in (FINAL_LOSS, SPEEDUP, SUSTAINED)}

    def labels(row: Row) -> dict[str, int]:
        found: dict[str, int] = {}
        for one in seeds:
            found.setdefault(label(row, one), one)
        return {name: one for name, one in found.items() if name in kinds[FINAL_LOSS]}

    def pooled(row: Row, kind: str) -> np.ndarray:
        return np.concatenate([kinds[kind][name] for name in labels(row)])

    found = []
    plain = next(row for row in GRID if row.name == celo)
    for row in filter(labels, GRID):
        own = pooled(row, FINAL_LOSS)
        whole = aggregates(own, reps, seed)
        better = None
        if row is not plain and labels(plain):
            better = probability_of_improvement(own, pooled(plain, FINAL_LOSS), reps, seed)
        by_seed = {
            one: aggregates(kinds[FINAL_LOSS][name], 1)["iqm"].value for name, one in labels(row).items()
        }
        fast, sustained = (aggregates(pooled(row, kind), reps, seed)["iqm"] for kind in (SPEEDUP, SUSTAINED))
        parts = (whole["iqm"], whole["median"], whole["optimality_gap"])
        found.append(Finding(row, by_seed, *parts, fast, sustained, better))
    return found


def table(found: Sequence[Finding]) -> Table:
    """A row per row of the grid; scores are with respect to the best Adam, above 1 is better.

    Each column "paper" holds the paper's value of the column before it.
    """
    header = ("row", "change", "seeds", "final loss: IQM", "paper", "of each seed", "median", "paper")
    header += ("optimality gap", "paper", "speedup: IQM", "paper", "P(better than Celo)")
    return Table(header, tuple(_cells(one) for one in found))


def _cells(one: Finding) -> tuple[str, ...]:
    theirs = one.row.published
    by_seed = ", ".join(map(number, one.by_seed.values())) if len(one.by_seed) > 1 else DASH
    seeds = DASH if one.row.weights else str(len(one.by_seed))
    cells = [one.row.name, one.row.change, seeds, estimate(*one.iqm), number(theirs.iqm), by_seed]
    pairs = ((one.median, theirs.median), (one.gap, theirs.gap), (one.speedup, theirs.speedup_iqm))
    for ours, published in pairs:
        cells += [estimate(*ours), number(published)]
    return (*cells, estimate(*one.better) if one.better else DASH)


def records(found: Sequence[Finding]) -> list[dict[str, object]]:
    """The numbers behind the table, one record per row, as table.csv holds them."""
    rows = []
    for one in found:
        numbers: dict[str, object] = {"row": one.row.name, "table": one.row.table, "change": one.row.change}
        for name in ESTIMATES:
            value = getattr(one, name) or Estimate(float("nan"), float("nan"), float("nan"))
            numbers |= {name: value.value, f"{name}_low": value.low, f"{name}_high": value.high}
        numbers["by_seed"] = " ".join(f"{seed}:{value!r}" for seed, value in one.by_seed.items())
        theirs = dataclasses.asdict(one.row.published)
        rows.append(numbers | {f"paper_{name}": value for name, value in theirs.items()})
    return rows
