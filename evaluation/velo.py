"""VeLO's tables: speedups of single settings, and of the best of several, as columns over tasks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np

from celo.evaluation.checks import setting_words
from celo.evaluation.scores import NOISE, REFERENCE, VELO, ScoreTable
from celo.evaluation.spec import is_optlist
from celo.evaluation.speedup import velo_speedup

MOST, MOST_INVERSE, PERCENTILES = 30.0, 10.0, (5, 10, 25, 50, 75)
FIRST = (5, 10)  # a list whose beginnings are rows of the tables too


class Columns(NamedTuple):
    """Speedups over tasks in VeLO's columns.

    Attributes:
        mean: of ``min(s, 30)``.
        mean_inverse: of ``min(1 / s, 10)``; lower is better.
        percentiles: of s, at `PERCENTILES`.
    """

    mean: float
    mean_inverse: float
    percentiles: tuple[float, ...]


class Row(NamedTuple):
    """A row: the best speedup per task among some trials.

    Attributes:
        name: optimizer and setting, or what the best is taken over.
        trials: number of settings; 1 = a single setting for all tasks.
        columns: over tasks.
    """

    name: str
    trials: int
    columns: Columns


def columns(speedups: np.typing.ArrayLike) -> Columns:
    """VeLO's columns of (W,) speedups of W tasks, each the mean over seeds; 0 counts as an inverse of 10.

    Raises:
        ValueError: there is no task, or a speedup is negative or not finite.

    Example:
        >>> columns([0.5, 1.0, 60.0]).mean, columns([0.5, 0.0]).mean_inverse
        (10.5, 6.0)

    Source: Metz et al. 2022 (arXiv 2211.09760), appendices F.1 and G.12.
    """
    s = np.asarray(speedups, np.float64)
    if s.ndim != 1 or not s.size or not (np.isfinite(s) & (s >= 0)).all():
        raise ValueError(f"speedups are {speedups}; expected a finite number per task, 0 or above")
    inverse = 1.0 / np.maximum(s, 1.0 / MOST_INVERSE)
    return Columns(
        float(np.minimum(s, MOST).mean()),
        float(inverse.mean()),
        tuple(np.percentile(s, PERCENTILES).tolist()),
    )


def best_settings(speedups: np.ndarray) -> tuple[int, ...]:
    """The settings with the highest mean of ``min(s, 30)`` and the highest median over tasks, each once.

    Args:
        speedups: (C, W) of C settings on W tasks.

    Example:
        >>> best_settings(np.array([[1.0, 1.0, 9.0], [2.0, 2.0, 2.0]]))
        (0, 1)
    """
    by_mean = int(np.minimum(speedups, MOST).mean(axis=1).argmax())
    return tuple(dict.fromkeys((by_mean, int(np.median(speedups, axis=1).argmax()))))


def setting_speedups(table: ScoreTable) -> dict[str, np.ndarray]:
    """By label the (C, W) speedups of all C settings on the W tasks of VeLO's speedup, means over seeds."""
    tasks = table.tasks_of(VELO)
    found = {}
    for label, own in table.results.items():
        every = [
            [
                velo_speedup(runs.final_loss, runs.diverged, runs.steps, (table.envelopes or {})[task]).mean()
                for runs in own[task].settings
            ]
            for task in tasks
        ]
        found[REFERENCE if label == NOISE else label] = np.array(every).T
    return found


def rows(table: ScoreTable) -> tuple[Row, ...]:
    """VeLO's rows of a score table that has envelopes: single settings first, then the best of several.

    A single setting is the same on all tasks, chosen by mean and by median over them; a learned optimizer has
    one. The best of several is chosen on every task. Empty if no task has an envelope.

    Source: Metz et al. 2022 (arXiv 2211.09760), tables of appendix G.12.
    """
    if table.envelopes is None or not table.tasks_of(VELO):
        return ()
    speedups = setting_speedups(table)
    return (*_single(table, speedups), *_best(table, speedups))


def _single(table: ScoreTable, speedups: Mapping[str, np.ndarray]) -> Iterator[Row]:
    for label, own in speedups.items():
        for i in best_settings(own):
            words = setting_words(table.requested.optimizers[label].settings[i]) if len(own) > 1 else ""
            yield Row(f"{label}, {words}" if words else label, 1, columns(own[i]))


def _best(table: ScoreTable, speedups: Mapping[str, np.ndarray]) -> Iterator[Row]:
    kinds = table.requested.optimizers
    for label, own in speedups.items():
        if is_optlist(kinds[label].spec):
            for count in (one for one in FIRST if one < len(own)):
                yield Row(f"{label}, first {count}", count, columns(own[:count].max(axis=0)))
        if len(own) > 1:
            yield Row(label, len(own), columns(own.max(axis=0)))
    learned = [own for label, own in speedups.items() if kinds[label].learned]
    designed = [own for label, own in speedups.items() if not kinds[label].learned]
    groups = {"best baseline": designed, "best learned": learned, "best of all": [*designed, *learned]}
    for name, members in groups.items():
        if len(members) > 1 and (name != "best of all" or learned):
            every = np.concatenate(members)
            yield Row(name, len(every), columns(every.max(axis=0)))
