"""The grid of the Celo paper as data: a row is one change to the recipe.

Source: Moudgil et al. 2025 (arXiv 2501.12670), tables 1 to 6 and appendix A.4. Its scores are in
``published.toml``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from celo._core.names import unknown_name
from celo.ablations.published import Published, published
from celo.meta.recipe import Recipe

Base = Callable[[str], Recipe]  # name of a learned optimizer -> the recipe it starts from
Changes = dict[str, Any]  # of fields of a stage
CELO, CELO_LONG = "celo", "celo_2k"
TABLES = {
    "augmentation": "Task augmentation",
    "parts": "Parts of Celo",
    "optimizers": "Other learned optimizers, in one stage",
    "velo": "VeLO, meta-trained for as long and as released",
    "horizons": "Horizons of meta-training, in longer trainings",
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One change to the recipe.

    Attributes:
        name: name of the row, and of its folder.
        table: a key of `TABLES`.
        change: the change in words.
        optimizer: the learned optimizer.
        options: changes to its configuration, as NAME=VALUE.
        stages: changes to each of the two stages of its recipe; None leaves a stage out.
        weights: address of released weights, as `celo.load` takes it; "" = meta-trained here.
        long: whether it is evaluated in long trainings, past the horizons of meta-training.
    """

    name: str
    table: str
    change: str
    optimizer: str = CELO
    options: tuple[str, ...] = ()
    stages: tuple[Changes | None, Changes | None] = ({}, {})
    weights: str = ""
    long: bool = False

    def recipe(self, base: Base) -> Recipe:
        """The recipe of the row, from the one that its optimizer starts from."""
        found = base(self.optimizer)
        stages = tuple(
            dataclasses.replace(stage, **changes)
            for stage, changes in zip(found.stages, self.stages, strict=True)
            if changes is not None
        )
        return dataclasses.replace(found, stages=stages, options=(*found.options, *self.options))

    @property
    def published(self) -> Published:
        """What the paper reports for the row."""
        return published().get(self.name, Published())


BOTH: Changes = {"trains": "both"}  # the update rule and the scheduler at once
PLAIN: Changes = {**BOTH, "augmentation": "none"}


def _augmented(first: str, second: str) -> Row:
    """Celo with other levels of task augmentation in its two stages."""
    change = f"augmentation: {first} in stage 1, {second} in stage 2"
    stages = ({"augmentation": first}, {"augmentation": second})
    return Row(f"aug_{first}_{second}", "augmentation", change, stages=stages)


def _pair(name: str) -> tuple[Row, Row]:
    """Another learned optimizer, with and without task augmentation."""
    plain = f"{name}, no augmentation"
    return (
        Row(name, "optimizers", f"{name}, augmentation global", name, stages=(BOTH, None)),
        Row(f"{name}_plain", "optimizers", plain, name, stages=(PLAIN, None)),
    )


def _horizon(steps: int) -> tuple[Row, Row]:
    """Celo and VeLO-S, one row for each bound of the horizons of meta-training, in steps."""
    longest: Changes = {"horizon_high": steps}
    words = f"meta-trained on up to {steps:,} steps"
    end, one = f"{steps // 1000}k", ({**BOTH, **longest}, None)
    return (
        Row(f"celo_{end}", "horizons", f"celo, {words}", stages=(longest, longest), long=True),
        Row(f"velo_s_{end}", "horizons", f"velo_s, {words}", "velo_s", stages=one, long=True),
    )


_HORIZONS = (_horizon(2000), _horizon(1000), _horizon(5000))  # what the others are compared with comes first

GRID: tuple[Row, ...] = (
    Row(CELO, "parts", "Celo as it is"),
    Row("no_scheduler", "parts", "no scheduler: stage 1 alone", stages=({}, None)),
    Row("one_stage", "parts", "update rule and scheduler at once, in one stage", stages=(BOTH, None)),
    Row("tensor_features", "parts", "scheduler by tensor", options=("tensor_features=True",)),
    Row("linear", "parts", "step size linear in the scheduler", options=("form=linear",)),
    Row("linear_clip", "parts", "step size linear and clipped", options=("form=linear_clip",)),
    Row("celo_adam", "parts", "scheduler over Adam: stage 2 alone", "celo_adam", stages=(None, {})),
    _augmented("none", "none"),
    _augmented("global", "none"),
    _augmented("none", "global"),
    _augmented("tensor", "global"),
    _augmented("global", "tensor"),
    _augmented("mixed", "mixed"),
    _augmented("tensor", "tensor"),
    *_pair("nn_adam"),
    *_pair("rnn_mlp"),
    *_pair("adafac_mlp"),
    *_pair("velo_s"),
    Row("velo", "velo", "LSTM 512, bank 256, no augmentation", "velo", stages=(PLAIN, None)),
    Row(
        "velo_4000",
        "velo",
        "the released weights",
        "velo",
        options=("ff_mult=100.0",),
        weights="hf://amoudgl/velo-4000",
    ),
    *(row for pair in _HORIZONS for row in pair),
)
"""All rows; the others are compared with the first, those in long trainings with the first of those."""


def rows(names: Sequence[str] = (), tables: Sequence[str] = ()) -> tuple[Row, ...]:
    """Rows of the grid, in its order, by their names and whole `TABLES`; all rows without either.

    Celo itself is always among them, also in long trainings if there are any.

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
    chosen = [row for row in GRID if row.name in names or row.table in tables]
    always = [CELO, *([CELO_LONG] if any(row.long for row in chosen) else [])]
    return tuple(row for row in GRID if row in chosen or row.name in always)


def run_names(base: Base) -> Mapping[Recipe, str]:
    """Recipe of a row, or of its first stage alone, to the name of the run that carries it out.

    Rows with equal recipes are one run. Rows with an equal first stage take it from one run too: that of a
    row that is this stage alone, or one of its own.
    """
    trained = [(row.name, row.recipe(base)) for row in GRID if not row.weights]
    found: dict[Recipe, str] = {}
    for name, recipe in trained:
        found.setdefault(recipe, name)
    for name, recipe in trained:
        if len(recipe.stages) > 1:
            found.setdefault(recipe.first_stage(), f"stage1_{name}")
    return found
