"""What all figures share: colours that differ for every kind of colour vision, quiet axes, two formats."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter

from celo._core.files import write_atomically

# Okabe and Ito's palette, which stays apart under every common colour-vision deficiency.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
)
GREY = "#8A8A8A"
INK, RULE, FAINT, GRID, PAPER = "#222222", "#444444", "#555555", "#E6E6E6", "#FFFFFF"
ADAM = BLUE
LEARNED = (VERMILLION, GREEN, PURPLE, ORANGE, SKY)
LINES = ("-", "--", ":", "-.")
MOST_POINTS = 400

_STYLE = {
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": INK,
    "xtick.color": RULE,
    "ytick.color": RULE,
    "axes.titlesize": 8.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.labelsize": 9,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "axes.facecolor": PAPER,
    "figure.facecolor": PAPER,
    "savefig.facecolor": PAPER,
    "svg.hashsalt": "celo",
}


@contextmanager
def style() -> Iterator[None]:
    """Figures made inside look alike, whatever the user's own matplotlib settings are."""
    settings: dict[Any, Any] = {**mpl.rcParamsDefault, **_STYLE}
    del settings["backend"]
    with mpl.rc_context(settings):
        yield


def panels(
    count: int, most_columns: int = 3, width: float = 4.2, height: float = 3.2
) -> tuple[Figure, list[Axes]]:
    """A figure of equal panels, row by row; call it inside `style`.

    Args:
        count: number of panels.
        most_columns: panels in a row, at most.
        width: of a panel, in inches.
        height: of a panel, in inches.

    Returns:
        The figure, and an axis for each panel.
    """
    columns = min(count, most_columns)
    rows = -(-count // columns)
    # A figure of its own, not of pyplot, which keeps every figure alive.
    figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
    axes = list(figure.subplots(rows, columns, squeeze=False).flat)
    for unused in axes[count:]:
        unused.remove()
    return figure, axes[:count]


def thin(length: int) -> np.ndarray:
    """Positions of at most `MOST_POINTS` evenly spaced points of a curve, first and last among them."""
    return np.unique(np.linspace(0, length - 1, min(length, MOST_POINTS)).round().astype(int))


def fit_y(axis: Axes, low: float, high: float, ratio: float = 10.0) -> None:
    """Fits the y axis around [low, high], logarithmic where both are positive and ``ratio`` apart."""
    if not (np.isfinite(low) and np.isfinite(high) and low < high):
        return
    if low > 0 and high / low > ratio:
        axis.set_yscale("log")
        if high / low < 100:
            axis.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.yaxis.set_major_formatter("{x:g}")
            axis.yaxis.set_minor_formatter(NullFormatter())
        margin = (high / low) ** 0.06
        axis.set_ylim(low / margin, high * margin)
    else:
        margin = 0.06 * (high - low)
        axis.set_ylim(low - margin, high + margin)


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG (for looking) and SVG (for print), each as a whole or not at all.

    Args:
        figure: the figure.
        path: the files' place without a suffix; its folder exists.
    """
    with style():
        for kind in ("png", "svg"):
            buffer = io.BytesIO()
            metadata = {"Date": None} if kind == "svg" else None  # equal figures give equal files
            figure.savefig(buffer, format=kind, dpi=160, metadata=metadata)
            write_atomically(path.with_name(f"{path.name}.{kind}"), buffer.getvalue())
