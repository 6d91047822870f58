"""Cells as tasks of a Ray cluster, one at a time on each worker; cells of workers that die are done again."""

from __future__ import annotations

import contextlib
import functools
import os
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax

from celo.evaluation.cluster_progress import Watch, tell
from celo.evaluation.plan import Job
from celo.evaluation.request import Request
from celo.evaluation.runner import Observer, Outcome, run
from celo.evaluation.store import CellName

_POLL = 1.0  # seconds
_PASSED_ON = ("JAX_COMPILATION_CACHE_DIR", "CELO_DATA", "CELO_CACHE", "HF_HOME", "HF_HUB_OFFLINE")


def run_on_ray(
    request: Request,
    observer: Observer | None = None,
    stopped: Callable[[], bool] = lambda: False,
    address: str | None = None,
    cpus: int = 1,
    retries: int = 3,
) -> Outcome:
    """Does all cells of an evaluation that are not done yet as tasks of Ray.

    The folder of results, data and checkpoints have to be at the same place on all machines. A cell gets a
    GPU where the cluster has any, and ``cpus`` CPUs.

    Args:
        request: what is asked for.
        observer: hears what happens.
        stopped: asked every second whether to stop; what is finished stays.
        address: of a cluster; "auto" = the one this machine is part of; None = a new one on this machine.
        cpus: CPUs per cell.
        retries: how often a cell is begun again after its worker died.

    Returns:
        What is missing: nothing, unless it was stopped or cells failed.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ConnectionError: there is no cluster at the address.
        ValueError: fewer than one CPU or a negative number of retries.
    """
    if cpus < 1 or retries < 0:
        raise ValueError(f"cpus is {cpus} and retries {retries}; expected at least 1 and 0")
    observer = observer or Observer()
    ray = _ray()
    # Before JAX has threads: starting a cluster forks, which threads do not survive.
    _connect(ray, address)
    try:
        return _run(ray, request, observer, stopped, cpus, retries)
    finally:
        ray.shutdown()


def _run(
    ray: Any,
    request: Request,
    observer: Observer,
    stopped: Callable[[], bool],
    cpus: int,
    retries: int,
) -> Outcome:
    evaluation = request.evaluation(observer.log)
    jobs = evaluation.declare()
    observer.declared(len(jobs))
    waiting, failures, missing = [], [], dict.fromkeys(job.name for job in jobs)
    for job in jobs:
        cell = evaluation.store.read(job.name)
        if cell is None:
            waiting.append(job)
        else:
            del missing[job.name]
            observer.finished(cell, "found")
    for job, done in _results(ray, request, waiting, observer, stopped, cpus, retries):
        for line in done.lines:
            observer.log(line)
        failures += [(job.name, reason) for reason in done.failures]
        # On another kind of device than the driver's the cell has another key.
        cell = evaluation.store.read(done.name or job.name)
        if cell is not None:
            del missing[job.name]
            observer.finished(cell, "done")
    return Outcome(tuple(missing), tuple(failures), evaluation.left_out)


class Done(NamedTuple):
    """What a worker tells.

    Attributes:
        name: of the cell, whose key is that of the worker's kind of device; None if the worker died.
        failures: what went wrong; nothing if all went well.
        lines: what was to be said.
    """

    name: CellName | None
    failures: list[str]
    lines: list[str]


class _Notes(Observer):
    """Keeps the lines, and passes on how far the cell is."""

    def __init__(self, advanced: Callable[[float], None]):
        self.lines: list[str] = []
        self._advanced = advanced

    def advanced(self, device: int, name: CellName, fraction: float) -> None:
        self._advanced(fraction)

    def log(self, line: str) -> None:
        self.lines.append(line)


def do_cell(request: Request, folder: str, cpus: int, advanced: Callable[[float], None]) -> Done:
    """What a worker does: the one cell of a request, on its GPU or its CPUs.

    Args:
        request: of one cell.
        folder: that relative paths are in.
        cpus: CPUs it has; without a GPU each trains on its own.
        advanced: gets the part of the cell that is done.
    """
    os.chdir(folder)
    notes = _Notes(advanced)
    with contextlib.suppress(RuntimeError):  # a worker that has done a cell before has its devices
        jax.config.update("jax_num_cpu_devices", cpus)
    evaluation = request.evaluation(notes.log)
    outcome = run(evaluation, request.resources, notes)
    return Done(evaluation.jobs[0].name, [reason for _, reason in outcome.failures], notes.lines)


def _ray() -> Any:
    try:
        import ray
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            "cells on a cluster need the package ray: pip install 'celo[cluster]'", name=error.name
        ) from error
    return ray


def _connect(ray: Any, address: str | None) -> None:
    try:
        ray.init(address=address or "local", log_to_driver=False, logging_level="ERROR")
    except (ConnectionError, ValueError) as error:
        raise ConnectionError(f"there is no Ray cluster at {address}: {error}") from error


def _results(
    ray: Any,
    request: Request,
    jobs: list[Job],
    observer: Observer,
    stopped: Callable[[], bool],
    cpus: int,
    retries: int,
) -> Iterator[tuple[Job, Done]]:
    """The jobs as they are finished, each with what its worker tells."""
    variables = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    options: dict[str, Any] = {
        "num_cpus": cpus,
        "num_gpus": 1 if ray.cluster_resources().get("GPU", 0) else 0,
        "max_retries": retries,
        "runtime_env": {"env_vars": variables | {"NPROC": str(cpus)}},
    }
    remote, watch = ray.remote(**options)(do_cell), Watch(ray, observer)
    running = {
        remote.remote(
            request.only(job.name.task, job.contestant.spec),
            os.getcwd(),
            cpus,
            functools.partial(tell, watch.actor, job.name),
        ): job
        for job in jobs
    }
    while running and not stopped():
        ready, _ = ray.wait(list(running), timeout=_POLL)
        watch.look([job.name for reference, job in running.items() if reference not in ready])
        for reference in ready:
            job = running.pop(reference)
            try:
                yield job, ray.get(reference)
            except ray.exceptions.RayError as error:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
                yield job, Done(None, [reason], [f"{job.name.words} failed: {reason}"])
    for reference in running:
        ray.cancel(reference, force=True)
