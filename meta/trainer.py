"""Meta-training: the stages of a recipe, resumable, tracked, validated, in a run folder."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils
from tqdm import tqdm

import celo
from celo import checkpoint
from celo._core import names
from celo.learned import LEARNED
from celo.learned.base import LearnedOptimizer
from celo.meta.runs.signals import StopRequest, stop_on_signals
from celo.meta.initial_theta import CONFIG_KEY, check_recipe, initial_theta, stage_name, starting_points
from celo.meta.program import Measures, MetaState, StageProgram
from celo.meta.recipe import Recipe
from celo.meta.runs.fingerprint import arrays_fingerprint
from celo.meta.runs.run import RunFolder, saved_steps
from celo.meta.runs.trackers import TRACKERS, Tracker, make_tracker
from celo.meta.runs.wandb_tracker import mode_of
from celo.meta.tasks import make
from celo.meta.validation import Validation

PyTree = Any
THETA_FILE = "theta.safetensors"
BEST_FILE = "theta_best.safetensors"


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a run is carried out; none of it changes the result.

    Attributes:
        data_dir: folder of datasets, see `celo.meta.data`; None = $CELO_DATA, then the hub.
        tracker: "jsonl" or "none" (the run's own metrics.jsonl, always written), or "wandb".
        tracker_mode: of wandb: online, offline or disabled; default the variable WANDB_MODE, then online.
        project: wandb project.
        group: wandb group.
        checkpoint_every: meta-iterations between checkpoints; they are written between compiled calls.
        keep: checkpoints kept.
        progress: whether to show a progress bar.
    """

    data_dir: str | None = None
    tracker: str = "jsonl"
    tracker_mode: str | None = None
    project: str = "celo"
    group: str | None = None
    checkpoint_every: int = 200
    keep: int = 3
    progress: bool = True

    def __post_init__(self) -> None:
        """Checks names and numbers."""
        if self.tracker not in TRACKERS:
            raise names.unknown_name("tracker", self.tracker, TRACKERS)
        if self.tracker == "wandb" or self.tracker_mode is not None:
            mode_of(self.tracker_mode)
        for name in ("checkpoint_every", "keep"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")


class Result(NamedTuple):
    """What meta-training made.

    Attributes:
        learned: the learned optimizer in the configuration of the last stage.
        theta: meta-parameters after the last meta-iteration done.
        path: the run folder.
        finished: false if a signal stopped the run; the same call goes on.
        stopped: whether a signal asked to stop, be it too late to leave anything undone.
    """

    learned: LearnedOptimizer
    theta: PyTree
    path: Path
    finished: bool
    stopped: bool = False


def meta_train(recipe: Recipe, run_dir: str | os.PathLike[str], settings: Settings | None = None) -> Result:
    """Meta-trains a learned optimizer, or goes on with a run that was interrupted.

    The run folder gets config.json, metrics.jsonl, checkpoints/, the best theta of each stage by
    meta-validation, and at the end theta.safetensors (the last) and theta_best.safetensors (the best of the
    last stage). Whatever the moment a run is killed, the same call with the same data and initial checkpoints
    gives the theta that the uninterrupted run gives, bit for bit, on the same number of devices.

    Args:
        recipe: what to do.
        run_dir: the run folder.
        settings: how to do it.

    Returns:
        The optimizer, its meta-parameters and where they are.

    Raises:
        ValueError: the folder holds a run of another recipe, of other data or of other initial checkpoints,
            or something else.
        FileNotFoundError: a checkpoint that a stage will start from is not there.
        meta.data.DatasetNotFoundError: data are missing.

    Example::

        recipe = meta.recipe.preset("quick")
        result = meta_train(recipe, "runs/mine")  # minutes; the same call goes on where it stopped
        optimizer = result.learned.optimizer(result.theta, num_steps=1000)
    """
    settings = settings or Settings()
    # Before there is a folder, nothing is left of a run that cannot be.
    check_recipe(recipe)
    starts = starting_points(recipe, run_dir)
    data = {name: make(name, settings.data_dir) for name in recipe.task_names()}
    # Names and paths stay the same when what they lead to is changed; digests do not.
    digests = {"data": {name: arrays_fingerprint(task) for name, task in data.items()}, CONFIG_KEY: starts}
    with RunFolder.open(run_dir, recipe.config() | digests, keep=settings.keep) as run:
        options = (settings.tracker_mode, settings.project, None, settings.group)
        with make_tracker(settings.tracker, run, *options) as tracker, stop_on_signals() as stop:
            return _Training(recipe, settings, data, run, tracker, stop).go()


# Number of the random key of meta-validation; 0 draws theta, 1 and up are the stages.
_VALIDATION = 1 << 16


class _Training:
    """One call of `meta_train`: the loop over compiled calls and what happens between them."""

    def __init__(
        self,
        recipe: Recipe,
        settings: Settings,
        data: dict[str, Any],
        run: RunFolder,
        tracker: Tracker,
        stop: StopRequest,
    ):
        self.recipe, self.settings, self.run = recipe, settings, run
        self.tracker, self.stop, self.stages = tracker, stop, recipe.plan()
        self.ends = recipe.ends()
        self.key = jax.random.key(recipe.seed)
        self.data = data
        validated = [data[name] for name in recipe.validation_tasks or recipe.tasks]
        self.validation = Validation(validated, recipe.validation_steps, recipe.validation_seeds)
        self._programs: dict[int, StageProgram] = {}

    def go(self) -> Result:
        """Does all that is left of the run."""
        if (before := self.finished_before()) is not None:
            return before
        found = self.run.restore_latest(lambda step: self.begin(self.recipe.stage_at(step), self.any_theta()))
        if found is None:
            self.program(0).prepare()  # compiles while theta is drawn
        step, state = found if found is not None else (0, self.begin(0, self.initial_theta(0)))
        total = self.ends[-1]
        bar = tqdm(
            total=total, initial=step, unit="it", disable=not self.settings.progress, dynamic_ncols=True
        )
        with bar:
            while step < total and not self.stopped():
                done, state = self.advance(step, state)
                bar.update(done - step)
                bar.set_postfix_str(self.summary)
                step = done
        self.run.save(step, state)
        return self.finish(state, step == total)

    def finished_before(self) -> Result | None:
        """What a run that has come to its end left, with nothing compiled; None unless all of it is there."""
        path, number = self.run.path, len(self.stages) - 1
        files = [path / file for file in (THETA_FILE, BEST_FILE)[: 2 if self.recipe.validate_every else 1]]
        if saved_steps(path)[-1:] != [self.ends[-1]] or not all(file.exists() for file in files):
            return None
        try:
            found = [checkpoint.read(file) for file in files]
        except ValueError:
            return None  # damaged; it is written again from the checkpoint
        if any((one.header or {}).get("provenance", {}).get("recipe") != self.run.config for one in found):
            return None
        return Result(self.optimizer(number), jax.device_get(found[0].theta), path, True, self.stop.requested)

    def initial_theta(self, number: int) -> PyTree:
        """The meta-parameters a stage starts from, which must still be those its run was begun with."""
        return initial_theta(self.recipe, number, self.run.config[CONFIG_KEY].get(stage_name(number)))

    def optimizer(self, number: int) -> LearnedOptimizer:
        """The learned optimizer of a stage."""
        return self.recipe.learned(self.stages[number].part)

    def program(self, number: int) -> StageProgram:
        """The compiled programs of a stage."""
        if number not in self._programs:
            key = jax.random.fold_in(self.key, number + 1)
            tasks = [self.data[name] for name in self.recipe.families(number)]
            self._programs[number] = StageProgram(
                self.stages[number], self.optimizer(number), tasks, key, self.recipe.iterations_per_call
            )
        return self._programs[number]

    def begin(self, number: int, theta: PyTree) -> MetaState:
        """State before the first meta-iteration of a stage."""
        return self.program(number).begin(theta)

    def any_theta(self) -> PyTree:
        """Meta-parameters of the right shapes, for a state whose values are about to be replaced."""
        return self.optimizer(0).init(self.key)

    def stopped(self) -> bool:
        """Whether a signal asked any of the processes to stop: they have to stop after the same call."""
        if jax.process_count() == 1:
            return self.stop.requested
        return bool(np.any(multihost_utils.process_allgather(np.asarray(self.stop.requested))))

    def advance(self, step: int, state: MetaState) -> tuple[int, MetaState]:
        """One compiled call and what is due after it: validation, metrics, the next stage, a checkpoint."""
        number = self.recipe.stage_at(step)
        size = self.recipe.iterations_per_call
        # Calls end at multiples of their size, wherever a run resumed, so that rows of metrics are the same.
        done = min((step // size + 1) * size, self.ends[number])
        began = time.perf_counter()
        state, measures = self.program(number).run(state, done - step)
        seconds = (time.perf_counter() - began) / (done - step)
        row = {"stage": number + 1, "seconds_per_meta_iteration": seconds}
        row |= describe(measures, self.program(number).names)
        self.summary = f"stage {number + 1}, meta-loss {row['meta_loss']:.4f}"
        ended = done == self.ends[number]
        if self.due(self.recipe.validate_every, step, done) or (ended and self.recipe.validate_every):
            row |= self.validate(number, done, state.theta)
        self.tracker.log(done, row)
        if ended and done < self.ends[-1]:
            chosen = self.recipe.checkpoint(number + 1)
            theta = self.initial_theta(number + 1) if chosen else jax.device_get(state.theta)
            state = self.begin(number + 1, theta)
        if self.due(self.settings.checkpoint_every, step, done):
            self.run.save(done, state)
        return done, state

    def due(self, every: int, step: int, done: int) -> bool:
        """Whether a multiple of ``every`` lies in (step, done]."""
        return every > 0 and done // every > step // every

    def validate(self, number: int, step: int, theta: PyTree) -> dict[str, float]:
        """Meta-validation of a theta; keeps it if it is the best of its stage."""
        theta = jax.device_get(theta)
        score, losses = self.validation.validate(
            self.optimizer(number), theta, jax.random.fold_in(self.key, _VALIDATION)
        )
        self.run.save_best(step, theta, score, slot=f"best_stage{number + 1}")
        return {"validation": score} | {f"validation/{name}": loss for name, loss in losses.items()}

    def finish(self, state: MetaState, finished: bool) -> Result:
        """Writes the meta-parameters if the run has come to its end."""
        number = len(self.stages) - 1
        theta, learned = jax.device_get(state.theta), self.optimizer(number)
        best = self.run.restore_best(theta, slot=f"best_stage{number + 1}") if finished else None
        if finished and self.run.is_writer:
            self.write(THETA_FILE, learned, theta)
            if best is not None:
                self.write(BEST_FILE, learned, best[1])
        return Result(learned, theta, self.run.path, finished, self.stop.requested)

    def write(self, file: str, learned: LearnedOptimizer, theta: PyTree) -> None:
        """Writes a checkpoint of meta-parameters that says where it comes from."""
        config = {name: getattr(learned, name) for name in names.options(LEARNED[self.recipe.optimizer])}
        celo.save(
            self.run.path / file, self.recipe.optimizer, config, theta, provenance={"recipe": self.run.config}
        )


def describe(measures: Measures, families: Sequence[str]) -> dict[str, Any]:
    """The row of metrics of one compiled call.

    Args:
        measures: of the meta-iterations of the call.
        families: names of the task families, in the order of the groups.

    Returns:
        Means over the meta-iterations: ``meta_loss``, ``loss/FAMILY``, ``gradient_norm``, ``diverged`` (share
        of problems); and arrays over meta-iterations, families and problems: ``eta``, ``horizon``.
    """
    groups = measures.groups
    loss = np.concatenate([np.mean(group.loss, axis=(0, 2)) for group in groups])
    eta = [x for group in groups for x in (group.eta_low, group.eta_mean, group.eta_high)]
    return {
        "meta_loss": float(np.mean(loss)),
        "gradient_norm": float(np.mean(measures.gradient_norm)),
        "diverged": float(np.mean(np.concatenate([np.ravel(group.diverged) for group in groups]))),
        **{f"loss/{name}": float(value) for name, value in zip(families, loss, strict=True)},
        "eta": np.concatenate([np.ravel(x) for x in eta]),
        "horizon": np.concatenate([np.ravel(group.horizon) for group in groups]),
    }
