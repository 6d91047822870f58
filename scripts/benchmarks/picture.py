"""The picture of `celo benchmark update`: time of an update by the number of parameters."""

from __future__ import annotations

import io
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from celo._core.files import write_atomically
from celo.evaluation.report import style


def draw(figures: Mapping[str, Any], optimizers: Sequence[str]) -> Figure:
    """The time of each optimizer and Adam against size, with the optimizer's floor dotted.

    Lines join trees of one tensor; trees of several are circles.
    """
    trees = {tree["tree"]: tree for tree in figures["tasks"].values()}
    measured = [cost for cost in figures["costs"] if "ratio" in cost and cost["tree"] in trees]
    measured.sort(key=lambda cost: trees[cost["tree"]]["parameters"])
    with style.style():
        figure, axis = style.new_figure("Time of an update", width=6.0, height=3.8)

        def plot(times: Mapping[str, float], label: str, colour: str, line: str = "-") -> None:
            points = [
                (trees[tree]["parameters"], time, trees[tree]["tensors"]) for tree, time in times.items()
            ]
            single = [point[:2] for point in points if point[2] == 1]
            axis.plot([x for x, _ in single], [y for _, y in single], line, color=colour, label=label)
            if line == "-":
                several = [point[:2] for point in points if point[2] > 1]
                axis.plot(
                    [x for x, _ in several], [y for _, y in several], "o", color=colour, mfc="none", ms=5
                )

        adam: dict[str, list[float]] = {}
        for cost in measured:
            adam.setdefault(cost["tree"], []).append(cost["adam_milliseconds"])
        plot({tree: statistics.median(times) for tree, times in adam.items()}, "adam", style.ADAM)
        others = [name for name in optimizers if name != "adam"]
        for name, colour in zip(others, style.OTHERS * len(others), strict=False):
            own = {cost["tree"]: cost for cost in measured if cost["optimizer"] == name}
            plot({tree: cost["milliseconds"] for tree, cost in own.items()}, name, colour)
            floor = {tree: cost["floor_milliseconds"] for tree, cost in own.items()}
            plot(floor, f"{name}: floor", colour, ":")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.xaxis.set_major_formatter("{x:,.0f}")  # the style shows no mathematical text
        axis.yaxis.set_major_formatter("{x:,g}")
        axis.set_xlabel("parameters; circles: trees of several tensors")
        axis.set_ylabel("milliseconds")
        axis.legend(fontsize=7.5)
    return figure


def save(figure: Figure, path: Path) -> None:
    """Writes a figure as PNG or SVG, by the suffix of the path."""
    buffer, kind = io.BytesIO(), path.suffix[1:]
    with style.style():
        figure.savefig(buffer, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
    write_atomically(path, buffer.getvalue())
