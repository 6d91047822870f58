"""Scores of single runs with respect to the best Adam: by final loss, and by the steps needed to match it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np

from celo.evaluation.selection import Chosen
from celo.evaluation.speedup import first_crossing, sustained
from celo.meta.full_training import smooth

REFERENCE = "adam"
_TINY = float(np.finfo(np.float32).tiny)


@dataclasses.dataclass(frozen=True)
class Reference:
    """What the best Adam reaches on a task, against which every run is scored.

    Attributes:
        task: name of the task.
        num_steps: T, of every training.
        loss: its final loss, mean over seeds.
        target: its smoothed training loss at the last step, mean over seeds.
    """

    task: str
    num_steps: int
    loss: float
    target: float


def reference(adam: Chosen) -> Reference | None:
    """What the best Adam reaches; None if even its best learning rate diverged on some seed.

    Args:
        adam: its trainings at the best learning rate, as `celo.evaluation.selection.choose` finds it.

    Raises:
        ValueError: its loss is negative, so that no ratio of losses means anything.
    """
    if adam.diverged.any():
        return None
    _check_sign(adam)
    return Reference(
        adam.cell.task,
        adam.cell.num_steps,
        float(adam.final_loss.astype(np.float64).mean()),
        float(smooth(adam.loss)[..., -1].mean()),
    )


def final_loss_score(runs: Chosen, best: Reference) -> np.ndarray:
    """``s = L_Adam* / L_opt`` of each run: above 1 is a lower loss than the best Adam's mean.

    A loss of exactly zero counts as the smallest positive float32, so that scores stay finite.

    Args:
        runs: trainings of an optimizer, S seeds.
        best: what the best Adam reaches on the task.

    Returns:
        (S,) float64; 0 for a diverged run.

    Raises:
        ValueError: a loss is negative.

    Source: Moudgil et al. 2025 (arXiv 2501.12670), section 5.
    """
    _check_sign(runs)
    losses = np.where(runs.diverged, np.inf, runs.final_loss).astype(np.float64)
    return max(best.loss, _TINY) / np.maximum(losses, _TINY)


def speedup_score(runs: Chosen, best: Reference) -> np.ndarray:
    """Speedup of each run by its first crossing, as in the paper: see `celo.evaluation.speedup.first_crossing`.

    Args:
        runs: trainings of an optimizer, S seeds.
        best: what the best Adam reaches on the task.

    Returns:
        (S,) float64; 0 for a run that never reaches the target, or diverges, be it afterwards.
    """
    return np.where(runs.diverged, 0.0, first_crossing(runs.loss, best.target))


def sustained_speedup_score(runs: Chosen, best: Reference) -> np.ndarray:
    """Speedup of each run by the step from which it stays at the target: `celo.evaluation.speedup.sustained`.

    Args:
        runs: trainings of an optimizer, S seeds.
        best: what the best Adam reaches on the task.

    Returns:
        (S,) float64; 0 for a run that ends above the target, or diverges.
    """
    return np.where(runs.diverged, 0.0, sustained(runs.loss, best.target))


@dataclasses.dataclass(frozen=True)
class Score:
    """A way to score runs.

    Attributes:
        name: for files.
        title: for headings.
        meaning: in a sentence.
        of: the scores (S,) of an optimizer's runs.
    """

    name: str
    title: str
    meaning: str
    of: Callable[[Chosen, Reference], np.ndarray]


SCORES = (
    Score(
        "final_loss",
        "Final-loss score",
        "Mean final loss of the best Adam divided by the run's own; above 1 is better than the best Adam.",
        final_loss_score,
    ),
    Score(
        "speedup",
        "Speedup, first crossing",
        "Steps of the whole training divided by the steps after which the smoothed loss is first at or below "
        "the best Adam's final smoothed loss, as in the Celo paper. One dip by noise is enough: it flatters.",
        speedup_score,
    ),
    Score(
        "sustained_speedup",
        "Speedup, sustained",
        "The same, with the step from which the smoothed loss stays at or below that target to the end. "
        "A run that ends above the target, be it by noise, scores 0.",
        sustained_speedup_score,
    ),
)


def unscorable(adam: Chosen | None, runs: Mapping[str, Chosen]) -> str | None:
    """Why no run on a task can be scored; None if all can.

    Args:
        adam: the best Adam's trainings, or None if there are none yet.
        runs: those of all optimizers, by label.
    """
    if adam is not None and adam.diverged.any():
        return "Adam diverged on some seed with every learning rate, so there is nothing to score against, on"
    for label, own in runs.items():
        if (lowest := _lowest(own)) < 0:
            return f"{label} has the negative final loss {lowest:.3g}, of which no ratio means anything, on"
    return None


def _lowest(runs: Chosen) -> float:
    return float(runs.final_loss[~runs.diverged].min(initial=np.inf))


def _check_sign(runs: Chosen) -> None:
    if (lowest := _lowest(runs)) < 0:
        raise ValueError(
            f"{runs.cell.optimizer} on {runs.cell.task} has the final loss {lowest:.6g}; a score is a ratio "
            "of losses, which must not be negative"
        )
