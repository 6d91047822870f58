"""Every figure of a report: aggregates with intervals, profiles, curves, step sizes, and the meta-loss."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from celo.evaluation.choice import Result
from celo.evaluation.curves import STEPS, Curve, curve
from celo.evaluation.report import style
from celo.evaluation.report.escape import figure_text
from celo.evaluation.report.style import Look
from celo.evaluation.report.tables import TITLES
from celo.evaluation.scores import NOISE, Reference
from celo.evaluation.statistics import Summary

FEW_POINTS = 100  # of curves in the background


def intervals(summary: Summary, aggregate: str, look: Mapping[str, Look]) -> Figure:
    """One of `celo.evaluation.statistics.AGGREGATES`, a row per optimizer: the value and its 95% interval.

    With one seed there are no intervals, and the values alone are drawn.
    """
    found = {label: own[aggregate] for label, own in summary.aggregates.items()}
    better = "lower is better" if aggregate == "optimality_gap" else "higher is better"
    with style.style():
        figure, axis = style.new_figure(summary.score.title, height=0.85 + 0.3 * len(found))
        for row, (label, estimate) in enumerate(found.items()):
            colour, bounds = look[label].colour, np.array([estimate.low, estimate.high])
            if np.isfinite(bounds).all():
                axis.plot(bounds, [row, row], color=colour, lw=7, alpha=0.3, solid_capstyle="butt", zorder=2)
            axis.plot([estimate.value], [row], "|", color=colour, ms=11, mew=2.4, zorder=3)
            beside = {"xycoords": ("axes fraction", "data"), "xytext": (5, 0), "textcoords": "offset points"}
            axis.annotate(f"{estimate.value:.2f}", (1.0, row), va="center", fontsize=8.5, **beside)
        if aggregate != "optimality_gap":
            axis.axvline(1.0, color=style.RULE, lw=0.8, ls=style.DASHED, zorder=1)
        highest = max((max(e.value, e.high) for e in found.values() if not math.isnan(e.high)), default=0.0)
        if highest > 10 and aggregate != "optimality_gap":
            axis.set_xscale("symlog", linthresh=1.0)
            axis.xaxis.set_major_formatter("{x:g}")
        axis.set_yticks(range(len(found)), [look[label].name for label in found])
        for tick, label in zip(axis.get_yticklabels(), found, strict=True):
            tick.set_color(look[label].colour)
        axis.tick_params(axis="y", length=0, labelsize=8.5)
        axis.grid(axis="y", visible=False)
        axis.spines["left"].set_visible(False)
        axis.set_ylim(len(found) - 0.4, -0.6)
        axis.margins(x=0.08)
        axis.set_xlabel(f"{TITLES[aggregate]} ({better})")
    return figure


def profiles(summary: Summary, look: Mapping[str, Look]) -> Figure:
    """The share of trainings with a score above each threshold, a line per optimizer, bands of 95%.

    The axis of thresholds is logarithmic where their grid is.
    """
    with style.style():
        figure, axis = style.new_figure(summary.score.title, height=3.0 + 0.16 * len(summary.profiles) / 2)
        for label, (at, share, low, high) in summary.profiles.items():
            own = look[label]
            axis.fill_between(at, low, high, color=own.colour, alpha=0.15, lw=0, zorder=2)
            axis.step(at, share, own.line, where="post", color=own.colour, label=own.name)
        grid = next(iter(summary.profiles.values())).thresholds
        axis.axvline(1.0, color=style.RULE, lw=0.8, ls=style.DASHED, zorder=1)
        wide = grid[0] > 0  # see `celo.evaluation.statistics.thresholds`
        if wide:
            axis.set_xscale("log")
            axis.xaxis.set_major_formatter("{x:g}")
        axis.set_xlim(float(grid[0]), float(grid[-1]))
        axis.set_ylim(-0.02, 1.02)
        axis.set_xlabel("score τ" + (", logarithmic" if wide else ""))
        axis.set_ylabel("share of trainings above τ")
        figure.legend(loc="outside lower center", ncols=2, labelcolor="linecolor", handlelength=1.6)
    return figure


def training_curves(
    task: str, results: Mapping[str, Result], best: Reference | None, look: Mapping[str, Look]
) -> Figure:
    """Smoothed training loss of every optimizer on one task: median and range over seeds.

    Curves are of the kind that speedups read: evaluations, or the losses of all steps, before each step.
    Adam at its other settings is grey, without a band. A line at ``best.target`` is what speedups are
    measured at.
    """
    runs = {label: result.runs for label, result in results.items()}
    first = next(iter(runs.values()))
    with style.style():
        figure, axis = style.new_figure(task)
        kind = best.curve if best is not None else STEPS
        shown = {label: curve(own, kind) for label, own in runs.items()}
        style.fit_y(axis, *_limits(list(shown.values())))
        if best is not None:
            axis.axhline(best.target, color=style.RULE, lw=0.8, ls=style.DASHED, zorder=1)
        for own in results[NOISE].settings if NOISE in results else ():
            if own is not runs[NOISE]:
                other = curve(own, kind)
                middle = np.median(_finite(other.smoothed), axis=0)
                kept = style.thin(len(middle), FEW_POINTS)
                places = other.steps[kept] - (kind == STEPS)
                axis.plot(places, middle[kept], color=style.GREY, lw=0.6, alpha=0.5, zorder=1)
        ends = [
            _line(axis, own.smoothed, look[label], own.steps - (kind == STEPS))
            for label, own in shown.items()
        ]
        axis.set_xlim(0, max(1, first.steps - 1))
        axis.set_xlabel("training step")
        axis.set_ylabel(f"training loss ({figure_text(first.rows[0].loss_unit)})")
        style.label_ends(axis, ends)
    return figure


def step_sizes(task: str, etas: Mapping[str, np.ndarray], look: Mapping[str, Look]) -> Figure:
    """The step sizes eta (S, T) of every learned scheduler, by label, on one task over progress t / T."""
    with style.style():
        figure, axis = style.new_figure(task, height=2.4)
        _progress_axis(axis, etas)
        ends = [_line(axis, eta, look[label], 1.0 / eta.shape[-1]) for label, eta in etas.items()]
        style.label_ends(axis, ends)
    return figure


def schedules(label: str, etas: Mapping[str, np.ndarray]) -> Figure:
    """The step sizes eta (S, T), by task, that one optimizer sets over progress t / T, a line per task.

    Lines are medians over seeds, bands reach from the lowest seed to the highest. ValueError without a task.
    """
    if not etas:
        raise ValueError("schedules need at least one task, got none")
    colours = (*style.OTHERS[:1], style.ADAM, *style.OTHERS[1:])
    with style.style():
        figure, axis = style.new_figure(f"Step size that {label} sets", height=2.8 + 0.17 * len(etas))
        _progress_axis(axis, etas)
        for i, (task, eta) in enumerate(etas.items()):
            # 24 tasks before a pair of colour and dashes repeats.
            dashes = style.LINES[(i + i // 12) % len(style.LINES)]
            look = Look(colours[i % len(colours)], dashes, figure_text(task))
            _line(axis, eta, look, 1.0 / eta.shape[-1], label=look.name)
        figure.legend(loc="outside lower left", fontsize=7)
    return figure


def meta_loss(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Meta-loss over meta-iterations, each stage raw and smoothed, with a marker per meta-validation.

    ``rows`` are those of `celo.meta.runs.metrics.read_metrics`. ValueError if none holds a meta-loss.
    """
    rows = [row for row in rows if "meta_loss" in row]
    if not rows:
        raise ValueError("there is no meta-loss among the metrics; has the run done a meta-iteration?")
    with style.style():
        figure, axis = style.new_figure("Meta-training", height=3.4)
        axis.set_title("Meta-training", pad=16)  # above the names of stages
        start = 0
        for stage in sorted({row["stage"] for row in rows}):
            own = [row for row in rows if row["stage"] == stage]
            _stage(axis, own, f"stage {stage}", start)
            start = own[-1]["step"]
        axis.set_xlabel("meta-iteration")
        axis.set_ylabel("normalised inner loss")
        axis.set_xlim(0, rows[-1]["step"])
        figure.legend(loc="outside lower left")
    return figure


def centred_mean(values: np.ndarray, reach: int) -> np.ndarray:
    """Mean of each value and of those up to ``reach`` places before and after it, as far as there are any.

    Unlike a moving average of the past it does not lag, which would dominate a short run.

    >>> centred_mean(np.array([0.0, 3.0, 6.0, 0.0]), 1).tolist()
    [1.5, 3.0, 3.0, 3.0]
    """
    window = np.ones(2 * reach + 1)
    count = np.convolve(np.ones(len(values)), window)[reach : reach + len(values)]
    return np.convolve(values, window)[reach : reach + len(values)] / count


def _stage(axis: Axes, rows: Sequence[Mapping[str, Any]], name: str, start: int) -> None:
    """One stage, whose first meta-iteration follows ``start``; the legend describes the first alone."""
    steps = np.array([row["step"] for row in rows])
    losses = np.array([row["meta_loss"] for row in rows], np.float64)
    kept, hidden = style.thin(len(steps)), "" if start == 0 else "_"
    axis.plot(steps[kept], losses[kept], color=style.BLUE, lw=0.6, alpha=0.4, zorder=2)
    smoothed = centred_mean(losses, 1 + len(losses) // 20)[kept]
    label = f"{hidden}meta-loss, smoothed; faint as logged"
    axis.plot(steps[kept], smoothed, color=style.BLUE, zorder=3, label=label)
    validated = [(row["step"], row["validation"]) for row in rows if "validation" in row]
    if validated:
        label, at = f"{hidden}meta-validation, last tenth of steps", zip(*validated, strict=True)
        axis.plot(*at, "o-", color=style.VERMILLION, ms=5, lw=1, zorder=4, clip_on=False, label=label)
    if start:
        axis.axvline(start, color=style.RULE, lw=0.8, ls=style.DASHED, zorder=1)
    place = {"xycoords": ("data", "axes fraction"), "xytext": (2, 3), "textcoords": "offset points"}
    axis.annotate(name, (start, 1.0), fontsize=8, color=style.RULE, **place)


def _line(
    axis: Axes, values: np.ndarray, look: Look, places: np.ndarray | float = 1.0, label: str | None = None
) -> tuple[float, Look]:
    """Draw the median over seeds of (S, n) values and a band from the lowest seed to the highest.

    ``places`` is where they are drawn, (n,), or the distance from one to the next. A seed that is not finite
    counts as infinitely high: the median ends where half of the seeds are not finite, the band where one is
    not. Returns where the line ends, and the look of its name.
    """
    values = _finite(values)
    kept, middle = style.thin(values.shape[-1]), np.median(values, axis=0)
    low, high = values.min(axis=0)[kept], values.max(axis=0)[kept]
    at = places[kept] if isinstance(places, np.ndarray) else places * kept
    band = {"where": np.isfinite(high), "color": look.colour, "alpha": 0.2, "lw": 0, "zorder": 3}
    axis.fill_between(at, low, high, **band)
    axis.plot(at, middle[kept], look.line, color=look.colour, label=label, zorder=4)
    finite = middle[np.isfinite(middle)]
    ended = look if len(finite) == len(middle) else look._replace(name=f"{look.name} (diverged)")
    return (float(finite[-1]) if finite.size else math.nan), ended


def _progress_axis(axis: Axes, etas: Mapping[str, np.ndarray]) -> None:
    pooled = np.concatenate([eta[np.isfinite(eta)] for eta in etas.values()])
    if pooled.size:
        style.fit_y(axis, float(pooled.min()), float(pooled.max()), ratio=4.0)
    axis.set_xlim(0.0, 1.0)
    axis.set_xlabel("progress, step / number of steps")
    axis.set_ylabel("step size η")


def _limits(curves: Sequence[Curve]) -> tuple[float, float]:
    """The lowest smoothed loss of several curves, and the highest at initialisation."""
    smoothed = np.concatenate([one.smoothed.ravel() for one in curves])
    finite, start = smoothed[np.isfinite(smoothed)], np.concatenate([one.loss[:, 0] for one in curves])
    if not finite.size or not np.isfinite(start).all():
        return math.nan, math.nan
    return float(finite.min()), float(start.max())


def _finite(values: np.ndarray) -> np.ndarray:
    return np.where(np.isfinite(values), values, np.inf)
