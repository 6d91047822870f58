"""The schedule a learned optimizer chooses: its step size over the course of each training."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure

from celo.evaluation.report import style
from celo.evaluation.report.curves import band
from celo.evaluation.task_comparison import TaskComparison

_COLOURS = (style.VERMILLION, style.BLUE, style.GREEN, style.PURPLE, style.ORANGE, style.SKY)


def schedules(outcomes: Sequence[TaskComparison], label: str) -> Figure:
    """The step size eta of one learned optimizer over progress t / T, a line per task: see `schedule_lines`.

    Args:
        outcomes: one per task.
        label: which learned optimizer.

    Returns:
        The figure.

    Raises:
        ValueError: if there is no outcome, or an outcome does not hold step sizes of that label.
    """
    return schedule_lines({outcome.task: _eta(outcome, label) for outcome in outcomes}, label)


def schedule_lines(etas: Mapping[str, np.ndarray], label: str) -> Figure:
    """The step sizes eta that one optimizer sets over progress t / T, a line per task.

    Lines are medians over seeds, bands reach from the lowest seed to the highest.

    Args:
        etas: (S, T) step sizes by task.
        label: name of the optimizer.

    Returns:
        The figure.

    Raises:
        ValueError: if there is no task.
    """
    if not etas:
        raise ValueError("schedules need at least one task, got none")
    with style.style():
        figure, (axis,) = style.panels(1, width=6.4, height=3.1 + 0.09 * len(etas))
        for i, (task, eta) in enumerate(etas.items()):
            steps = eta.shape[-1]
            colour = _COLOURS[i % len(_COLOURS)]
            line = style.LINES[(i + i // 12) % len(style.LINES)]  # 24 tasks before a pair comes again
            band(axis, np.arange(steps) / steps, eta, colour, line, task)
        finite = np.concatenate([eta[np.isfinite(eta)] for eta in etas.values()])
        axis.set_title(f"Step size that {label} sets")
        axis.set_xlabel("progress, step / number of steps")
        axis.set_ylabel(r"step size $\eta_t$")
        axis.set_xlim(0, 1)
        style.fit_y(axis, finite.min(initial=np.inf), finite.max(initial=-np.inf), ratio=4.0)
        figure.legend(loc="outside lower left", fontsize=8, ncols=1 + (len(etas) > 4))
    return figure


def _eta(outcome: TaskComparison, label: str) -> np.ndarray:
    """(seeds, num_steps) step sizes."""
    if label not in outcome.learned:
        raise ValueError(f"{outcome.task} has no {label!r}; it has {', '.join(outcome.learned)}")
    eta = outcome.learned[label].eta
    if eta is None:
        raise ValueError(f"{label} on {outcome.task} has no step sizes")
    return eta
