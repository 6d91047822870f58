"""Learned optimizers against Adam at its best learning rate, on the same problems.

Trainings are done in jobs, one optimizer on one task: all seeds and all rates in one compiled scan. Jobs are
spread over the devices there are, one at a time on each, so one compiles while another trains.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import queue
import re
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax import Array

from celo.learned.base import LearnedOptimizer, check_theta
from evaluation.code_identity import code_identity
from evaluation.outcome import Outcome, Trainings
from evaluation.programs import train_adam, train_learned
from evaluation.training_store import TrainingStore, fingerprint
from meta.full_training import check_num_steps
from meta.tasks import ImageAutoencoder, ImageMLP, RecurrentLM
from meta.tasks.base import Task

PyTree = Any
Devices = queue.SimpleQueue[Any]  # of jax.Device, which type checkers take for a variable

ADAM = "Adam"
# Half powers of ten from 10^-6.5 to 1.
ADAM_GRID = tuple(10.0 ** (half / 2) for half in range(-13, 1))

_LOSS_UNITS = {ImageMLP: "nats", ImageAutoencoder: "mean squared error", RecurrentLM: "nats per token"}


class Entry(NamedTuple):
    """A learned optimizer to compare.

    Attributes:
        label: what to call it.
        learned: its configuration.
        theta: its meta-parameters.
    """

    label: str
    learned: LearnedOptimizer
    theta: PyTree


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What all tasks and optimizers of a comparison share.

    Attributes:
        seeds: trainings of each optimizer; every optimizer gets the same initial parameters and batches.
        learning_rates: constant learning rates of Adam.
        seed: of the random keys.
        trainings_at_once: the most trainings of Adam in one compiled call, for the sake of memory.
        folder: where finished trainings are kept, and found again by the same comparison; None = nowhere.
        log: gets a line about every job.
    """

    seeds: int = 3
    learning_rates: tuple[float, ...] = ADAM_GRID
    seed: int = 0
    trainings_at_once: int = 64
    folder: Path | None = None
    log: Callable[[str], None] = dataclasses.field(default=lambda line: None, repr=False)

    def __post_init__(self) -> None:
        """Checks the numbers."""
        for name in ("seeds", "trainings_at_once"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1")
        if not self.learning_rates:
            raise ValueError("a comparison needs at least one learning rate of Adam, got none")
        for rate in self.learning_rates:
            if not 0 < rate < math.inf:
                raise ValueError(f"a learning rate is {rate}; expected a positive finite number")

    def keys(self) -> Array:
        """(seeds,) random keys; those of the first seeds do not depend on how many there are."""
        return jax.vmap(jax.random.fold_in, in_axes=(None, 0))(
            jax.random.key(self.seed), np.arange(self.seeds)
        )


def compare(
    entries: Sequence[Entry],
    tasks: Sequence[Task],
    num_steps: int | Sequence[int],
    comparison: Comparison | None = None,
) -> list[Outcome]:
    """Trains every task with every learned optimizer and with Adam at every learning rate.

    Args:
        entries: the learned optimizers, of different labels.
        tasks: the tasks, of different names.
        num_steps: steps of each training, one number or one per task.
        comparison: seeds, rates, and where to keep finished trainings.

    Returns:
        The outcome of each task, in order.

    Raises:
        TypeError: if a number of steps is not a whole number.
        ValueError: for a number of steps below 1, no entry, no task, names or labels that are given twice,
            and meta-parameters that do not fit their optimizer; all before anything is compiled.
    """
    comparison = comparison or Comparison()
    horizons = _check(entries, tasks, num_steps)
    # Adam first: its jobs are the longest.
    jobs = [
        _Job(task, steps, entry)
        for entry in (None, *entries)
        for task, steps in zip(tasks, horizons, strict=True)
    ]
    done = dict(zip([(job.task.name, job.label) for job in jobs], _carry_out(jobs, comparison), strict=True))
    return [
        Outcome(
            task=task.name,
            loss_unit=_LOSS_UNITS.get(type(task), "loss of the task"),
            num_steps=steps,
            learning_rates=np.asarray(comparison.learning_rates),
            adam=done[task.name, ADAM],
            learned={entry.label: done[task.name, entry.label] for entry in entries},
        )
        for task, steps in zip(tasks, horizons, strict=True)
    ]


class _Job(NamedTuple):
    """One optimizer on one task; without an entry the optimizer is Adam."""

    task: Task
    num_steps: int
    entry: Entry | None

    @property
    def label(self) -> str:
        return ADAM if self.entry is None else self.entry.label

    @property
    def file(self) -> str:
        return f"{_slug(self.task.name)}--{_slug(self.label)}"

    def asked(self, comparison: Comparison) -> str:
        """The fingerprint of all that decides the result, the code included."""
        optimizer: Any = comparison.learning_rates
        if self.entry is not None:
            optimizer = (repr(self.entry.learned), self.entry.theta)
        seeds = (comparison.seeds, comparison.seed)
        return fingerprint(
            task=self.task,
            num_steps=self.num_steps,
            seeds=seeds,
            optimizer=optimizer,
            code=code_identity(),
        )


def _check(entries: Sequence[Entry], tasks: Sequence[Task], num_steps: int | Sequence[int]) -> list[int]:
    """The number of steps of each task, after checking all that was asked for."""
    if not tasks:
        raise ValueError("a comparison needs at least one task, got none")
    if not entries:
        raise ValueError("a comparison needs at least one learned optimizer, got none")
    _check_different("tasks", [task.name for task in tasks])
    _check_different("labels", [ADAM, *(entry.label for entry in entries)])
    horizons = list(num_steps) if isinstance(num_steps, Sequence) else [num_steps] * len(tasks)
    if len(horizons) != len(tasks):
        raise ValueError(f"num_steps has {len(horizons)} numbers for {len(tasks)} tasks; expected one each")
    for entry in entries:
        check_theta(entry.learned, entry.theta)
    return [check_num_steps(steps) for steps in horizons]


def _check_different(what: str, names: Sequence[str]) -> None:
    """Refuses names that are equal, or would be as file names."""
    if len({_slug(name) for name in names}) < len(names):
        raise ValueError(f"the {what} of a comparison need different names, got {', '.join(names)}")


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9_.]+", "-", name.lower())


def _carry_out(jobs: Sequence[_Job], comparison: Comparison) -> list[Trainings]:
    """Does the jobs, as many at a time as there are devices, and returns their results in order."""
    devices: Devices = queue.SimpleQueue()
    for device in jax.local_devices():
        devices.put(device)
    pool = ThreadPoolExecutor(len(jax.local_devices()))
    try:
        return list(pool.map(lambda job: _do(job, comparison, devices), jobs))
    finally:
        pool.shutdown(cancel_futures=True)


def _do(job: _Job, comparison: Comparison, devices: Devices) -> Trainings:
    """Does one job on a free device, or reads its result if it was done before."""
    folder = comparison.folder
    store = None if folder is None else TrainingStore(folder / "trainings", comparison.log)
    asked = job.asked(comparison)
    found = None if store is None else store.load(job.file, asked)
    if found is not None:
        comparison.log(f"{job.label} on {job.task.name}: already done")
        return found
    began = time.perf_counter()
    with _borrowed(devices) as device:
        trainings = _train(job, comparison, device)
    if store is not None:
        store.save(job.file, asked, trainings)
    comparison.log(
        f"{job.label} on {job.task.name}: {trainings.final.size} trainings of {job.num_steps} steps, "
        f"{time.perf_counter() - began:.0f} s"
    )
    return trainings


def _train(job: _Job, comparison: Comparison, device: Any) -> Trainings:
    task, keys = jax.device_put((job.task, comparison.keys()), device)
    if job.entry is None:
        rates = np.asarray(comparison.learning_rates)
        return train_adam(task, rates, keys, job.num_steps, comparison.trainings_at_once)
    # By way of the host: meta-training may have left it on several devices.
    theta = jax.device_put(jax.tree.map(np.asarray, job.entry.theta), device)
    return train_learned(job.entry.learned, theta, task, keys, job.num_steps)


@contextlib.contextmanager
def _borrowed(devices: Devices) -> Iterator[Any]:
    device = devices.get()
    try:
        yield device
    finally:
        devices.put(device)
