"""The best setting of an optimizer on a task, of all it was trained at."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from celo.evaluation.requested import Requested
from celo.evaluation.results import Runs, Training


class Result(NamedTuple):
    """The trainings of one optimizer on one task at all its settings, and the position of the best one."""

    settings: tuple[Runs, ...]
    best: int

    @property
    def runs(self) -> Runs:
        """The trainings at the best setting."""
        return self.settings[self.best]

    @property
    def edge(self) -> tuple[str, float] | None:
        """The first hyperparameter that the best setting has at an end of its grid, and its value.

        A better value may lie outside the grid. None for a random search, and for fewer than three values.
        """
        names = {name for runs in self.settings for name in runs.setting}
        tried = {name: {runs.setting.get(name) for runs in self.settings} for name in names}
        varied = {name: values for name, values in tried.items() if len(values) > 1}
        if math.prod(map(len, varied.values())) != len(self.settings):
            return None  # no grid
        for name, values in varied.items():
            found = sorted(value for value in values if value is not None)
            value = self.runs.setting.get(name)
            if len(found) >= max(3, len(values)) and value in (found[0], found[-1]):
                return name, float(value)
        return None


def best_rows(results: Mapping[str, Mapping[str, Result]], task: str) -> list[Training]:
    """The trainings of every optimizer on a task at its best setting, those of Adam first."""
    return [row for own in results.values() if task in own for row in own[task].runs.rows]


def choose(rows: Sequence[Training]) -> Result:
    """Choose the setting that diverged on the fewest seeds, then with the lowest mean over the others.

    ``rows`` are all trainings of an optimizer on a task, settings in order, each with the same seeds. Ties go
    to the first setting.

    Source: the tuning of baselines in Moudgil et al. 2025 (arXiv 2501.12670), section 4.
    """
    by_setting: dict[tuple[tuple[str, float], ...], list[Training]] = {}
    for row in rows:
        by_setting.setdefault(tuple(sorted(row.setting.items())), []).append(row)
    settings = tuple(Runs(tuple(sorted(own, key=lambda row: row.seed))) for own in by_setting.values())

    def rank(i: int) -> tuple[int, float]:
        finite = settings[i].final_loss[~settings[i].diverged].astype(np.float64)
        return int(settings[i].diverged.sum()), float(finite.mean()) if finite.size else math.inf

    return Result(settings, min(range(len(settings)), key=rank))


def choose_all(
    requested: Requested, rows: Mapping[tuple[str, str], Sequence[Training]]
) -> dict[str, dict[str, Result]]:
    """`choose` for every finished pair, by label, then by task; ``rows`` are those of `Requested.rows_of`."""
    results: dict[str, dict[str, Result]] = {pair.optimizer: {} for pair in requested.pairs}
    for (task, label), own in rows.items():
        if own and len(own) == requested.count(label):
            results[label][task] = choose(own)
    return results
