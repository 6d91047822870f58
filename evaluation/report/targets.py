"""Tables, figure and files of the times to target."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from celo._core.files import write_atomically
from celo.evaluation.profiles import performance_profile, ratios
from celo.evaluation.report import records, style
from celo.evaluation.report.escape import markdown_text
from celo.evaluation.report.table import Cell, Table, number
from celo.evaluation.scores import REFERENCE
from celo.evaluation.targets import Comparison, TargetTable
from celo.meta.runs.files import write_json

FORMS = {"steps": "{:,.0f}", "seconds": "{:.3g} s"}


def write(folder: Path, table: TargetTable) -> Path:
    """Write ``targets.md``, ``targets.csv``, ``targets.json`` and the figure of profiles, each file whole.

    Returns the Markdown; OSError if the folder cannot be written.
    """
    (folder / "figures").mkdir(parents=True, exist_ok=True)
    style.save(profiles(table), folder / "figures" / "profiles")
    write_atomically(folder / "targets.csv", records.csv_bytes(frame(table)))
    write_json(folder / "targets.json", contents(table))
    picture = "![Performance profiles of the times to target](figures/profiles.png)"
    path = folder / "targets.md"
    write_atomically(path, f"# Time to target\n\n{markdown(table)}\n\n{picture}\n".encode())
    return path


def markdown(table: TargetTable) -> str:
    """The scores, every comparison, and what they are of, in Markdown."""
    head = (
        f"Tasks: {len(table.tasks)}; trials: {table.trials}. A target is the best optimizer's median loss "
        f"after {table.fraction:.0%} of the budget. B is the mean of the performance profile from ratio 1 "
        f"to {table.r_max:g}; higher is better."
    )
    parts = [head, *_reasons(table.left_out), scores(table).markdown()]
    for one in table.comparisons:
        parts.append(f"## {one.split.capitalize()} loss, {one.unit}")
        if one.tasks:
            parts += [times(table, one).markdown(), qualities(table, one).markdown()]
        parts += _reasons(one.left_out)
    return "\n\n".join(parts)


def _reasons(left_out: Mapping[str, str]) -> list[str]:
    return [markdown_text(f"{task} is left out: {why}.") for task, why in left_out.items()]


def scores(table: TargetTable) -> Table:
    """B of every optimizer in every comparison, the tasks it is over in the heading."""
    titles = (f"{one.split}, {one.unit} (tasks: {len(one.tasks)})" for one in table.comparisons)
    rows = [
        (
            Cell(label),
            *(number(float(one.scores[i]), 3) for one in table.comparisons),
            _settings(table, label),
        )
        for i, label in enumerate(table.labels)
    ]
    return Table(("optimizer", *titles, "settings"), tuple(rows))


def times(table: TargetTable, one: Comparison) -> Table:
    """A row per task: budget, target, and what each optimizer needs, with the ratio to the fastest."""
    form, relative = FORMS[one.unit], ratios(one.times)
    rows = [
        (
            Cell(task),
            Cell(form.format(one.budgets[w]), one.budgets[w]),
            Cell(f"{one.targets[w]:.4g}", one.targets[w]),
            *(_time(form, one.times[a, w], relative[a, w]) for a in range(len(table.labels))),
        )
        for w, task in enumerate(one.tasks)
    ]
    return Table(("task", "budget", "target", *table.labels), tuple(rows))


def qualities(table: TargetTable, one: Comparison) -> Table:
    """A row per task: every optimizer's loss after the budget, mean and deviation over trials."""
    rows = [(Cell(task), *(_quality(*own[w]) for own in one.quality)) for w, task in enumerate(one.tasks)]
    return Table(("loss after the budget", *table.labels), tuple(rows))


def frame(table: TargetTable) -> pd.DataFrame:
    """One row per split, unit, task and optimizer, all digits."""
    return pd.DataFrame(_rows(table))


def contents(table: TargetTable) -> dict[str, Any]:
    """Everything as data, for targets.json."""
    return {
        "fraction": table.fraction,
        "r_max": table.r_max,
        "trials": table.trials,
        "left_out": dict(table.left_out),
        "scores": [
            {
                "split": one.split,
                "unit": one.unit,
                "tasks": list(one.tasks),
                "left_out": dict(one.left_out),
                "B": dict(zip(table.labels, one.scores.tolist(), strict=True)),
            }
            for one in table.comparisons
        ],
        "times": list(_rows(table)),
    }


def profiles(table: TargetTable) -> Figure:
    """rho(tau) of every optimizer from 1 to r_max, a panel per comparison that has a task."""
    shown = [one for one in table.comparisons if one.tasks]
    look = _looks(table)
    with style.style():
        figure = Figure(figsize=(7.6, 0.5 + 2.5 * math.ceil(len(shown) / 2)), layout="constrained")
        axes = figure.subplots(math.ceil(len(shown) / 2), 2, squeeze=False, sharex=True, sharey=True).ravel()
        at = np.linspace(1.0, table.r_max, 401)
        for axis, one in itertools.zip_longest(axes, shown):
            if one is None:
                axis.set_visible(False)
                continue
            share = performance_profile(ratios(one.times), at)
            for label, line in zip(table.labels, share, strict=True):
                own = look[label]
                named = own.name if one is shown[0] else None
                axis.step(at, line, own.line, where="post", color=own.colour, label=named)
            axis.set_title(f"{one.split} loss, {one.unit}")
            axis.set_xlim(1.0, table.r_max)
            axis.set_ylim(-0.02, 1.02)
            axis.set_xlabel("τ, ratio to the fastest")
            axis.set_ylabel("share of tasks")
        figure.legend(loc="outside lower center", ncols=4, labelcolor="linecolor", handlelength=1.6)
    return figure


def _looks(table: TargetTable) -> Mapping[str, style.Look]:
    learned = {label: own[table.tasks[0]].runs.rows[0].learned for label, own in table.results.items()}
    found = style.looks({REFERENCE: False, **learned})  # blue stays Adam's where it is not compared
    return {label: found[label] for label in table.labels}


def _settings(table: TargetTable, label: str) -> Cell:
    count = table.settings(label)
    return Cell("untuned" if count == 1 else f"best of {count}", count)


def _time(form: str, time: float, ratio: float) -> Cell:
    if not math.isfinite(time):
        return Cell("∞", math.inf)
    return Cell(f"{form.format(time)} ({ratio:.2f})", time)


def _quality(mean: float, deviation: float) -> Cell:
    if math.isnan(mean):
        return Cell("no evaluation", mean)
    if math.isinf(mean):
        return Cell("not finite", mean)
    return Cell(f"{mean:.4g}" + ("" if math.isnan(deviation) else f" ± {deviation:.2g}"), mean)


def _rows(table: TargetTable) -> Iterator[dict[str, Any]]:
    for one in table.comparisons:
        relative = ratios(one.times)
        for (w, task), (a, label) in itertools.product(enumerate(one.tasks), enumerate(table.labels)):
            result = table.results[label][task]
            yield {
                "split": one.split,
                "unit": one.unit,
                "task": task,
                "optimizer": label,
                "setting": " ".join(f"{name}={value!r}" for name, value in result.runs.setting.items()),
                "settings": len(result.settings),
                "budget": float(one.budgets[w]),
                "target": float(one.targets[w]),
                "time": float(one.times[a, w]),
                "ratio": float(relative[a, w]),
                "trials": table.trials,
                "reached": int(one.reached[a, w]),
                "loss_after_budget": one.quality[a][w].mean,
                "deviation": one.quality[a][w].deviation,
            }
