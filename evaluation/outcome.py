"""What a comparison found on one task: the trainings of learned optimizers and of Adam, and the scores."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np


class Trainings(NamedTuple):
    """Trainings of one optimizer on one task; leading axes are seeds, or learning rates and seeds.

    Attributes:
        loss: (..., num_steps) float32 training loss of each step's batch.
        final: (...,) float32 mean training loss of ten batches after the last step.
        eta: (..., num_steps) float32 step size of a learned scheduler; None for Adam.
    """

    loss: np.ndarray
    final: np.ndarray
    eta: np.ndarray | None = None

    @property
    def diverged(self) -> np.ndarray:
        """(...,) bool: whether a loss along the way, or the final one, is not finite."""
        return ~(np.isfinite(self.loss).all(axis=-1) & np.isfinite(self.final))


def final_loss(trainings: Trainings) -> np.ndarray:
    """(...) mean final loss over seeds, the last axis of ``final``; inf where any of them diverged.

    A divergence is never averaged away: an optimizer that fails on one seed of three is not as good as the
    other two.
    """
    failed = trainings.diverged.any(axis=-1)
    final = np.where(trainings.diverged, 0.0, trainings.final).astype(np.float64)
    return np.where(failed, np.inf, final.mean(axis=-1))


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """One task: Adam at every learning rate against learned optimizers, on the same seeds.

    Attributes:
        task: name of the task.
        loss_unit: unit of its loss, such as nats.
        num_steps: steps of every training.
        learning_rates: (rates,) constant learning rates of Adam.
        adam: its trainings, leading axes (rates, seeds).
        learned: trainings of each learned optimizer by its label, leading axis (seeds,).
    """

    task: str
    loss_unit: str
    num_steps: int
    learning_rates: np.ndarray
    adam: Trainings
    learned: Mapping[str, Trainings]

    @property
    def best(self) -> int:
        """Position of Adam's best rate: the lowest mean final loss over seeds, none of which diverged.

        If every rate diverged on some seed, the one of the smallest rate.
        """
        return int(np.argmin(final_loss(self.adam)))

    @property
    def best_adam(self) -> Trainings:
        """Adam's trainings at its best rate, leading axis (seeds,)."""
        return Trainings(self.adam.loss[self.best], self.adam.final[self.best])

    def scores(self, label: str) -> np.ndarray:
        """Final-loss score of each seed, ``s = L_Adam* / L_opt``: above 1 is better than the best Adam.

        ``L_Adam*`` is the mean over seeds at Adam's best rate. A diverged training scores 0. Where even the
        best Adam diverged there is nothing to compare with: NaN.

        Args:
            label: which learned optimizer.

        Returns:
            (seeds,) float64.

        Source: Moudgil et al. 2025 (arXiv 2501.12670), section 5.
        """
        trainings, target = self.learned[label], float(final_loss(self.best_adam))
        if not np.isfinite(target):
            return np.full(trainings.final.shape, np.nan)
        losses = np.where(trainings.diverged, np.inf, trainings.final).astype(np.float64)
        with np.errstate(divide="ignore"):
            return target / losses

    def rates_beaten(self, label: str) -> int:
        """How many of Adam's rates end above this learned optimizer's mean final loss, or diverge."""
        mine = final_loss(self.learned[label])
        return int(np.sum(final_loss(self.adam) > mine)) if np.isfinite(mine) else 0

    def summary(self) -> dict[str, Any]:
        """The numbers behind a table, ready for `meta.files.json_ready`."""
        rates = [
            {"learning_rate": float(rate), **_numbers(Trainings(loss, final))}
            for rate, loss, final in zip(self.learning_rates, self.adam.loss, self.adam.final, strict=True)
        ]
        learned = {
            label: _numbers(trainings)
            | {
                "scores": self.scores(label).tolist(),
                "score": float(np.mean(self.scores(label))),
                "rates_beaten": self.rates_beaten(label),
            }
            for label, trainings in self.learned.items()
        }
        return {
            "task": self.task,
            "loss_unit": self.loss_unit,
            "num_steps": self.num_steps,
            "seeds": self.adam.final.shape[-1],
            "adam": {"best_learning_rate": float(self.learning_rates[self.best]), "rates": rates},
            "learned": learned,
        }


def spread(trainings: Trainings) -> float:
    """Standard deviation (of a sample) of the final loss over seeds that did not diverge; NaN below two."""
    finite = trainings.final[~trainings.diverged].astype(np.float64)
    return float(np.std(finite, ddof=1)) if finite.size > 1 else float("nan")


def _numbers(trainings: Trainings) -> dict[str, Any]:
    return {
        "final_loss": float(final_loss(trainings)),
        "standard_deviation": spread(trainings),
        "final_losses": trainings.final.tolist(),
        "diverged": int(trainings.diverged.sum()),
    }
