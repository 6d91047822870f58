"""One colour and line per optimizer, the same in every figure, and labels beside the lines they name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from celo.evaluation.report import style
from celo.evaluation.scoreboard import NOISE, Scoreboard

LONGEST = 16


class Look(NamedTuple):
    """How an optimizer is drawn: a colour, the dashes of its line, and its name in figures."""

    colour: str
    line: str
    name: str


class EndLabel(NamedTuple):
    """A name for the end of a line, which is at ``y`` on the axis."""

    y: float
    look: Look


def looks(board: Scoreboard) -> dict[str, Look]:
    """The look of every optimizer: Adam blue, the learned ones first among the other colours.

    After five the colours begin again with other dashes.
    """
    others = [label for label in board.labels if label != NOISE]
    learned = {label: any(run.cell.learned for run in board.runs[label].values()) for label in others}
    order = sorted(others, key=lambda label: not learned[label])
    found = {NOISE: Look(style.ADAM, "-", "Adam*")}
    for i, (label, name) in enumerate(zip(order, _names(order), strict=True)):
        dashes, colour = divmod(i, len(style.LEARNED))
        line = style.LINES[dashes % len(style.LINES)]
        found[label] = Look(style.LEARNED[colour], line, name)
    return {label: found[label] for label in board.labels}


def shortened(label: str) -> str:
    """A label that fits beside a line: if it is long its beginning, of a path its end.

    >>> shortened("celo"), shortened("celo (runs/of/a/long/path/theta)")
    ('celo', 'celo (runs/of/…')
    >>> shortened("runs/mine/theta_1000.safetensors")
    '…ine/theta_1000'
    """
    path = "/" in label.partition(" ")[0]
    label = label.removesuffix(".safetensors") if path else label
    if len(label) <= LONGEST:
        return label
    return f"…{label[2 - LONGEST :].lstrip()}" if path else f"{label[: LONGEST - 2].rstrip()}…"


def _names(labels: Sequence[str]) -> list[str]:
    """Short names in the order of the labels; those that have become equal are numbered."""
    names = [shortened(label) for label in labels]
    return [
        f"{name} {names[:i].count(name) + 1}" if names.count(name) > 1 else name
        for i, name in enumerate(names)
    ]


def label_ends(axis: Axes, labels: Sequence[EndLabel], size: float = 8.0) -> None:
    """Writes names to the right of an axis at the height of their lines, moved apart where they would touch.

    Call it when the limits of the axis are final.
    """
    figure = axis.get_figure(root=True)
    if figure is None or not labels:
        return
    gap = 1.35 * size / (72.0 * 0.72 * figure.get_figheight())
    to_axes = axis.transScale + axis.transLimits
    wanted = [float(to_axes.transform((axis.get_xlim()[1], label.y))[1]) for label in labels]
    for label, place in zip(labels, spread(np.clip(wanted, 0.0, 1.0), gap), strict=True):
        axis.annotate(
            label.look.name,
            (1.0, float(place)),
            xycoords="axes fraction",
            xytext=(4, 0),
            textcoords="offset points",
            va="center",
            fontsize=size,
            color=label.look.colour,
        )


def spread(wanted: np.typing.ArrayLike, gap: float) -> np.ndarray:
    """Places in the order of those wanted, at least ``gap`` apart, as near to them as pushing makes them.

    >>> spread([0.5, 0.52, 0.9], 0.1).round(2).tolist()
    [0.5, 0.6, 0.9]
    >>> spread([0.98, 0.99], 0.1).round(2).tolist()
    [0.9, 1.0]
    """
    wanted = np.asarray(wanted, np.float64)
    order = np.argsort(wanted, kind="stable")
    places = wanted[order]
    for i in range(1, len(places)):
        places[i] = max(places[i], places[i - 1] + gap)
    ceiling = 1.0
    for i in reversed(range(len(places))):
        places[i] = min(places[i], ceiling)
        ceiling = places[i] - gap
    found = np.empty_like(places)
    found[order] = places
    return found
