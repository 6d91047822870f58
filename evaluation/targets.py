"""Time to target: a target per task, what every optimizer needs to reach it, and performance profiles.

Functions on curves come first, in NumPy alone; `target_table` applies them to stored trainings.

Source: Rezk et al. 2023 (arXiv 2310.18191).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from celo.evaluation.choice import Result, choose_all
from celo.evaluation.profiles import R_MAX, benchmark_score, ratios
from celo.evaluation.requested import Requested
from celo.evaluation.results import Training

FRACTION, FEWEST_TRIALS = 0.75, 3
SPLITS: Mapping[str, str] = {"train": "train_loss", "validation": "outer_valid_loss"}
UNITS = ("steps", "seconds")


class Curves(NamedTuple):
    """Evaluations of the trials of one optimizer on one task, in steps or seconds of training.

    Attributes:
        points: (S, E) increasing steps or seconds, above 0.
        values: (S, E) losses; lower is better. One that is not finite counts as infinite.
    """

    points: np.ndarray
    values: np.ndarray


class Quality(NamedTuple):
    """Loss after the whole budget: mean over trials and sample deviation; see `quality`."""

    mean: float
    deviation: float


def values_at(curves: Curves, budget: float) -> np.ndarray:
    """The last value of each trial at or before a budget; (S,), inf before the first evaluation.

    Example:
        >>> values_at(Curves(np.array([[10.0, 20.0]]), np.array([[3.0, 2.0]])), 19.0).tolist()
        [3.0]
    """
    last = (curves.points <= budget).sum(axis=-1) - 1
    found = np.take_along_axis(curves.values, np.maximum(last, 0)[:, None], axis=-1)[:, 0]
    return np.where((last >= 0) & np.isfinite(found), found, np.inf)


def target(curves: Sequence[Curves], budget: float, fraction: float = FRACTION) -> float:
    """``min over optimizers a of median over trials k of value[a, k](fraction * budget)``.

    The targets of Rezk et al. 2023 (arXiv 2310.18191), table 6.
    """
    return min(float(np.median(values_at(one, fraction * budget))) for one in curves)


def time_to_target(curves: Curves, target: float, budget: float = math.inf) -> np.ndarray:
    """The first point of each trial at which its value is at or below a target; (S,), inf if unreached.

    Points beyond the budget do not count.

    Example:
        >>> curves = Curves(np.array([[10.0, 20.0]] * 2), np.array([[3.0, 2.0], [4.0, 3.0]]))
        >>> time_to_target(curves, 2.5).tolist()
        [20.0, inf]
    """
    reached = (curves.values <= target) & (curves.points <= budget)
    return np.where(reached, curves.points, np.inf).min(axis=-1)


def quality(curves: Curves, budget: float) -> Quality:
    """Mean and sample deviation of the loss after a budget.

    The mean is NaN if a trial has no evaluation within the budget, else inf if a loss is not finite.
    """
    if (curves.points > budget).all(axis=-1).any():
        return Quality(math.nan, math.nan)
    values = values_at(curves, budget)
    if not np.isfinite(values).all():
        return Quality(math.inf, math.nan)
    return Quality(float(values.mean()), float(values.std(ddof=1)) if values.size > 1 else math.nan)


class Comparison(NamedTuple):
    """Times to the targets of one split in one unit; A optimizers, W tasks.

    Attributes:
        split: "train" or "validation".
        unit: "steps" or "seconds".
        tasks: the W tasks.
        budgets: (W,) what every trial had, in the unit.
        targets: (W,) losses to reach.
        times: (A, W) medians over trials, inf where unreached.
        reached: (A, W) how many trials reach the target.
        quality: by optimizer, then by task, after the budget.
        scores: (A,) `benchmark_score`; NaN without a task.
        left_out: why other tasks are left out.
    """

    split: str
    unit: str
    tasks: tuple[str, ...]
    budgets: np.ndarray
    targets: np.ndarray
    times: np.ndarray
    reached: np.ndarray
    quality: tuple[tuple[Quality, ...], ...]
    scores: np.ndarray
    left_out: Mapping[str, str]


@dataclasses.dataclass(frozen=True, eq=False)
class TargetTable:
    """Times to targets of the optimizers of an evaluation.

    Attributes:
        results: by label, then by task: the trainings of every finished pair.
        tasks: the tasks that every optimizer has finished on the same data.
        trials: trainings of every setting.
        fraction: part of the budget after which targets are taken.
        r_max: where scores end.
        comparisons: one for each split and unit.
        left_out: why other tasks that were requested are in no comparison.
    """

    results: Mapping[str, Mapping[str, Result]]
    tasks: tuple[str, ...]
    trials: int
    fraction: float
    r_max: float
    comparisons: tuple[Comparison, ...]
    left_out: Mapping[str, str]

    @property
    def labels(self) -> tuple[str, ...]:
        """The optimizers, rows of every comparison."""
        return tuple(self.results)

    def settings(self, label: str) -> int:
        """The largest number of settings that the scored one was chosen from on a task."""
        return max(len(self.results[label][task].settings) for task in self.tasks)


def target_table(
    rows: Sequence[Training], requested: Requested, fraction: float = FRACTION, r_max: float = R_MAX
) -> TargetTable:
    """Targets and times to them, on every task that all optimizers have finished on the same data.

    An optimizer is scored at its best setting on the task, see `celo.evaluation.choice.choose`; its seeds
    are the trials.

    Args:
        rows: the finished trainings.
        requested: what was requested.
        fraction: part of the budget after which targets are taken, in (0, 1].
        r_max: where scores end, above 1.

    Raises:
        ValueError: fewer than three trials, no task that every optimizer has finished, or a fraction or r_max
            out of range.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"fraction is {fraction}; expected a number above 0, at most 1")
    if not r_max > 1:
        raise ValueError(f"r_max is {r_max}; expected a number above 1")
    if (trials := requested.settings["seeds"]) < FEWEST_TRIALS:
        raise ValueError(
            f"targets need {FEWEST_TRIALS} or more trials of every optimizer; these results have {trials}: "
            f"train again with --seeds {FEWEST_TRIALS} in another folder, and --reuse this one"
        )
    missing = requested.missing(rows)
    results = {label: {} for label in requested.optimizers} | choose_all(requested, requested.rows_of(rows))
    left_out = _left_out(requested, results, missing)
    finished = tuple(task for task in requested.tasks if task not in left_out)
    if not finished:
        reasons = "; ".join(f"{task}: {why}" for task, why in left_out.items())
        raise ValueError(f"there is no task that every optimizer has finished on the same data: {reasons}")
    compared = tuple(
        _compare(results, finished, split, unit, fraction, r_max) for split in SPLITS for unit in UNITS
    )
    return TargetTable(results, finished, trials, fraction, r_max, compared, left_out)


def _left_out(
    requested: Requested,
    results: Mapping[str, Mapping[str, Result]],
    missing: Mapping[tuple[str, str], int],
) -> dict[str, str]:
    """Why a task has no targets: other data for some optimizers, or trainings that are missing."""
    reasons = {task: f"it has other data for {groups}" for task, groups in requested.mixed().items()}
    for task in requested.tasks:
        lacking = [
            f"{label} ({missing[task, label]} trainings)" if (task, label) in missing else f"{label} (all)"
            for label, own in results.items()
            if task not in own
        ]
        if lacking:
            reasons.setdefault(task, f"missing: {', '.join(lacking)}")
    return reasons


def _compare(
    results: Mapping[str, Mapping[str, Result]],
    tasks: Sequence[str],
    split: str,
    unit: str,
    fraction: float,
    r_max: float,
) -> Comparison:
    left_out, budgets, targets, columns = {}, {}, {}, {}
    for task in tasks:
        rows = [own[task].runs.rows for own in results.values()]
        if reason := _not_comparable(rows, split, unit):
            left_out[task] = reason
            continue
        curves = [_curves(own, SPLITS[split], unit) for own in rows]
        budget = min(own[0].steps * _scale(own, unit) for own in rows)
        wanted = target(curves, budget, fraction)
        if not math.isfinite(wanted):
            left_out[task] = f"no optimizer has a finite loss after {fraction:.0%} of the budget"
            continue
        budgets[task], targets[task], columns[task] = budget, wanted, curves
    times = [
        time_to_target(one, targets[task], budgets[task]) for task, own in columns.items() for one in own
    ]
    medians, reached = (
        np.array([count(own) for own in times]).reshape(-1, len(results)).T
        for count in (np.median, lambda own: int(np.isfinite(own).sum()))
    )
    scores = benchmark_score(ratios(medians), r_max) if columns else np.full(len(results), math.nan)
    ends = tuple(
        tuple(quality(own[i], budgets[task]) for task, own in columns.items()) for i in range(len(results))
    )
    facts = (np.array([*budgets.values()]), np.array([*targets.values()]), medians)
    return Comparison(split, unit, tuple(columns), *facts, reached, ends, scores, left_out)


def _curves(rows: Sequence[Training], name: str, unit: str) -> Curves:
    """Evaluations after the first step; those before it cost nothing."""
    kept = rows[0].evaluation_steps > 0
    points = np.stack([row.evaluation_steps[kept] for row in rows]) * _scale(rows, unit)
    return Curves(points, np.stack([row.evaluations[name][kept] for row in rows]).astype(np.float64))


def _scale(rows: Sequence[Training], unit: str) -> float:
    """Units per step: the median over trials, as other load on the machine slows single trials."""
    return float(np.median([row.step_seconds for row in rows])) if unit == "seconds" else 1.0


def _not_comparable(rows: Sequence[Sequence[Training]], split: str, unit: str) -> str:
    """Why the trainings of a task have no target in a split and unit; "" if they have."""
    every = [row for own in rows for row in own]
    if without := sorted({row.optimizer for row in every if SPLITS[split] not in row.evaluations}):
        return f"the rows of {', '.join(without)} hold no {split} losses along the way"
    if unit == "seconds":
        if unknown := sorted({row.optimizer for row in every if not row.step_seconds > 0}):
            return f"the rows of {', '.join(unknown)} hold no time per step"
        if len(devices := sorted({row.device for row in every})) > 1:
            return f"times are of different devices: {', '.join(devices)}"
    return ""
