"""Which configuration of an optimizer is scored on a task: the best, chosen after the fact and said so."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from celo.evaluation.cell import CellResult


def best_configuration(cell: CellResult) -> int:
    """Position of the configuration with the lowest final loss, mean over seeds.

    A diverged seed disqualifies a configuration. Where every configuration diverged on some seed, it is the
    one that did on the fewest, then the one of lowest mean over its other seeds: its diverged runs score 0
    and the others what they are worth.

    Args:
        cell: the trainings, at any number of configurations.

    Returns:
        Position along the axis of configurations; the first of equals.

    Source: the tuning of baselines in Moudgil et al. 2025 (arXiv 2501.12670), section 5.
    """
    finite = ~cell.diverged
    total = np.where(finite, cell.final_loss, 0.0).astype(np.float64).sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(finite.any(axis=-1), total / finite.sum(axis=-1), np.inf)
    return int(np.lexsort((means, (~finite).sum(axis=-1)))[0])


def mean_final_loss(cell: CellResult) -> np.ndarray:
    """(C,) mean final loss of each configuration over seeds; inf where any of them diverged.

    A divergence is never averaged away: an optimizer that fails on one seed of three is not as good as the
    other two.

    Args:
        cell: the trainings.
    """
    final = np.where(cell.diverged, np.inf, cell.final_loss)
    return final.mean(axis=-1, dtype=np.float64)


@dataclasses.dataclass(frozen=True, eq=False)
class Chosen:
    """The trainings of an optimizer on a task at one of its configurations; S seeds, T steps.

    Attributes:
        cell: all its trainings on the task.
        index: which configuration.
    """

    cell: CellResult
    index: int

    @property
    def loss(self) -> np.ndarray:
        """(S, T) training losses."""
        return self.cell.loss[self.index]

    @property
    def final_loss(self) -> np.ndarray:
        """(S,) final losses."""
        return self.cell.final_loss[self.index]

    @property
    def diverged(self) -> np.ndarray:
        """(S,) bool: which seeds diverged."""
        return self.cell.diverged[self.index]

    @property
    def mean_final_loss(self) -> float:
        """Mean final loss over seeds; inf where any of them diverged."""
        return float(mean_final_loss(self.cell)[self.index])

    @property
    def spread(self) -> float:
        """Deviation of a sample of the final loss over seeds that did not diverge; NaN below two."""
        finite = self.final_loss[~self.diverged].astype(np.float64)
        return float(np.std(finite, ddof=1)) if finite.size > 1 else float("nan")

    @property
    def eta(self) -> np.ndarray | None:
        """(S, T) step sizes of a learned scheduler, if there is one."""
        return None if self.cell.eta is None else self.cell.eta[self.index]

    @property
    def configuration(self) -> Mapping[str, float]:
        """Its hyperparameters."""
        return self.cell.configurations[self.index]

    @property
    def edge(self) -> tuple[str, float] | None:
        """The hyperparameter and its value, if the choice lies at an end of a grid over one hyperparameter.

        A better value may then lie outside the grid. None for a random search over several, and where fewer
        than three values were tried.
        """
        names = sorted({name for configuration in self.cell.configurations for name in configuration})
        values = {name: {c.get(name) for c in self.cell.configurations} for name in names}
        varied = [name for name in names if len(values[name]) > 1]
        if len(varied) != 1 or len(values[varied[0]]) < 3 or None in values[varied[0]]:
            return None
        grid = [configuration[varied[0]] for configuration in self.cell.configurations]
        value = self.configuration[varied[0]]
        return (varied[0], value) if value in (min(grid), max(grid)) else None


def choose(cell: CellResult) -> Chosen:
    """The trainings of a cell at its best configuration."""
    return Chosen(cell, best_configuration(cell))
