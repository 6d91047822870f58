"""Carries out rows of the grid: meta-trains each, and evaluates what comes out against tuned Adam.

Everything is in one folder: ``meta/ROW.SEED`` are run folders of meta-training, ``results`` is a folder of
`celo evaluate`, in which the label of a row is its name with the seed of its meta-training.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import NamedTuple

from celo.ablations.grid import Base, Row
from celo.evaluation.request import Request
from celo.evaluation.runner import Observer, Outcome, run
from celo.evaluation.scores import REFERENCE
from celo.meta.recipe import Recipe
from celo.meta.trainer import THETA_FILE, Settings, meta_train

META, RESULTS = "meta", "results"


class Trial(NamedTuple):
    """A row meta-trained from one seed.

    Attributes:
        row: which.
        seed: of meta-training.
    """

    row: Row
    seed: int

    @property
    def label(self) -> str:
        """Name of its folder, and its label among the results."""
        return f"{self.row.name}.{self.seed}"

    def recipe(self, base: Base) -> Recipe:
        """Its recipe, from the one that an optimizer starts from."""
        return dataclasses.replace(self.row.recipe(base), seed=self.seed)


def trials(rows: Sequence[Row], seeds: Sequence[int]) -> tuple[Trial, ...]:
    """Every row from every seed; all rows from one seed before the next.

    Raises:
        ValueError: there is no seed, or one is given twice.
    """
    if not seeds or len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds of meta-training are {tuple(seeds)}; expected one or more, all different")
    return tuple(Trial(row, seed) for seed in seeds for row in rows)


def train(
    asked: Sequence[Trial], base: Base, folder: Path, settings: Settings, log: Callable[[str], None]
) -> tuple[dict[Trial, Path], bool]:
    """Meta-trains what is not finished yet, one trial after the other.

    A trial that another process is at is left to it, and looked at once more in the end.

    Args:
        asked: the trials.
        base: the recipe an optimizer starts from.
        folder: of the grid.
        settings: of meta-training.
        log: gets a line about every trial.

    Returns:
        The meta-parameters of the trials that are finished, and whether a signal stopped the work.

    Raises:
        ValueError: a folder holds a run of another recipe.
    """
    finished: dict[Trial, Path] = {}
    busy: list[Trial] = []
    for trial in chain(asked, busy):  # what is busy comes once more at the end
        run_dir = folder / META / trial.label
        log(f"{trial.label}: {trial.row.change}")
        try:
            result = meta_train(trial.recipe(base), run_dir, settings)
        except BlockingIOError as error:
            log(f"{trial.label} is left to another process ({error})")
            if trial not in busy:
                busy.append(trial)
            continue
        if result.finished:
            finished[trial] = run_dir / THETA_FILE
        if result.stopped or not result.finished:
            return finished, True
    return finished, False


def evaluate(
    thetas: Mapping[Trial, Path], request: Request, observer: Observer, stopped: Callable[[], bool]
) -> Outcome:
    """Trains the tasks of a request with tuned Adam and with every trial's optimizer.

    Args:
        thetas: meta-parameters of the trials.
        request: tasks, settings and folder of the results; its optimizers are replaced.
        observer: hears what happens.
        stopped: asked now and then whether to stop.
    """
    learned = [f"{trial.label}:{path.absolute()}" for trial, path in thetas.items()]
    asked = dataclasses.replace(request, optimizers=(REFERENCE, *learned))
    return run(asked.evaluation(observer.log), asked.resources, observer, stopped)
