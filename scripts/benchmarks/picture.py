"""The picture of `celo benchmark update`: time of an update by the number of parameters."""

from __future__ import annotations

import io
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from celo._core.files import write_atomically
from celo.evaluation.report import style


def draw(figures: dict[str, Any], optimizers: Sequence[str], path: Path) -> None:
    """Draws optimizers and Adam, with floors dotted, and writes SVG or PNG by the suffix of the path.

    Lines join trees of one tensor; trees of several are marked alone.
    """
    trees = {tree["tree"]: tree for tree in figures["tasks"].values()}
    costs = [cost for cost in figures["costs"] if "milliseconds" in cost and cost["tree"] in trees]
    with style.style():
        figure, axis = style.new_figure("Time of an update", width=6.0, height=3.8)

        def plot(times: dict[str, float], colour: str, **looks: Any) -> None:
            points = sorted((trees[name]["parameters"], time, name) for name, time in times.items())
            single = [(size, time) for size, time, name in points if trees[name]["tensors"] == 1]
            axis.plot(*zip(*single, strict=True), color=colour, **looks) if single else None
            others = [(size, time) for size, time, name in points if trees[name]["tensors"] > 1]
            axis.scatter(
                *zip(*others, strict=True), s=18, facecolors="none", edgecolors=colour
            ) if others else None

        adam: dict[str, list[float]] = {}
        for cost in costs:
            adam.setdefault(cost["tree"], []).append(cost["adam_milliseconds"])
        plot(
            {tree: statistics.median(own) for tree, own in adam.items()},
            style.ADAM,
            label="adam",
            marker="o",
            ms=3,
        )
        learned = [name for name in optimizers if name != "adam"]
        for name, colour in zip(learned, style.OTHERS * len(learned), strict=False):
            own = {cost["tree"]: cost for cost in costs if cost["optimizer"] == name}
            plot(
                {tree: cost["milliseconds"] for tree, cost in own.items()},
                colour,
                label=name,
                marker="o",
                ms=3,
            )
            floor = {
                tree: cost["floor_milliseconds"] for tree, cost in own.items() if trees[tree]["tensors"] == 1
            }
            plot(floor, colour, ls=":", label=f"{name}, floor")
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_xlabel("parameters (circles: trees of several tensors)")
        axis.set_ylabel("milliseconds")
        axis.legend(fontsize=7.5)
        buffer, kind = io.BytesIO(), path.suffix[1:]
        figure.savefig(buffer, format=kind, dpi=160, metadata={"Date": None} if kind == "svg" else None)
    write_atomically(path, buffer.getvalue())
