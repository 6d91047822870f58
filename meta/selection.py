"""Comparison of finished meta-trainings by whole trainings of fresh problems, the same for all of them."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

import celo
from celo._core.files import write_atomically
from celo.meta.recipe import Recipe
from celo.meta.tasks import make
from celo.meta.trainer import BEST_FILE, THETA_FILE, Result
from celo.meta.validation import Validation

FILE = "selection.json"
_KEY = 1 << 17  # neither of meta-training nor of the validations along the way


def check_validation(recipe: Recipe) -> None:
    """Checks that no task of a recipe's validation is meta-trained on; ValueError with those that are."""
    families = {name for number in range(len(recipe.stages)) for name in recipe.families(number)}
    if trained := sorted(families.intersection(recipe.validation_tasks or recipe.tasks)):
        raise ValueError(f"{', '.join(trained)}: meta-trained on, and so no task to choose by")


class Selected(NamedTuple):
    """What a meta-training is worth.

    Attributes:
        theta: file of the meta-parameters: the best by the validations along the way, else the last.
        mean: mean over tasks of the final training loss; lower is better.
        losses: the same by task.
    """

    theta: Path
    mean: float
    losses: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Selection:
    """Fresh problems on which several meta-parameters are compared.

    Initial parameters and batches are the same for all meta-parameters, whatever their seeds, and are not
    those of the validations along the way, by which each run chose its best theta.

    Attributes:
        tasks: names of the tasks.
        steps: steps of a training.
        seeds: trainings per task.
        data_dir: folder of datasets; None = $CELO_DATA, then the hub.
    """

    tasks: tuple[str, ...]
    steps: int
    seeds: int
    data_dir: str | None = None

    @classmethod
    def of(cls, recipe: Recipe, data_dir: str | None = None) -> Selection:
        """The tasks, steps and seeds of a recipe's validation."""
        tasks = recipe.validation_tasks or recipe.tasks
        return cls(tasks, recipe.validation_steps, recipe.validation_seeds, data_dir)

    @functools.cached_property
    def _validation(self) -> Validation:
        data = [make(name, self.data_dir) for name in self.tasks]
        return Validation(data, self.steps, self.seeds)

    def of_run(self, result: Result) -> Selected:
        """What a finished run is worth; kept in its folder, so that it is computed once."""
        best = result.path / BEST_FILE
        theta = best if best.is_file() else result.path / THETA_FILE
        file, asked = result.path / FILE, self._asked(theta)
        kept = json.loads(file.read_text()) if file.is_file() else {}
        if kept.get("asked") != asked:
            learned, meta_parameters = celo.load(theta)
            key = jax.random.fold_in(jax.random.key(0), _KEY)
            losses = self._validation.validate(learned, meta_parameters, key)[1]
            kept = {"asked": asked, "losses": losses}
            write_atomically(file, json.dumps(kept, indent=1).encode())
        return Selected(theta, float(np.mean(list(kept["losses"].values()))), kept["losses"])

    def _asked(self, theta: Path) -> dict[str, object]:
        digest = hashlib.sha256(theta.read_bytes()).hexdigest()
        return {"tasks": list(self.tasks), "steps": self.steps, "seeds": self.seeds, "theta": digest}
