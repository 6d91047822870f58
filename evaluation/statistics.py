"""Aggregates of scores over tasks and seeds, with bootstrap intervals, through rliable.

rliable draws its resamples from NumPy's global generator and ignores its seed argument, so an interval would
change from call to call. The two classes below override the one line that draws: the same seed gives the same
interval, and the global generator stays untouched.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
from rliable import library, metrics

from celo.evaluation.scores import NOISE, Score, ScoreTable

AGGREGATES: Mapping[str, Callable[[np.ndarray], Any]] = MappingProxyType(
    {
        "iqm": metrics.aggregate_iqm,
        "median": metrics.aggregate_median,
        "mean": metrics.aggregate_mean,
        "optimality_gap": metrics.aggregate_optimality_gap,
    }
)
CONFIDENCE = 0.95
POINTS = 201


class Estimate(NamedTuple):
    """A number with its interval; the bounds are NaN with a single seed, which cannot be resampled."""

    value: float
    low: float
    high: float


class Profile(NamedTuple):
    """A performance profile: the share of runs with a score above each threshold, and its band; all (n,).

    The bounds are NaN with a single seed.
    """

    thresholds: np.ndarray
    share: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Summary(NamedTuple):
    """Aggregates of one kind of score.

    Attributes:
        score: the kind of score.
        tasks: the tasks, columns of the scores.
        scores: by label (S, tasks).
        aggregates: by label, then by the name of each of `AGGREGATES`.
        improvement: by label, the probability that a training beats one of the best Adam's.
        profiles: by label, at the same thresholds.
    """

    score: Score
    tasks: tuple[str, ...]
    scores: Mapping[str, np.ndarray]
    aggregates: Mapping[str, Mapping[str, Estimate]]
    improvement: Mapping[str, Estimate]
    profiles: Mapping[str, Profile]


def summarise(table: ScoreTable, reps: int = 2000, seed: int = 0) -> tuple[Summary, ...]:
    """Aggregate every kind of score, with intervals of ``reps`` bootstrap resamples.

    Every interval is drawn from the seed anew, so it does not depend on the other optimizers.
    """
    found = []
    for kind in table.kinds:
        scores = table.scores(kind.name)
        grid, noise = thresholds(scores), scores[NOISE]
        numbers = {label: aggregates(own, reps, seed) for label, own in scores.items()}
        better = {label: probability_of_improvement(own, noise, reps, seed) for label, own in scores.items()}
        curves = {label: performance_profile(own, grid, reps, seed) for label, own in scores.items()}
        found.append(Summary(kind, table.tasks_of(kind.name), scores, numbers, better, curves))
    return tuple(found)


def thresholds(scores: Mapping[str, np.ndarray]) -> np.ndarray:
    """Scores at which profiles are evaluated: from 0 past 95% of the scores, and at least past 1.

    Where the positive scores of one task span more than a factor of ten, the grid is geometric, from the
    lowest of all positive scores past the highest.
    """
    columns = np.concatenate(list(scores.values()))
    positive = np.where(columns > 0, columns, np.inf)
    if (columns.max(axis=0) > 10 * positive.min(axis=0)).any():
        return np.geomspace(min(0.8, 0.9 * positive.min()), max(1.25, 1.1 * columns.max()), POINTS)
    return np.linspace(0.0, max(1.25, 1.1 * float(np.quantile(columns, 0.95))), POINTS)


def aggregates(scores: np.ndarray, reps: int = 2000, seed: int = 0) -> dict[str, Estimate]:
    """IQM, median, mean and optimality gap, each with its 95% stratified bootstrap interval.

    The IQM is the mean of the middle half of all runs; median and mean are over tasks, of the means over
    seeds; the optimality gap is ``mean(1 - min(s, 1))``. Seeds are resampled within every task, tasks are
    not: an interval shows how the number varies with other seeds on the same tasks.

    Args:
        scores: (S, tasks) finite scores.
        reps: number of resamples.
        seed: of the resampling; the interval depends on the scores and on it alone.

    Raises:
        ValueError: the scores are not such a matrix, or reps is below 1.

    Example:
        >>> found = aggregates(np.array([[0.0, 2.0], [1.0, 3.0]]))
        >>> [round(float(found[name].value), 3) for name in AGGREGATES]
        [1.5, 1.5, 1.5, 0.25]

    Source: Agarwal et al. 2021 (arXiv 2108.13264).
    """
    _check(scores, reps)

    def every(matrix: np.ndarray) -> np.ndarray:
        return np.array([function(matrix) for function in AGGREGATES.values()])

    low, high = _interval(_Bootstrap, [scores], every, reps, seed)
    rows = zip(AGGREGATES, every(scores), low, high, strict=True)
    return {name: Estimate(*map(float, numbers)) for name, *numbers in rows}


def performance_profile(
    scores: np.ndarray, thresholds: np.ndarray, reps: int = 2000, seed: int = 0
) -> Profile:
    """The share of all runs with a score above each of (n,) thresholds, with a pointwise 95% band.

    Source: Agarwal et al. 2021 (arXiv 2108.13264), section 4.2.
    """
    _check(scores, reps)

    def share(matrix: np.ndarray) -> np.ndarray:
        # Sorted once instead of rliable's loop over thresholds, which takes minutes for a whole report.
        above = matrix.size - np.searchsorted(np.sort(matrix, axis=None), thresholds, side="right")
        return above / matrix.size

    return Profile(thresholds, share(scores), *_interval(_Bootstrap, [scores], share, reps, seed))


def probability_of_improvement(
    scores: np.ndarray, others: np.ndarray, reps: int = 2000, seed: int = 0
) -> Estimate:
    """``P(X > Y) + P(X = Y) / 2`` for a run each of two optimizers on the same task, mean over tasks.

    ``scores`` are of X, ``others`` (S', tasks) of Y, resampled independently; see `aggregates`.

    Source: Agarwal et al. 2021 (arXiv 2108.13264), section 4.3.
    """
    _check(scores, reps)
    _check(others, reps)
    if scores.shape[1] != others.shape[1]:
        raise ValueError(f"scores of {scores.shape[1]} tasks cannot be compared with {others.shape[1]} tasks")

    def better(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        # Equal to rliable's Mann-Whitney statistic, in one array instead of a loop over tasks.
        wins = (x[:, None] > y[None]).mean() + 0.5 * (x[:, None] == y[None]).mean()
        return np.array([wins])

    low, high = _interval(_IndependentBootstrap, [scores, others], better, reps, seed)
    return Estimate(float(better(scores, others)[0]), float(low[0]), float(high[0]))


class _Bootstrap(library.StratifiedBootstrap):
    """rliable's bootstrap over seeds within tasks, with its own generator."""

    def update_indices(self) -> tuple[np.ndarray, ...]:
        drawn = self.generator.choice(self._num_items, self._args_shape, replace=True)
        return (drawn, *self._strata_indices)


class _IndependentBootstrap(library.StratifiedIndependentBootstrap):
    """rliable's bootstrap of several matrices apart, with its own generator."""

    def _get_indices(
        self, num_runs: int, array_shape: tuple[int, ...], strata_indices: list[np.ndarray]
    ) -> tuple[np.ndarray, ...]:
        return (self.generator.choice(num_runs, array_shape, replace=True), *strata_indices)


def _interval(
    bootstrap: type[_Bootstrap] | type[_IndependentBootstrap],
    matrices: list[np.ndarray],
    function: Callable[..., np.ndarray],
    reps: int,
    seed: int,
) -> np.ndarray:
    """(2, n) bounds of an (n,) function of resampled matrices; NaN if no matrix has two rows to resample."""
    if all(matrix.shape[0] == 1 for matrix in matrices):
        return np.full((2, len(function(*matrices))), np.nan)
    # A RandomState, whose draws are those of rliable after np.random.seed(seed).
    drawing: dict[str, Any] = {"seed": np.random.RandomState(seed)}
    resampled = bootstrap(*matrices, **drawing)
    return resampled.conf_int(function, reps=reps, method="percentile", size=CONFIDENCE)


def _check(scores: np.ndarray, reps: int) -> None:
    if reps < 1:
        raise ValueError(f"reps is {reps}; expected 1 or more resamples")
    if scores.ndim != 2 or 0 in scores.shape:
        raise ValueError(f"scores have shape {scores.shape}; expected (seeds, tasks), one or more of each")
    if not np.isfinite(scores).all():
        raise ValueError("scores hold NaN or infinity; expected finite ones, with 0 for a diverged run")
