"""The costs of updates as tables: rows tasks, columns optimizers, as in table 7 of arXiv 2501.12670."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from celo.evaluation.report.table import Table

FAILED = "failed"
Figures = Mapping[str, Any]


def ratio_table(figures: Figures, optimizers: Sequence[str]) -> Table:
    """Time of an update over that of optax's Adam, which has a column of its own in milliseconds.

    Args:
        figures: as `celo benchmark update` writes them.
        optimizers: the columns.

    Returns:
        The table; the last row is the geometric mean over different trees, of those that all went well.
    """
    rows = [
        (task, _millions(tree), _adam(figures, tree), *_cells(figures, tree, optimizers, "ratio"))
        for task, tree in figures["tasks"].items()
    ]
    trees = {tree["tree"]: tree for tree in figures["tasks"].values()}
    means = [_geometric_mean(figures, trees.values(), name) for name in optimizers]
    header = ("update time / Adam's", "parameters", "Adam, ms", *optimizers)
    return Table(header, (*rows, (f"geometric mean, {len(trees)} trees", "", "", *means)))


def bytes_table(figures: Figures, optimizers: Sequence[str]) -> Table:
    """State bytes per parameter.

    Args:
        figures: as `celo benchmark update` writes them.
        optimizers: the columns.
    """
    rows = [
        (task, _millions(tree), *_cells(figures, tree, optimizers, "state_bytes_per_parameter"))
        for task, tree in figures["tasks"].items()
    ]
    return Table(("state bytes per parameter", "parameters", *optimizers), tuple(rows))


def failures(figures: Figures) -> list[str]:
    """A line for each pair that could not be measured, with the reason."""
    names = {}
    for task, tree in figures["tasks"].items():
        names.setdefault(tree["tree"], task)
    return [
        f"{cost['optimizer']} on {names[cost['tree']]}: {cost[FAILED]}"
        for cost in figures["costs"]
        if FAILED in cost and cost["tree"] in names
    ]


def _cost(figures: Figures, tree: Mapping[str, Any], optimizer: str) -> Mapping[str, Any] | None:
    found = (c for c in figures["costs"] if (c["tree"], c["optimizer"]) == (tree["tree"], optimizer))
    return next(found, None)


def _cells(figures: Figures, tree: Mapping[str, Any], optimizers: Sequence[str], field: str) -> list[str]:
    costs = [_cost(figures, tree, name) for name in optimizers]
    return ["" if cost is None else _number(cost[field]) if field in cost else FAILED for cost in costs]


def _adam(figures: Figures, tree: Mapping[str, Any]) -> str:
    """Median over the optimizers measured on this tree."""
    times = [c["adam_milliseconds"] for c in figures["costs"] if c["tree"] == tree["tree"] and "ratio" in c]
    return _number(float(np.median(times))) if times else ""


def _geometric_mean(figures: Figures, trees: Any, optimizer: str) -> str:
    costs = [_cost(figures, tree, optimizer) for tree in trees]
    ratios = [cost["ratio"] for cost in costs if cost is not None and "ratio" in cost]
    return _number(float(np.exp(np.mean(np.log(ratios))))) if len(ratios) == len(costs) else ""


def _millions(tree: Mapping[str, Any]) -> str:
    return f"{tree['parameters']:,}"


def _number(value: float) -> str:
    """Three significant digits, all digits before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:#.3g}".rstrip(".")
