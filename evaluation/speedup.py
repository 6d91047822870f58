"""How many steps an optimizer needs to come as far as the reference: first, and for good."""

from __future__ import annotations

import numpy as np

from celo.meta.full_training import smooth


def first_crossing(losses: np.typing.ArrayLike, target: float) -> np.ndarray:
    """Speedup ``T / T_opt``, ``T_opt = min{t : s_t <= target}``, s the smoothed losses s_1..s_T.

    Steps are counted from 1: a curve whose first loss is at the target already took one step, and the
    largest speedup is T. A curve that dips to the target once, by noise, counts as having reached it.

    Args:
        losses: (..., T) losses as trained, not smoothed; `celo.meta.full_training.smooth` is applied here.
        target: smoothed loss to reach.

    Returns:
        (...,) float64 speedups in [1, T]; 0 where the target is never reached.

    Example:
        >>> first_crossing([[4.0, 1.0, 1.0, 1.0], [4.0, 4.0, 4.0, 4.0]], 3.6).tolist()
        [1.3333333333333333, 0.0]

    Source: Moudgil et al. 2025 (arXiv 2501.12670), section 5.
    """
    reached = smooth(losses) <= target
    return _speedup(reached)


def sustained(losses: np.typing.ArrayLike, target: float) -> np.ndarray:
    """Speedup ``T / T_opt``, ``T_opt = min{t : s_u <= target for all u >= t}``: reached and never lost again.

    Args:
        losses: (..., T) losses as trained, not smoothed.
        target: smoothed loss to reach.

    Returns:
        (...,) float64 speedups in [1, T], at most those of `first_crossing`; 0 where the curve ends above
        the target.

    Example:
        >>> curve = [1.0, 9.0, 0.0, 0.0, 0.0]  # smoothed: 1, 1.8, 1.62, 1.458, 1.3122
        >>> first_crossing(curve, 1.5).item(), sustained(curve, 1.5).item()
        (5.0, 1.25)
    """
    below = smooth(losses) <= target
    kept = np.logical_and.accumulate(below[..., ::-1], axis=-1)[..., ::-1]
    return _speedup(kept)


def _speedup(reached: np.ndarray) -> np.ndarray:
    """T over the number of the first true step, 0 where there is none."""
    steps = reached.shape[-1]
    return np.where(reached.any(axis=-1), steps / (np.argmax(reached, axis=-1) + 1.0), 0.0)
