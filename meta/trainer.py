"""Meta-training of all stages of a recipe in a run folder: resumable, tracked, validated."""

from __future__ import annotations

import os
import time
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
from celo.meta.cluster import Cluster
from celo.meta.first_stage import theta_after_first_stage
from celo.meta.initial_theta import CONFIG_KEY, check_recipe, initial_theta, stage_name, starting_points
from celo.meta.learner import Learner
from celo.meta.outer import OUTER_KEY, outer_digests
from celo.meta.program import MetaState, StageProgram, result_theta
from celo.meta.recipe import Recipe, Settings
from celo.meta.runs.files import number_from_json
from celo.meta.runs.fingerprint import arrays_fingerprint
from celo.meta.runs.run import RunFolder, check_run_folder, saved_steps
from celo.meta.runs.signals import StopRequest, stop_on_signals
from celo.meta.runs.trackers import Tracker, make_tracker
from celo.meta.tasks import make
from celo.meta.validation import Validation, dashboard_name

PyTree = Any
THETA_FILE = "theta.safetensors"
BEST_FILE = "theta_best.safetensors"


class Result(NamedTuple):
    """What meta-training made.

    Attributes:
        learned: the learned optimizer in the configuration of the last stage.
        theta: meta-parameters after the last meta-iteration done.
        path: the run folder.
        finished: false if a signal stopped the run; the same call resumes it.
        stopped: whether a signal asked to stop, even if the run had just finished.
        best: of the last stage by meta-validation, if the run is finished and validated: after how many
            meta-iterations, and the score, lower is better.
    """

    learned: LearnedOptimizer
    theta: PyTree
    path: Path
    finished: bool
    stopped: bool = False
    best: tuple[int, float] | None = None


def meta_train(
    recipe: Recipe,
    run_dir: str | os.PathLike[str],
    settings: Settings | None = None,
    cluster: Cluster | None = None,
) -> Result:
    """Meta-train a learned optimizer, or resume a run that was interrupted.

    The run folder gets config.json, metrics.jsonl, checkpoints/, the best theta of each stage by
    meta-validation, and at the end theta.safetensors (the last) and theta_best.safetensors (the best of the
    last stage). Whenever a run is killed, the same call with the same data and initial checkpoints gives the
    theta of the uninterrupted run, bit for bit, on the same number of devices.

    Args:
        recipe: what to do.
        run_dir: the run folder.
        settings: how to do it.
        cluster: workers that unroll the inner problems, see `celo.meta.cluster`; None = this process does.

    Returns:
        The optimizer, its meta-parameters and where they are.

    Raises:
        ValueError: the folder holds a run of another recipe, of other data or of other initial checkpoints,
            or something that is not a run; or `Settings.first_stage` is a run of another first stage.
        OSError: the folder cannot be created or written.
        FileNotFoundError: a checkpoint that a stage starts from does not exist.
        meta.data.DatasetNotFoundError: data are missing.

    Example::

        recipe = celo.meta.preset("quick")
        result = celo.meta.meta_train(recipe, "runs/mine")  # minutes; the same call resumes
        optimizer = result.learned.optimizer(result.theta, num_steps=1000)
    """
    settings = settings or Settings()
    # Everything is checked before the folder is created.
    check_run_folder(run_dir)
    check_recipe(recipe)
    starts, outers = starting_points(recipe, run_dir), outer_digests(recipe, run_dir)
    data = {name: make(name, settings.data_dir) for name in recipe.task_names()}
    # Names and paths stay the same when the files behind them change; digests do not.
    digests = {"data": {name: arrays_fingerprint(task) for name, task in data.items()}, CONFIG_KEY: starts}
    config = recipe.config() | digests | outers | ({} if cluster is None else cluster.config())
    theta = None
    if settings.first_stage is not None and not saved_steps(run_dir):
        theta = theta_after_first_stage(recipe, config, Path(settings.first_stage) / THETA_FILE)
    with RunFolder.open(run_dir, config, keep=settings.keep) as run:
        options = (settings.tracker_mode, settings.project, settings.group, "meta-train", dashboard_name)
        with make_tracker(settings.tracker, run, *options) as tracker, stop_on_signals() as stop:
            return _Training(recipe, settings, data, run, tracker, stop, cluster).go(theta)


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
        cluster: Cluster | None,
    ):
        self.cluster = cluster
        self.recipe, self.settings, self.run = recipe, settings, run
        self.tracker, self.stop, self.stages = tracker, stop, recipe.stages
        self.ends = recipe.ends()
        self.last = len(self.stages) - 1
        self.key = jax.random.key(recipe.seed)
        self.data = data
        validated = [data[name] for name in recipe.validation_tasks or recipe.tasks]
        self.validation = Validation(validated, recipe.validation_steps, recipe.validation_seeds)
        self._programs: dict[int, StageProgram | Learner] = {}
        self.bar: tqdm = tqdm(disable=True)

    def go(self, first_stage: PyTree | None = None) -> Result:
        """Run the meta-iterations that are left; ``first_stage`` is theta after the first stage, if known."""
        if (before := self.finished_before()) is not None:
            return before
        total = self.ends[-1]
        progress = self.settings.progress
        with tqdm(total=total, unit="it", disable=not progress, dynamic_ncols=True) as self.bar:
            step, state = self.first_state(first_stage)
            self.bar.initial = self.bar.n = step
            while step < total and not self.stopped():
                done, state = self.advance(step, state)
                self.bar.update(done - step)
                step = done
        self.run.save(step, state)
        return self.finish(step, state)

    def first_state(self, first_stage: PyTree | None) -> tuple[int, MetaState]:
        """Step and state of the last checkpoint, or of the beginning, which a first stage may precede."""

        def blank(step: int) -> MetaState:  # its values are replaced by those of the checkpoint
            return self.begin(self.recipe.stage_at(step), self.optimizer(0).init(self.key))

        found = self.run.restore_latest(blank)
        if found is not None:
            return found.step, found.state
        if first_stage is not None:
            state = self.begin(1, first_stage)
            self.run.save(self.ends[0], state)
            return self.ends[0], state
        self.say(0, "compiling")
        self.program(0).prepare()  # compiles while theta is drawn
        return 0, self.begin(0, self.initial_theta(0))

    def finished_before(self) -> Result | None:
        """The result of a finished run, with nothing compiled; None unless all its files are intact."""
        path = self.run.path
        files = [path / file for file in (THETA_FILE, BEST_FILE)[: 2 if self.recipe.validate_every else 1]]
        if saved_steps(path)[-1:] != [self.ends[-1]] or not all(file.exists() for file in files):
            return None
        try:
            found = [checkpoint.read(file) for file in files]
        except ValueError:
            return None  # damaged; it is written again from the checkpoint
        if any((one.header or {}).get("provenance", {}).get("recipe") != self.run.config for one in found):
            return None
        theta, best = jax.device_get(found[0].theta), self.run.best(self.slot(self.last))
        return Result(self.optimizer(self.last), theta, path, True, self.stop.requested, best)

    def initial_theta(self, number: int) -> PyTree:
        """The meta-parameters a stage starts from; their digest must be the one the run recorded."""
        return initial_theta(self.recipe, number, self.run.config[CONFIG_KEY].get(stage_name(number)))

    def optimizer(self, number: int) -> LearnedOptimizer:
        """The learned optimizer of a stage."""
        return self.recipe.learned(self.stages[number])

    def program(self, number: int) -> StageProgram | Learner:
        """The compiled programs of a stage; those of the stage before are dropped."""
        if number not in self._programs:
            key = jax.random.fold_in(self.key, number + 1)
            tasks = {name: self.data[name] for name in self.recipe.families(number)}
            stage, learned = self.stages[number], self.optimizer(number)
            if self.cluster is None:
                most = self.recipe.iterations_per_call
                outer = self.run.config.get(OUTER_KEY, {}).get(stage_name(number))
                made = StageProgram(stage, learned, list(tasks.values()), key, most, outer)
            else:
                digests, data_dir = self.run.config["data"], self.settings.data_dir
                made = self.cluster.program(stage, learned, tasks, digests, data_dir, key)
            self._programs = {number: made}
        return self._programs[number]

    def begin(self, number: int, theta: PyTree) -> MetaState:
        """State before the first meta-iteration of a stage."""
        self.say(number, "compiling")
        return self.program(number).begin(theta)

    def say(self, number: int, text: str) -> None:
        """Show what a stage is doing."""
        self.bar.set_postfix_str(f"stage {number + 1}: {text}")

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
        program: Any = self.program(number)  # each kind has measures of its own, for its metrics
        start = time.perf_counter()
        state, measures = program.run(state, done - step)
        seconds = (time.perf_counter() - start) / (done - step)
        row = {"stage": number + 1, "seconds_per_meta_iteration": seconds}
        row |= program.metrics(measures)
        ended = done == self.ends[number]
        if self.due(self.recipe.validate_every, step, done) or (ended and self.recipe.validate_every):
            self.say(number, "validating")
            row |= self.validate(number, done, self.theta(number, state))
        self.say(number, f"meta-loss {row['meta_loss']:.4f}")
        self.tracker.log(done, row)
        if ended and done < self.ends[-1]:
            chosen = self.recipe.checkpoint(number + 1)
            theta = self.initial_theta(number + 1) if chosen else self.theta(number, state)
            state = self.begin(number + 1, theta)
        if self.due(self.settings.checkpoint_every, step, done):
            self.run.save(done, state)
        return done, state

    def due(self, every: int, step: int, done: int) -> bool:
        """Whether a multiple of ``every`` lies in (step, done]."""
        return every > 0 and done // every > step // every

    def theta(self, number: int, state: MetaState) -> PyTree:
        """The meta-parameters of a state of a stage, on the host."""
        return result_theta(self.stages[number], self.optimizer(number), state)

    def slot(self, number: int) -> str:
        """The folder of the best theta of a stage."""
        return f"best_{stage_name(number)}"

    def validate(self, number: int, step: int, theta: PyTree) -> dict[str, float]:
        """Meta-validation of a theta; keeps it if it is the best of its stage."""
        score, losses = self.validation.validate(
            self.optimizer(number), theta, jax.random.fold_in(self.key, _VALIDATION)
        )
        if self.run.save_best(step, theta, score, slot=self.slot(number)):
            self.tracker.summarise({"best": score, "best_step": step})
        return {"validation": score} | {f"validation/{name}": loss for name, loss in losses.items()}

    def finish(self, step: int, state: MetaState) -> Result:
        """Write the meta-parameters if the run is finished."""
        finished = step == self.ends[-1]
        theta, learned = self.theta(self.recipe.stage_at(step), state), self.optimizer(self.last)
        best = self.run.restore_best(theta, slot=self.slot(self.last)) if finished else None
        if finished and self.run.is_writer:
            self.write(THETA_FILE, learned, theta)
            if best is not None:
                self.write(BEST_FILE, learned, best.state)
        score = None if best is None else (best.step, number_from_json(best.notes["metric"]))
        return Result(learned, theta, self.run.path, finished, self.stop.requested, score)

    def write(self, file: str, learned: LearnedOptimizer, theta: PyTree) -> None:
        """Write a checkpoint of meta-parameters with the configuration of the run as its provenance."""
        config = {name: getattr(learned, name) for name in names.options(LEARNED[self.recipe.optimizer])}
        path, provenance = self.run.path / file, {"recipe": self.run.config}
        celo.save(path, self.recipe.optimizer, config, theta, provenance=provenance)
        self.tracker.keep(path, "theta")
