"""Speedups over Adam: by the first and the last crossing of its loss, and VeLO's by an envelope."""

from __future__ import annotations

import numpy as np

from celo.evaluation.envelope import Envelope
from celo.meta.full_training import smooth


def first_crossing(
    losses: np.typing.ArrayLike, target: float, steps: np.typing.ArrayLike | None = None
) -> np.ndarray:
    """Speedup ``T / T_opt``, ``T_opt = min{t : s_t <= target}``, s the smoothed losses s_1..s_T.

    Steps are counted from 1: the largest speedup is T. One dip to the target by noise counts.

    Args:
        losses: (..., n) losses as trained; `celo.meta.full_training.smooth` is applied here.
        target: smoothed loss to reach.
        steps: (n,) number of steps of each loss, the last one T; default 1 to n. 0 counts as 1.

    Returns:
        (...,) float64 speedups in [1, T]; 0 where the target is never reached.

    Example:
        >>> first_crossing([[4.0, 1.0, 1.0, 1.0], [4.0, 4.0, 4.0, 4.0]], 3.6).tolist()
        [1.3333333333333333, 0.0]

    Source: Moudgil et al. 2025 (arXiv 2501.12670), section 4.
    """
    return _speedup(smooth(losses) <= target, steps)


def sustained(
    losses: np.typing.ArrayLike, target: float, steps: np.typing.ArrayLike | None = None
) -> np.ndarray:
    """Speedup ``T / T_opt``, ``T_opt = min{t : s_u <= target for all u >= t}``; see `first_crossing`.

    It is never above that of the first crossing, and 0 where the curve ends above the target.

    Example:
        >>> curve = [1.0, 9.0, 0.0, 0.0, 0.0]  # smoothed: 1, 1.8, 1.62, 1.458, 1.3122
        >>> first_crossing(curve, 1.5).item(), sustained(curve, 1.5).item()
        (5.0, 1.25)
    """
    below = smooth(losses) <= target
    return _speedup(np.logical_and.accumulate(below[..., ::-1], axis=-1)[..., ::-1], steps)


def _speedup(reached: np.ndarray, steps: np.typing.ArrayLike | None) -> np.ndarray:
    """T over the number of the first true step, 0 where there is none."""
    counted = np.arange(1, reached.shape[-1] + 1) if steps is None else np.maximum(np.asarray(steps), 1)
    return np.where(reached.any(axis=-1), counted[-1] / counted[np.argmax(reached, axis=-1)], 0.0)


def baseline_steps(envelope: Envelope, losses: np.typing.ArrayLike) -> np.ndarray:
    """Steps the baseline needs to reach each loss: linear between points of the envelope, never beyond it.

    A loss above the envelope's first gives its first step; one below its last gives the horizon. On a
    plateau, take its first step. A loss that is not finite gives 0.

    Example:
        >>> flat = Envelope(np.array([0.0, 10.0, 20.0, 30.0]), np.array([3.0, 2.0, 2.0, 1.0]))
        >>> baseline_steps(flat, [4.0, 2.5, 2.0, 1.5, 0.5, float("nan")]).tolist()
        [0.0, 5.0, 10.0, 25.0, 30.0, 0.0]

    Source: Metz et al. 2022 (arXiv 2211.09760), and the normalizers released with it.
    """
    losses = np.asarray(losses, np.float64)
    steps, bounds = envelope.steps.astype(np.float64), envelope.loss.astype(np.float64)
    finite = np.where(np.isfinite(losses), losses, bounds[0])
    # The first point at or below the loss: searched in -bounds, which increases.
    after = np.searchsorted(-bounds, -finite, side="left")
    right = np.clip(after, 1, len(bounds) - 1)
    left = right - 1
    drop = bounds[left] - bounds[right]
    share = np.clip((bounds[left] - finite) / np.where(drop > 0, drop, 1.0), 0.0, 1.0)
    between = steps[left] + share * (steps[right] - steps[left])
    found = np.where(after == 0, steps[0], np.where(after == len(bounds), steps[-1], between))
    return np.where(np.isfinite(losses), found, 0.0)


def velo_speedup(
    final_loss: np.ndarray, diverged: np.ndarray, num_steps: int, envelope: Envelope | None
) -> np.ndarray:
    """Steps that tuned Adam needs to reach each final loss (S,), over the training's own number of steps.

    (S,) float64, at most the envelope's horizon over ``num_steps``; 0 where ``diverged`` (S,).
    """
    if envelope is None:
        raise ValueError("VeLO's speedup needs an envelope of Adam")
    return baseline_steps(envelope, np.where(diverged, np.nan, final_loss)) / num_steps
