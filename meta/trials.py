"""Several meta-trainings in one folder: what `celo sweep`, `celo ablate` and paired comparisons run."""

from __future__ import annotations

import dataclasses
import itertools
import os
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from celo.meta import trainer
from celo.meta.recipe import Recipe


@dataclasses.dataclass(frozen=True)
class Trial:
    """One meta-training among several.

    Attributes:
        label: name of its run folder.
        recipe: what it does.
        first_stage: label of the trial that its first stage is taken from; "" = it trains all stages.
        words: what it is, for the line printed before it starts.
    """

    label: str
    recipe: Recipe
    first_stage: str = ""
    words: str = ""


class Trained(NamedTuple):
    """What became of the trials.

    Attributes:
        finished: the result of every finished trial by its label.
        stopped: whether a signal stopped the work.
    """

    finished: dict[str, trainer.Result]
    stopped: bool


def run_trials(
    trials: Sequence[Trial],
    folder: str | os.PathLike[str],
    settings: trainer.Settings | None = None,
    say: Callable[[str], None] = print,
) -> Trained:
    """Carry out what is not finished, one trial after the other, each in a run folder below ``folder``.

    Several processes may share the folder. A trial that another process holds is tried once more at the end,
    and so is one whose first stage another process is training.

    Args:
        trials: the meta-trainings; the one that a first stage is taken from comes before.
        folder: folder of the run folders.
        settings: how to carry them out.
        say: called with a line for each trial.

    Returns:
        The finished trials, and whether a signal stopped the work: then the same call resumes.

    Raises:
        ValueError: as `check_settings` and `celo.meta.meta_train`.
    """
    check_settings(settings or trainer.Settings())
    finished: dict[str, trainer.Result] = {}
    busy: list[Trial] = []
    for trial in itertools.chain(trials, busy):  # a busy trial comes once more at the end
        say(f"{trial.label}: {trial.words}" if trial.words else trial.label)
        try:
            if trial.first_stage and trial.first_stage not in finished:
                raise BlockingIOError(f"its first stage {trial.first_stage} is not finished")
            result = trainer.meta_train(
                trial.recipe, Path(folder) / trial.label, _of(trial, folder, settings)
            )
        except BlockingIOError as error:
            say(f"{trial.label} is left to another process ({error})")
            if trial not in busy:
                busy.append(trial)
            continue
        if result.finished:
            finished[trial.label] = result
        if result.stopped or not result.finished:
            return Trained(finished, True)
    return Trained(finished, False)


def check_settings(settings: trainer.Settings) -> None:
    """Checks that settings suit several trials; ValueError for a `Settings.first_stage`, which is of one."""
    if settings.first_stage is not None:
        raise ValueError(f"first_stage is {settings.first_stage}, and there are several runs; give --init")


def _of(trial: Trial, folder: str | os.PathLike[str], settings: trainer.Settings | None) -> trainer.Settings:
    settings = settings or trainer.Settings()
    first = str(Path(folder) / trial.first_stage) if trial.first_stage else None
    return dataclasses.replace(settings, first_stage=first)


def share_first_stages(trials: Sequence[Trial]) -> list[Trial]:
    """The trials, and before them as trials of their own the first stages that several have in common."""
    with_more = [trial for trial in trials if len(trial.recipe.stages) > 1 and not trial.recipe.checkpoint(1)]
    counts = Counter(trial.recipe.first_stage() for trial in with_more)
    labels: dict[Recipe, str] = {}
    found: list[Trial] = []
    for trial in trials:
        first = trial.recipe.first_stage() if trial in with_more else None
        if first is not None and counts[first] > 1:
            if first not in labels:
                labels[first] = f"stage1_{trial.label}"
                found.append(Trial(labels[first], first))
            trial = dataclasses.replace(trial, first_stage=labels[first])
        found.append(trial)
    return found
