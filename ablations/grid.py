"""The grid of the Celo paper as data: a row is one change to the recipe, with the score the paper reports.

Source: Moudgil et al. 2025 (arXiv 2501.12670), tables 1 to 4 and 6; where tables differ, as for two other
optimizers, tables 1 and 4 count, not 2a. Scores are the interquartile means of the final-loss score over 17
tasks and 3 seeds, after 24 hours of meta-training on one GPU.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

from celo._core.names import unknown_name
from celo.meta.recipe import Recipe

Base = Callable[[str], Recipe]  # name of a learned optimizer -> the recipe it starts from
Changes = dict[str, Any]  # of fields of a stage
CELO = "celo"
TABLES = {
    "augmentation": "Task augmentation",
    "parts": "Parts of Celo",
    "optimizers": "Learned optimizers in one stage of as many meta-iterations",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One change to the recipe.

    Attributes:
        name: name of the row, and of its folder.
        table: a key of `TABLES`.
        change: the change in words.
        published: interquartile mean of the final-loss score in the paper.
        optimizer: the learned optimizer.
        options: changes to its configuration, as NAME=VALUE.
        stages: changes to each stage of its recipe. With one entry there is one stage, the first, with the
            meta-iterations of all stages together.
    """

    name: str
    table: str
    change: str
    published: float
    optimizer: str = CELO
    options: tuple[str, ...] = ()
    stages: tuple[Changes, ...] = ({}, {})

    def recipe(self, base: Base) -> Recipe:
        """The recipe of the row, from the one that its optimizer starts from."""
        found = base(self.optimizer)
        stages = found.stages
        if len(self.stages) == 1:
            stages = (dataclasses.replace(stages[0], iterations=found.ends()[-1]),)
        options = (*found.options, *self.options)
        return dataclasses.replace(found, stages=stages, options=options).change_stages(*self.stages)


BOTH: Changes = {"trains": "both"}  # one stage that trains the update rule and the scheduler at once


def _augmented(first: str, second: str, published: float) -> Row:
    """Celo with other levels of task augmentation in its two stages."""
    change = f"augmentation: {first} in stage 1, {second} in stage 2"
    stages = ({"augmentation": first}, {"augmentation": second})
    return Row(f"aug_{first}_{second}", "augmentation", change, published, stages=stages)


def _pair(name: str, plain: float, augmented: float) -> tuple[Row, Row]:
    """Another learned optimizer, with and without task augmentation."""
    other, none = f"{name}_plain", {**BOTH, "augmentation": "none"}
    return (
        Row(name, "optimizers", f"{name}, augmentation global", augmented, name, stages=(BOTH,)),
        Row(other, "optimizers", f"{name}, no augmentation", plain, name, stages=(none,)),
    )


GRID: tuple[Row, ...] = (
    Row(CELO, "parts", "Celo as it is", 1.20),
    Row("no_scheduler", "parts", "no scheduler", 0.99, stages=({"trains": "rule"},)),
    Row("one_stage", "parts", "update rule and scheduler at once, in one stage", 0.89, stages=(BOTH,)),
    Row("tensor_features", "parts", "scheduler by tensor", 1.19, options=("tensor_features=True",)),
    Row("linear", "parts", "step size linear in the scheduler", 1.07, options=("form=linear",)),
    Row("linear_clip", "parts", "step size linear and clipped", 1.05, options=("form=linear_clip",)),
    Row("celo_adam", "parts", "Adam as the update rule", 1.06, "celo_adam", stages=(BOTH,)),
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
"""All rows; every other one is compared with the first."""


def rows(names: Sequence[str] = (), tables: Sequence[str] = ()) -> tuple[Row, ...]:
    """Rows of the grid, in its order, by their names and whole `TABLES`; all rows without either.

    Celo itself is always among them.

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
