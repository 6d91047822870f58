"""The schedule a learned optimizer chooses: its step size over the course of each training."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from evaluation.outcome import Outcome
from evaluation.report import style

_COLOURS = (style.VERMILLION, style.BLUE, style.GREEN, style.PURPLE, style.ORANGE, style.SKY)


def schedules(outcomes: Sequence[Outcome], label: str) -> Figure:
    """The step size eta of one learned optimizer over progress t / T, a line per task.

    Lines are medians over seeds, bands reach from the lowest seed to the highest.

    Args:
        outcomes: one per task.
        label: which learned optimizer.

    Returns:
        The figure.

    Raises:
        ValueError: if there is no outcome, or an outcome does not hold step sizes of that label.
    """
    if not outcomes:
        raise ValueError("schedules need at least one task, got none")
    with style.style():
        figure, (axis,) = style.panels(1, width=6.4, height=3.6)
        low, high = np.inf, -np.inf
        for i, outcome in enumerate(outcomes):
            eta = _eta(outcome, label)
            kept = style.thin(outcome.num_steps)
            progress, eta = (kept / outcome.num_steps), eta[:, kept]
            look = {"color": _COLOURS[i % len(_COLOURS)], "zorder": 3}
            line = style.LINES[i % len(style.LINES)]
            axis.plot(progress, np.median(eta, axis=0), line, label=outcome.task, **look)
            axis.fill_between(progress, eta.min(axis=0), eta.max(axis=0), alpha=0.18, lw=0, **look)
            low, high = min(low, np.nanmin(eta)), max(high, np.nanmax(eta))
        axis.set_title(f"Step size that {label} sets")
        axis.set_xlabel("progress, step / number of steps")
        axis.set_ylabel(r"step size $\eta_t$")
        axis.set_xlim(0, 1)
        style.fit_y(axis, low, high, ratio=4.0)
        figure.legend(loc="outside lower left", fontsize=8)
    return figure


def _eta(outcome: Outcome, label: str) -> np.ndarray:
    """(seeds, num_steps) step sizes."""
    if label not in outcome.learned:
        raise ValueError(f"{outcome.task} has no {label!r}; it has {', '.join(outcome.learned)}")
    eta = outcome.learned[label].eta
    if eta is None:
        raise ValueError(f"{label} on {outcome.task} has no step sizes")
    return eta
