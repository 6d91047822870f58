"""The grid of the Celo paper as data: a row is one change to the recipe, with the score the paper reports.

Source: Moudgil et al. 2025 (arXiv 2501.12670), tables 1 to 4 and 6; where they differ, as for two other
optimizers, tables 1 and 4, not 2a. Scores are the interquartile means of the final-loss score over 17 tasks
and 3 seeds, after 24 hours of meta-training on one GPU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celo._core.names import unknown_name
from celo.meta.recipe import Recipe, Trains

Base = Callable[[str], Recipe]  # name of a learned optimizer -> the recipe it starts from
Changes = Mapping[str, Any]  # of fields of a stage
CELO = "celo"


@dataclasses.dataclass(frozen=True)
class Row:
    """One change to the recipe.

    Attributes:
        name: of the row, and of its folder.
        table: what it is part of, a key of `TABLES`.
        change: the change in words.
        published: interquartile mean of the final-loss score in the paper.
        recipe: the recipe, from the one that an optimizer starts from.
    """

    name: str
    table: str
    change: str
    published: float
    recipe: Callable[[Base], Recipe]


TABLES = {
    "augmentation": "Task augmentation",
    "parts": "Parts of Celo",
    "optimizers": "Learned optimizers in one stage of as many meta-iterations",
}


def two_stages(first: Changes, second: Changes, *options: str) -> Callable[[Base], Recipe]:
    """Celo's recipe with changes to the first and to the second stage, and to the optimizer."""

    def recipe(base: Base) -> Recipe:
        found = base(CELO)
        changed = dataclasses.replace(found, options=(*found.options, *options))
        return changed.change_stages(dict(first), dict(second))

    return recipe


def one_stage(optimizer: str, trains: Trains = "both", **changes: Any) -> Callable[[Base], Recipe]:
    """An optimizer trained in one stage of as many meta-iterations as both stages of its recipe have.

    Args:
        optimizer: its name.
        trains: "rule" (without the scheduler), "scheduler" or "both" at once.
        **changes: to the stage.
    """

    def recipe(base: Base) -> Recipe:
        found = base(optimizer)
        iterations = found.ends()[-1]
        stage = dataclasses.replace(found.stages[0], trains=trains, iterations=iterations, **changes)
        return dataclasses.replace(found, stages=(stage,))

    return recipe


def _augmented(first: str, second: str, published: float) -> Row:
    """Celo with other levels of the task augmentation in its two stages."""
    recipe = two_stages({"augmentation": first}, {"augmentation": second})
    change = f"augmentation: {first} in stage 1, {second} in stage 2"
    return Row(f"aug_{first}_{second}", "augmentation", change, published, recipe)


def _pair(optimizer: str, plain: float, augmented: float) -> tuple[Row, Row]:
    """Another learned optimizer, with and without task augmentation."""
    return (
        Row(optimizer, "optimizers", f"{optimizer}, augmentation global", augmented, one_stage(optimizer)),
        Row(
            f"{optimizer}_plain",
            "optimizers",
            f"{optimizer}, no augmentation",
            plain,
            one_stage(optimizer, augmentation="none"),
        ),
    )


GRID: tuple[Row, ...] = (
    Row(CELO, "parts", "Celo as it is", 1.20, two_stages({}, {})),
    Row("no_scheduler", "parts", "no scheduler", 0.99, one_stage(CELO, trains="rule")),
    Row("one_stage", "parts", "update rule and scheduler at once, in one stage", 0.89, one_stage(CELO)),
    Row("tensor_features", "parts", "scheduler by tensor", 1.19, two_stages({}, {}, "tensor_features=True")),
    Row("linear", "parts", "step size linear in the scheduler", 1.07, two_stages({}, {}, "form=linear")),
    Row("linear_clip", "parts", "step size linear and clipped", 1.05, two_stages({}, {}, "form=linear_clip")),
    Row("celo_adam", "parts", "Adam as the update rule", 1.06, one_stage("celo_adam")),
    _augmented("none", "none", 1.07),
    _augmented("global", "none", 1.16),
    _augmented("none", "global", 1.10),
    _augmented("tensor", "global", 1.13),
    _augmented("global", "tensor", 1.13),
    _augmented("mixed", "mixed", 1.14),
    _augmented("tensor", "tensor", 1.18),
    *_pair("nn_adam", 0.65, 0.67),
    *_pair("rnn_mlp", 0.77, 1.00),
    *_pair("adafac_mlp", 0.89, 1.05),
    *_pair("velo_s", 0.90, 1.00),
)
"""All rows; the first is what every other one is compared with."""


def rows(names: Sequence[str] = (), tables: Sequence[str] = ()) -> tuple[Row, ...]:
    """Rows of the grid, in its order; Celo itself is always among them.

    Args:
        names: of rows.
        tables: keys of `TABLES`, all of whose rows are meant; without names and tables, all rows.

    Raises:
        ValueError: an unknown name.

    Example:
        >>> [row.name for row in rows(["linear"])]
        ['celo', 'linear']
    """
    known = [row.name for row in GRID]
    for name in names:
        if name not in known:
            raise unknown_name("row", name, known)
    for name in tables:
        if name not in TABLES:
            raise unknown_name("table", name, list(TABLES))
    if not names and not tables:
        return GRID
    return tuple(row for row in GRID if row.name in (CELO, *names) or row.table in tables)
