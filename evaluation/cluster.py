"""The same work on a Ray cluster: each Ray task trains one optimizer on one task, and writes rows as it goes.

The folder of results, data and checkpoints are at the same place on all machines. A Ray task whose worker
dies is retried and continues from the rows it wrote; after the driver dies, the same command continues.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Callable
from typing import Any

import jax

from celo.evaluation.requested import declare
from celo.evaluation.runner import Observer, Outcome, begin, conclude, run
from celo.evaluation.sharing import Rows
from celo.evaluation.sweep import Request, missing_data, sweep
from celo.meta.cluster import ray_session, worker_options

_POLL = 1.0  # seconds


def run_on_ray(
    request: Request,
    observer: Observer | None = None,
    stopped: Callable[[], bool] = lambda: False,
    address: str | None = None,
    cpus: int = 1,
    retries: int = 3,
) -> Outcome:
    """Train everything requested that is missing, on a Ray cluster; see `celo.evaluation.runner.run`.

    Args:
        request: what is requested.
        observer: receives progress.
        stopped: called every second; true to stop. What is finished stays.
        address: address of a cluster; "auto" = the one this machine is part of; None = a new one here.
        cpus: CPUs per Ray task, which gets a GPU too where the cluster has any.
        retries: how often a Ray task is retried after its worker died.

    Raises:
        ModuleNotFoundError: Ray is not installed.
        ConnectionError: there is no cluster at the address.
        ValueError: fewer than one CPU or a negative number of retries.
    """
    if cpus < 1 or retries < 0:
        raise ValueError(f"cpus is {cpus} and retries {retries}; expected at least 1 and 0")
    with ray_session(address) as ray:
        return _run(ray, request, observer or Observer(), stopped, cpus, retries)


def jobs(request: Request, log: Callable[[str], None] = lambda line: None) -> list[tuple[str, str]]:
    """The pairs of a task and the text of an optimizer to run as one shell command each.

    The request is recorded in its folder, so that a report lists what is missing; errors as those of `run`.
    """
    asked = sweep(request)
    declare(request.folder, asked.requested, new_labels=request.new_labels)
    if asked.left_out:
        log(missing_data(asked.left_out))
    return [(task, one.spec) for task in asked.digests for one in asked.optimizers.values()]


def train_pair(request: Request, folder: str, cpus: int) -> Outcome:
    """What a worker does: train the one pair of a request, whose relative paths are in ``folder``.

    Without a GPU each of its CPUs is a device.
    """
    os.chdir(folder)
    with contextlib.suppress(RuntimeError):  # a worker that trained before has its devices
        jax.config.update("jax_num_cpu_devices", cpus)
    return run(request)


def _run(
    ray: Any, request: Request, observer: Observer, stopped: Callable[[], bool], cpus: int, retries: int
) -> Outcome:
    asked = sweep(request)
    rows, waiting = begin(asked, observer)
    remote = ray.remote(max_retries=retries, **worker_options(ray, cpus))(train_pair)
    running = {}
    for task, label in dict.fromkeys((one.task, one.optimizer) for one in waiting):
        spec = asked.optimizers[label].spec
        own = dataclasses.replace(request, tasks=(task,), optimizers=(spec,), reuse=())
        running[remote.remote(own, os.getcwd(), cpus)] = f"{label} on {task}"
    seen = {*rows.refresh()}
    failures: list[tuple[str, str]] = []
    while running and not stopped():
        ready, _ = ray.wait(list(running), timeout=_POLL)
        _report(rows, seen, observer)
        for reference in ready:
            words = running.pop(reference)
            try:
                failures += ray.get(reference).failures
            except ray.exceptions.RayError as error:
                reason = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
                observer.log(f"{words} failed: {reason}")
                failures.append((words, reason))
    for reference in running:
        ray.cancel(reference, force=True)
    _report(rows, seen, observer)
    return conclude(asked, rows, failures)


def _report(rows: Rows, seen: set[tuple[str, str]], observer: Observer) -> None:
    """Report the rows that workers wrote since the last call."""
    new = {*rows.refresh()} - seen
    seen |= new
    for key in {key for key, _ in new}:
        found = rows.find(key)[1]
        if found is not None:
            observer.finished([found], "done")
