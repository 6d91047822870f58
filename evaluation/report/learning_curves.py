"""How meta-training of several optimizers went: a panel each, and a table."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from celo.evaluation.report import style
from celo.evaluation.report.meta_loss import centred_mean
from celo.evaluation.report.table import Table
from celo.meta.estimators.paired import difference

REACH = 4


@dataclasses.dataclass(frozen=True)
class LearningCurve:
    """One meta-training.

    Attributes:
        label: what was trained.
        settings: outer settings, in words.
        steps: (rows,) meta-iterations done at each row of the metrics.
        losses: (rows,) meta-loss, the mean over the meta-iterations of a row.
        before: (problems,) loss of whole trainings with the first meta-parameters.
        after: (problems,) loss of the same trainings with the last.
        seconds: of a meta-iteration, the median.
    """

    label: str
    settings: str
    steps: np.ndarray
    losses: np.ndarray
    before: np.ndarray
    after: np.ndarray
    seconds: float

    def ends(self, iterations: int) -> tuple[float, float]:
        """Mean meta-loss of the first and of the last so many meta-iterations."""
        first = self.losses[self.steps <= iterations]
        last = self.losses[self.steps > self.steps[-1] - iterations]
        return float(np.mean(first)), float(np.mean(last))


def figure(curves: Sequence[LearningCurve], columns: int = 5) -> Figure:
    """A panel per meta-training: the meta-loss as logged and smoothed; its title says what theta gained.

    Args:
        curves: the meta-trainings.
        columns: panels in a row.
    """
    with style.style():
        figure, axes = style.panels(len(curves), most_columns=columns, width=2.5, height=2.0)
        for axis, curve in zip(axes, curves, strict=True):
            axis.plot(curve.steps, curve.losses, color=style.BLUE, lw=0.6, alpha=0.4)
            axis.plot(curve.steps, centred_mean(curve.losses, REACH), color=style.BLUE)
            change = difference(curve.after, curve.before)
            axis.set_title(f"{curve.label}: {change.mean:+.3f} ± {change.error:.3f}", fontsize=8)
            axis.set_xlim(0, curve.steps[-1])
        figure.supxlabel("meta-iteration", fontsize=9)
        figure.supylabel("meta-loss", fontsize=9)
    return figure


def table(curves: Sequence[LearningCurve], iterations: int = 20) -> Table:
    """A row per meta-training: what was set, the meta-loss at both ends, and the paired difference.

    Args:
        curves: the meta-trainings.
        iterations: how many meta-iterations an end is long.
    """
    rows = []
    for curve in curves:
        first, last = curve.ends(iterations)
        change = difference(curve.after, curve.before)
        rows.append(
            (
                curve.label,
                curve.settings,
                f"{first:.3f}",
                f"{last:.3f}",
                f"{np.mean(curve.before):.3f}",
                f"{np.mean(curve.after):.3f}",
                f"{change.mean:+.4f} ± {change.error:.4f}",
                f"{curve.seconds:.2f}",
            )
        )
    header = (
        "optimizer",
        "outer settings",
        f"first {iterations}",
        f"last {iterations}",
        "before",
        "after",
        "difference",
        "s / iteration",
    )
    return Table(header, tuple(rows))
