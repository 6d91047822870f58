"""Aggregates with their intervals, and performance profiles."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from matplotlib.figure import Figure

from celo.evaluation.report import style
from celo.evaluation.report.looks import Look
from celo.evaluation.summary import Summary

WIDTH = 4.1
TITLES = {"iqm": "IQM", "median": "Median", "mean": "Mean", "optimality_gap": "Optimality gap"}


def intervals(summary: Summary, aggregate: str, look: Mapping[str, Look]) -> Figure:
    """One aggregate of every optimizer, a row each: the value and its 95% interval.

    Args:
        summary: of one kind of score.
        aggregate: which, a name in `celo.evaluation.aggregate.AGGREGATES`.
        look: of each optimizer.

    Returns:
        The figure. Without intervals (one seed) it shows the values alone.
    """
    found = {label: own[aggregate] for label, own in summary.aggregates.items()}
    better = "lower is better" if aggregate == "optimality_gap" else "higher is better"
    with style.style():
        figure, (axis,) = style.panels(1, width=WIDTH, height=0.85 + 0.3 * len(found))
        for row, (label, estimate) in enumerate(found.items()):
            colour = look[label].colour
            bounds = np.array([estimate.low, estimate.high])
            if np.isfinite(bounds).all():
                axis.plot(bounds, [row, row], color=colour, lw=7, alpha=0.3, solid_capstyle="butt", zorder=2)
            axis.plot([estimate.value], [row], "|", color=colour, ms=11, mew=2.4, zorder=3)
            axis.annotate(
                f"{estimate.value:.2f}",
                (1.0, row),
                xycoords=("axes fraction", "data"),
                xytext=(5, 0),
                textcoords="offset points",
                va="center",
                fontsize=8.5,
                color=style.INK,
            )
        if aggregate != "optimality_gap":
            axis.axvline(1.0, color=style.RULE, lw=0.8, ls=(0, (4, 3)), zorder=1)
        axis.set_yticks(range(len(found)), [look[label].name for label in found])
        for tick, label in zip(axis.get_yticklabels(), found, strict=True):
            tick.set_color(look[label].colour)
        axis.tick_params(axis="y", length=0, labelsize=8.5)
        axis.grid(axis="y", visible=False)
        axis.spines["left"].set_visible(False)
        axis.set_ylim(len(found) - 0.4, -0.6)
        axis.margins(x=0.08)
        axis.set_title(summary.scored.title)
        axis.set_xlabel(f"{TITLES[aggregate]} ({better})")
    return figure


def profiles(summary: Summary, look: Mapping[str, Look]) -> Figure:
    """The share of runs with a score above each threshold, a line per optimizer, bands of 95%.

    Args:
        summary: of one kind of score.
        look: of each optimizer.
    """
    with style.style():
        figure, (axis,) = style.panels(1, width=WIDTH, height=3.2)
        for label, profile in summary.profiles.items():
            own = look[label]
            axis.fill_between(
                profile.thresholds, profile.low, profile.high, color=own.colour, alpha=0.15, lw=0, zorder=2
            )
            axis.step(
                profile.thresholds, profile.share, own.line, where="post", color=own.colour, label=own.name
            )
        axis.axvline(1.0, color=style.RULE, lw=0.8, ls=(0, (4, 3)), zorder=1)
        axis.set_xlim(0.0, float(next(iter(summary.profiles.values())).thresholds[-1]))
        axis.set_ylim(-0.02, 1.02)
        axis.set_title(summary.scored.title)
        axis.set_xlabel(r"score $\tau$")
        axis.set_ylabel(r"share of runs above $\tau$")
        figure.legend(
            loc="outside lower center", ncols=3, fontsize=8, labelcolor="linecolor", handlelength=1.6
        )
    return figure
