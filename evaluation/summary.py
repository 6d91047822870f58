"""All aggregates of a scoreboard, worked out once for tables, figures and files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from celo.evaluation.aggregate import (
    Estimate,
    Profile,
    aggregates,
    performance_profile,
    probability_of_improvement,
)
from celo.evaluation.scoreboard import NOISE, Scoreboard, Scored

POINTS = 201


class Summary(NamedTuple):
    """Aggregates of one kind of score.

    Attributes:
        scored: the scores.
        aggregates: by label, then by the name of each of `celo.evaluation.aggregate.AGGREGATES`.
        improvement: by label, the probability that a run beats one of the best Adam's.
        profiles: by label, at the same thresholds.
    """

    scored: Scored
    aggregates: Mapping[str, Mapping[str, Estimate]]
    improvement: Mapping[str, Estimate]
    profiles: Mapping[str, Profile]


def summarise(board: Scoreboard, reps: int = 2000, seed: int = 0) -> tuple[Summary, ...]:
    """Aggregates of every kind of score with their intervals.

    Every interval is drawn from the seed anew, so it does not depend on which other optimizers there are.

    Args:
        board: the scores.
        reps: number of bootstrap resamples.
        seed: of the resampling.

    Raises:
        ValueError: reps is below 1.
    """
    return tuple(_summary(scored, reps, seed) for scored in board.scored)


def _summary(scored: Scored, reps: int, seed: int) -> Summary:
    grid = thresholds(scored)
    items = scored.scores.items()
    noise = scored.scores[NOISE]
    return Summary(
        scored,
        {label: aggregates(scores, reps, seed) for label, scores in items},
        {label: probability_of_improvement(scores, noise, reps, seed) for label, scores in items},
        {label: performance_profile(scores, grid, reps, seed) for label, scores in items},
    )


def thresholds(scored: Scored) -> np.ndarray:
    """Scores at which profiles are evaluated: from 0 past 95% of the scores, and at least past 1."""
    pooled = np.concatenate([scores.ravel() for scores in scored.scores.values()])
    return np.linspace(0.0, max(1.25, 1.1 * float(np.quantile(pooled, 0.95))), POINTS)
