"""What a comparison found on one task: the trainings of learned optimizers and of Adam, and the scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from celo.evaluation.cell import CellResult
from celo.evaluation.scores import final_loss_score, reference, unscorable
from celo.evaluation.selection import Chosen, best_configuration, choose, mean_final_loss


@dataclasses.dataclass(frozen=True, eq=False)
class TaskComparison:
    """One task: Adam at every learning rate against learned optimizers, on the same seeds.

    Attributes:
        adam: its trainings, a configuration per learning rate.
        learned: trainings of each learned optimizer by its label.
    """

    adam: CellResult
    learned: Mapping[str, Chosen]

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.adam.task

    @property
    def learning_rates(self) -> np.ndarray:
        """(rates,) constant learning rates of Adam."""
        return np.asarray([one["learning_rate"] for one in self.adam.configurations])

    @property
    def best(self) -> int:
        """Position of Adam's best rate, see `celo.evaluation.selection.best_configuration`."""
        return best_configuration(self.adam)

    @property
    def best_adam(self) -> Chosen:
        """Adam's trainings at its best rate."""
        return choose(self.adam)

    def scores(self, label: str) -> np.ndarray:
        """Final-loss score of each seed, see `celo.evaluation.scores.final_loss_score`.

        NaN where no run can be scored, see `celo.evaluation.scores.unscorable`.

        Args:
            label: which learned optimizer.

        Returns:
            (seeds,) float64.
        """
        runs, adam = self.learned[label], self.best_adam
        refused = unscorable(adam, {"Adam": adam, **self.learned})
        target = None if refused else reference(adam)
        return np.full(runs.final_loss.shape, np.nan) if target is None else final_loss_score(runs, target)

    def rates_beaten(self, label: str) -> int:
        """How many of Adam's rates end above this learned optimizer's mean final loss, or diverge."""
        mine = self.learned[label].mean_final_loss
        return int(np.sum(mean_final_loss(self.adam) > mine)) if np.isfinite(mine) else 0

    def summary(self) -> dict[str, Any]:
        """The numbers behind a table, ready for `celo.meta.files.json_ready`."""
        rates = [
            {"learning_rate": float(rate), **_numbers(Chosen(self.adam, i))}
            for i, rate in enumerate(self.learning_rates)
        ]
        learned = {
            label: _numbers(runs)
            | {
                "scores": self.scores(label).tolist(),
                "score": float(np.mean(self.scores(label))),
                "rates_beaten": self.rates_beaten(label),
            }
            for label, runs in self.learned.items()
        }
        return {
            "task": self.task,
            "loss_unit": self.adam.loss_unit,
            "num_steps": self.adam.num_steps,
            "seeds": len(self.adam.seeds),
            "adam": {"best_learning_rate": float(self.learning_rates[self.best]), "rates": rates},
            "learned": learned,
        }


def _numbers(runs: Chosen) -> dict[str, Any]:
    return {
        "final_loss": runs.mean_final_loss,
        "standard_deviation": runs.spread,
        "final_losses": runs.final_loss.tolist(),
        "diverged": int(runs.diverged.sum()),
    }
