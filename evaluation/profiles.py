"""Performance profiles of times: ratios to the fastest optimizer, their distribution over tasks, a score."""

from __future__ import annotations

import numpy as np

R_MAX = 3.0


def ratios(times: np.ndarray) -> np.ndarray:
    """``r[a, w] = t[a, w] / min over optimizers of t[., w]``; inf where unreached.

    Args:
        times: (A, W) positive times of A optimizers on W tasks, inf where unreached.

    Example:
        >>> ratios(np.array([[10.0, np.inf], [15.0, np.inf]])).tolist()
        [[1.0, inf], [1.5, inf]]
    """
    best = times.min(axis=0)
    return np.where(np.isfinite(times), times, np.inf) / np.where(np.isfinite(best), best, 1.0)


def performance_profile(ratios: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """``rho_a(tau)``, the share of tasks with ``r[a, w] <= tau``; (A, n) for (A, W) ratios and (n,) taus."""
    return (ratios[:, :, None] <= thresholds).mean(axis=1)


def benchmark_score(ratios: np.ndarray, r_max: float = R_MAX) -> np.ndarray:
    """``B_a = (integral of rho_a from 1 to r_max) / (r_max - 1)``, exactly; (A,) in [0, 1] for (A, W) ratios.

    rho_a is a step function, so its integral is the mean over tasks of ``max(0, r_max - r[a, w])``.

    Raises:
        ValueError: r_max is not above 1, or there is no task.

    Example:
        >>> benchmark_score(np.array([[1.0, 1.0], [2.0, np.inf]]), r_max=3.0).tolist()
        [1.0, 0.25]

    Source: Rezk et al. 2023 (arXiv 2310.18191), table 3; Dahl et al. 2023 (arXiv 2306.07179), section 4.
    """
    if not r_max > 1:
        raise ValueError(f"r_max is {r_max}; expected a number above 1")
    if ratios.ndim != 2 or not ratios.size:
        raise ValueError(
            f"ratios have shape {ratios.shape}; expected (optimizers, tasks), one or more of each"
        )
    return np.maximum(r_max - ratios, 0.0).mean(axis=1) / (r_max - 1.0)
