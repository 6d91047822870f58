"""Loss curves: learned optimizers against Adam at its best rate, the other rates behind them."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from celo.evaluation.report import style
from celo.evaluation.task_comparison import TaskComparison
from celo.meta.full_training import SMOOTHING, smooth


def loss_curves(outcomes: Sequence[TaskComparison]) -> Figure:
    """A panel per task of training loss over steps.

    Lines are medians over seeds of the smoothed loss, bands reach from the lowest seed to the highest, and
    the unsmoothed loss of one seed is faint behind them.

    Args:
        outcomes: one per task, with the same labels of learned optimizers.

    Returns:
        The figure.

    Raises:
        ValueError: if there is no outcome.
    """
    if not outcomes:
        raise ValueError("loss curves need at least one task, got none")
    with style.style():
        figure, axes = style.panels(len(outcomes))
        for axis, outcome in zip(axes, outcomes, strict=True):
            _panel(axis, outcome)
        colours = dict(zip(outcomes[0].learned, style.LEARNED, strict=False))
        handles = [Line2D([], [], color=colour, label=label) for label, colour in colours.items()]
        rates = len(outcomes[0].learning_rates)
        handles.append(Line2D([], [], color=style.ADAM, label=f"Adam, best of {rates} learning rates"))
        handles.append(Line2D([], [], color=style.GREY, lw=0.8, label="Adam, the other rates"))
        figure.legend(handles=handles, loc="outside upper left", ncols=len(handles))
        seeds = len(outcomes[0].adam.seeds)
        figure.supxlabel(_explanation(seeds), fontsize=8, color=style.FAINT, x=0.01, ha="left")
    return figure


def rate_label(rate: float) -> str:
    """A learning rate as a power of ten where it is a half power, else in plain figures.

    >>> rate_label(10**-2.5), rate_label(0.01), rate_label(0.02)
    ('$10^{-2.5}$', '$10^{-2}$', '0.02')
    """
    half = 2 * math.log10(rate)
    return f"$10^{{{round(half) / 2:g}}}$" if abs(half - round(half)) < 1e-4 else f"{rate:.3g}"


def _explanation(seeds: int) -> str:
    smoothed = f"Smoothed by a moving average of coefficient {SMOOTHING}; unsmoothed loss of one seed faint."
    if seeds == 1:
        return smoothed
    return f"{smoothed} Median of {seeds} seeds, band from the lowest to the highest."


def _panel(axis: Axes, outcome: TaskComparison) -> None:
    steps = np.arange(outcome.adam.num_steps)
    for i, loss in enumerate(outcome.adam.loss):
        if i != outcome.best:
            _line(
                axis, steps, np.median(smooth(loss), axis=0), color=style.GREY, lw=0.7, alpha=0.55, zorder=1
            )
    _band(axis, steps, outcome.best_adam.loss, style.ADAM)
    for runs, colour in zip(outcome.learned.values(), style.LEARNED, strict=False):
        _band(axis, steps, runs.loss, colour)
    axis.set_title(outcome.task, pad=18)
    axis.set_xlabel("training step")
    axis.set_ylabel(f"training loss ({outcome.adam.loss_unit})")
    axis.set_xlim(0, max(1, outcome.adam.num_steps - 1))
    style.fit_y(axis, *limits([runs.loss for runs in (outcome.best_adam, *outcome.learned.values())]))
    axis.annotate(
        f"Adam's best learning rate: {rate_label(outcome.learning_rates[outcome.best])}",
        (0.0, 1.0),
        xycoords="axes fraction",
        xytext=(0, 3),
        textcoords="offset points",
        fontsize=8,
        color=style.ADAM,
    )


def band(
    axis: Axes, steps: np.ndarray, values: np.ndarray, colour: str, line: str = "-", label: str | None = None
) -> np.ndarray:
    """Draws the median over seeds and a band from the lowest seed to the highest.

    A seed that is not finite counts as infinitely high, so it is neither drawn nor left out: the median ends
    where half of the seeds are not finite, the band where one is not.

    Args:
        axis: where.
        steps: (T,) places along it.
        values: (S, T) values, smoothed if they shall be.
        colour: of both.
        line: dashes of the median.
        label: of the median, for a legend.

    Returns:
        (T,) the median, infinite where it is not drawn.
    """
    values = np.where(np.isfinite(values), values, np.inf)
    kept, middle = style.thin(len(steps)), np.median(values, axis=0)
    low, high = values.min(axis=0)[kept], values.max(axis=0)[kept]
    drawn = np.isfinite(high)
    axis.fill_between(steps[kept], low, high, where=drawn, color=colour, alpha=0.2, lw=0, zorder=3)
    _line(axis, steps, middle, color=colour, ls=line, label=label, zorder=4)
    return middle


def _band(axis: Axes, steps: np.ndarray, loss: np.ndarray, colour: str) -> None:
    """One optimizer, (seeds, steps): raw, band and median."""
    _line(axis, steps, loss[0], color=colour, lw=0.4, alpha=0.35, zorder=2)
    band(axis, steps, smooth(loss), colour)


def _line(axis: Axes, steps: np.ndarray, values: np.ndarray, **look: object) -> None:
    kept = style.thin(len(steps))
    axis.plot(steps[kept], values[kept], **look)  # pyright: ignore[reportArgumentType]  # keywords of Line2D


def limits(losses: Sequence[np.ndarray]) -> tuple[float, float]:
    """The lowest smoothed loss of several trainings (S, T), and the highest at initialisation."""
    curves = np.concatenate([smooth(loss) for loss in losses])
    finite = curves[np.isfinite(curves)]
    start = np.concatenate([loss[:, 0] for loss in losses])
    if not finite.size or not np.isfinite(start).all():
        return math.nan, math.nan
    return float(finite.min()), float(start.max())
