"""A panel per task: training curves of all optimizers, and the step sizes that learned schedulers set."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from celo.evaluation.report import style
from celo.evaluation.report.curves import band, limits
from celo.evaluation.report.looks import EndLabel, Look, label_ends
from celo.evaluation.scores import Reference
from celo.evaluation.selection import Chosen
from celo.meta.full_training import smooth

WIDTH, HEIGHT = 4.1, 3.0


def training_curves(runs: Mapping[str, Chosen], best: Reference | None, look: Mapping[str, Look]) -> Figure:
    """Smoothed training loss of every optimizer on one task, median and range over seeds.

    Args:
        runs: of each optimizer at its best configuration, by label.
        best: what the best Adam reaches, drawn as the line that speedups are measured at; None for none.
        look: of each optimizer.
    """
    cell = next(iter(runs.values())).cell
    with style.style():
        figure, (axis,) = style.panels(1, width=WIDTH, height=HEIGHT)
        style.fit_y(axis, *limits([own.loss for own in runs.values()]))
        if best is not None:
            axis.axhline(best.target, color=style.RULE, lw=0.8, ls=(0, (4, 3)), zorder=1)
        ends = [_line(axis, smooth(own.loss), look[label]) for label, own in runs.items()]
        axis.set_xlim(0, max(1, cell.num_steps - 1))
        axis.set_xlabel("training step")
        axis.set_ylabel(f"training loss ({cell.loss_unit})")
        axis.set_title(cell.task)
        label_ends(axis, ends)
    return figure


def step_sizes(runs: Mapping[str, Chosen], look: Mapping[str, Look]) -> Figure | None:
    """The step size eta of every learned scheduler on one task over progress t / T.

    Args:
        runs: of each optimizer, by label; those without a scheduler are left out.
        look: of each optimizer.

    Returns:
        The figure; None if no optimizer has a scheduler.
    """
    etas = {label: eta for label, own in runs.items() if (eta := scheduled(own)) is not None}
    if not etas:
        return None
    with style.style():
        figure, (axis,) = style.panels(1, width=WIDTH, height=0.8 * HEIGHT)
        pooled = np.concatenate([eta[np.isfinite(eta)] for eta in etas.values()])
        low, high = (pooled.min(), pooled.max()) if pooled.size else (math.nan, math.nan)
        axis.set_xlim(0.0, 1.0)
        style.fit_y(axis, float(low), float(high), ratio=4.0)
        ends = [_line(axis, eta, look[label], 1.0 / eta.shape[-1]) for label, eta in etas.items()]
        axis.set_xlabel("progress, step / number of steps")
        axis.set_ylabel(r"step size $\eta_t$")
        axis.set_title(next(iter(runs.values())).cell.task)
        label_ends(axis, ends)
    return figure


def scheduled(run: Chosen) -> np.ndarray | None:
    """The step sizes (S, T) of a scheduler; None where there is none, which is also a constant 1."""
    return run.eta if run.eta is not None and bool((run.eta != 1).any()) else None


def _line(axis: Axes, values: np.ndarray, look: Look, scale: float = 1.0) -> EndLabel:
    """Draws (S, T) values and says where the line ends: at its last finite point."""
    middle = band(axis, np.arange(values.shape[-1]) * scale, values, look.colour, look.line)
    finite = middle[np.isfinite(middle)]
    ended = look if len(finite) == len(middle) else look._replace(name=f"{look.name} (diverged)")
    return EndLabel(float(finite[-1]) if finite.size else math.nan, ended)
