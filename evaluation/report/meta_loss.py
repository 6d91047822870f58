"""How meta-training went: the meta-loss of its stages and the meta-validations along the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from celo.evaluation.report import style

_STAGES = {1: "stage 1: update rule", 2: "stage 2: scheduler"}


def meta_loss(rows: Sequence[Mapping[str, Any]]) -> Figure:
    """Meta-loss over meta-iterations, each stage raw and smoothed, with a marker per meta-validation.

    Args:
        rows: of a run's ``metrics.jsonl``, as `celo.meta.runs.metrics.read_metrics` reads them.

    Returns:
        The figure.

    Raises:
        ValueError: if no row holds a meta-loss.
    """
    rows = [row for row in rows if "meta_loss" in row]
    if not rows:
        raise ValueError("there is no meta-loss among the metrics; has the run done a meta-iteration?")
    with style.style():
        figure, (axis,) = style.panels(1, width=6.4, height=3.4)
        begin = 0
        for stage in sorted({row["stage"] for row in rows}):
            own = [row for row in rows if row["stage"] == stage]
            _stage(axis, own, stage, begin)
            begin = own[-1]["step"]
        axis.set_xlabel("meta-iteration")
        axis.set_ylabel("normalised inner loss")
        axis.set_xlim(0, rows[-1]["step"])
        handles = [Line2D([], [], color=style.BLUE, label="meta-loss, smoothed; faint as logged")]
        if any("validation" in row for row in rows):
            handles.append(
                Line2D(
                    [],
                    [],
                    color=style.VERMILLION,
                    marker="o",
                    ms=5,
                    label="meta-validation, last tenth of steps",
                )
            )
        figure.legend(handles=handles, loc="outside upper left", ncols=2)
    return figure


def centred_mean(values: np.ndarray, reach: int) -> np.ndarray:
    """Mean of each value and those up to ``reach`` places before and after it, as far as there are any.

    Unlike a moving average of the past it does not lag behind, which in a short run would be all one sees.

    >>> centred_mean(np.array([0.0, 3.0, 6.0, 0.0]), 1).tolist()
    [1.5, 3.0, 3.0, 3.0]
    """
    window = np.ones(2 * reach + 1)
    count = np.convolve(np.ones(len(values)), window)[reach : reach + len(values)]
    return np.convolve(values, window)[reach : reach + len(values)] / count


def _stage(axis: Axes, rows: Sequence[Mapping[str, Any]], stage: int, begin: int) -> None:
    """One stage, which began at meta-iteration ``begin``."""
    steps = np.array([row["step"] for row in rows])
    losses = np.array([row["meta_loss"] for row in rows], np.float64)
    kept = style.thin(len(steps))
    axis.plot(steps[kept], losses[kept], color=style.BLUE, lw=0.6, alpha=0.4, zorder=2)
    axis.plot(steps[kept], centred_mean(losses, 1 + len(losses) // 20)[kept], color=style.BLUE, zorder=3)
    validated = [(row["step"], row["validation"]) for row in rows if "validation" in row]
    if validated:
        validated = zip(*validated, strict=True)
        axis.plot(*validated, "o-", color=style.VERMILLION, ms=5, lw=1, zorder=4, clip_on=False)
    if begin:
        axis.axvline(begin, color="#444444", lw=0.8, ls=(0, (4, 3)), zorder=1)
    axis.annotate(
        _STAGES.get(stage, f"stage {stage}"),
        (begin, 1.0),
        xycoords=("data", "axes fraction"),
        xytext=(2, 3),
        textcoords="offset points",
        fontsize=8,
        color="#444444",
    )
