"""The loss curve of a training that speedups read: of its evaluations, as published, or of every step."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from celo._core.names import unknown_name
from celo.evaluation.results import Runs, Training
from celo.meta.full_training import smooth

EVALUATIONS, STEPS = CURVES = ("evaluations", "steps")
ENOUGH = 50  # evaluations; smoothed by 0.9, fewer would mostly show the beginning


class Curve(NamedTuple):
    """Losses (S, n) of S trainings at n increasing numbers of steps (n,)."""

    steps: np.ndarray
    loss: np.ndarray

    @property
    def smoothed(self) -> np.ndarray:
        """(S, n) float64 losses, smoothed with 0.9 from one point to the next."""
        return smooth(self.loss)


def curve(runs: Runs, kind: str = STEPS) -> Curve:
    """The training losses that a kind of curve has.

    - ``evaluations``: the mean over the batches of each evaluation along the way, after the number of steps
      taken before it; the last point is the final loss, over ten batches.
    - ``steps``: the loss of every step's batch, before that step, counted from 1.

    Raises:
        ValueError: an unknown kind, or trainings without evaluations of the training loss.

    Source: evaluations every 10 steps on 5 batches, 10 after the last: Metz et al. 2022 (arXiv 2211.09760),
    the runs released with it, which Moudgil et al. 2025 (arXiv 2501.12670) score.
    """
    if kind not in CURVES:
        raise unknown_name("kind of curve", kind, CURVES)
    if kind == STEPS:
        return Curve(np.arange(1, runs.steps + 1), runs.loss)
    losses = runs.evaluations("train_loss")
    if losses is None or losses.shape[-1] < 2:
        row = runs.rows[0]
        raise ValueError(
            f"{row.optimizer} on {row.task} has no two evaluations of the training loss; use curve='steps'"
        )
    return Curve(runs.rows[0].evaluation_steps, np.concatenate([losses[:, :-1], runs.final_loss[:, None]], 1))


def kind_for(rows: Iterable[Training], kind: str | None = None) -> str:
    """The kind of curve asked for; by default ``evaluations``, if every training has `ENOUGH` of them.

    Raises:
        ValueError: an unknown kind.
    """
    if kind is not None:
        if kind not in CURVES:
            raise unknown_name("kind of curve", kind, CURVES)
        return kind
    enough = all("train_loss" in row.evaluations and len(row.evaluation_steps) >= ENOUGH for row in rows)
    return EVALUATIONS if enough else STEPS
