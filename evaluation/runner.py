"""Trains what a request lacks: on all devices of this process, sharing the work with other processes.

Each device takes the trainings of one optimizer on one task, compiles their program once, and trains them
batch by batch. A training is locked while it runs; the lock ends with the process. Finished batches are files
in the folder, so the same command continues after any interruption.
"""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import functools
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import jax

from celo.evaluation.optimizers import Optimizer
from celo.evaluation.requested import declare
from celo.evaluation.results import Training, write
from celo.evaluation.sharing import Rows, lock, lock_name, unlock
from celo.evaluation.sweep import Request, Sweep, Tasks, Wanted, missing_data, sweep
from celo.evaluation.training import Measured, Program, StopRequestedError, advised, fitting_program, made
from celo.meta.runs.lock import FileLock

_PATIENCE = 1.0  # seconds between two looks at what another process is doing


class Observer:
    """Receives progress; this one does nothing. Calls come from several threads."""

    def declared(self, trainings: int, found: int) -> None:
        """Gets the number of requested trainings, and of those in the folder already."""

    def compiling(self, device: int, task: str, optimizer: str) -> None:
        """A device, by number, compiles the program of an optimizer on a task."""

    def advanced(self, device: int, task: str, optimizer: str, fraction: float) -> None:
        """A device has done a fraction of a batch; 0 = it starts."""

    def finished(self, rows: Sequence[Training], how: str) -> None:
        """Rows are in the folder; ``how`` is "done", or "reused" from other rows with the same keys."""

    def log(self, line: str) -> None:
        """A line for the user."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a call of `run` ended: what is not in the folder now, and why.

    Attributes:
        folder: of the results.
        missing: number of missing trainings by task and label.
        failures: what failed in words, such as "adam on TASK", each with the reason.
        left_out: tasks skipped as their data are missing, each with the reason.
    """

    folder: Path
    missing: Mapping[tuple[str, str], int]
    failures: tuple[tuple[str, str], ...] = ()
    left_out: Mapping[str, str] = dataclasses.field(default_factory=dict)


def run(
    request: Request, observer: Observer | None = None, stopped: Callable[[], bool] = lambda: False
) -> Outcome:
    """Train everything requested that is neither in the folder nor in a folder of ``request.reuse``.

    Args:
        request: what is requested; everything is checked before the folder is created.
        observer: receives progress.
        stopped: called between device calls; true to stop. What is finished stays.

    Returns:
        What is missing: nothing, unless it was stopped or something failed, which stops nothing else.

    Raises:
        ValueError, FileNotFoundError, FileExistsError, DatasetNotFoundError: as
            `celo.evaluation.sweep.sweep` and `celo.evaluation.requested.declare`.
    """
    observer = observer or Observer()
    tasks = Tasks(request)
    asked = sweep(request, tasks)
    rows, waiting = begin(asked, observer)
    interrupted = threading.Event()
    board = _Board(asked, tasks, rows, waiting, observer, lambda: interrupted.is_set() or stopped())
    devices = jax.local_devices()
    with ThreadPoolExecutor(len(devices)) as pool:
        try:
            for future in [pool.submit(board.work, i, device) for i, device in enumerate(devices)]:
                future.result()
        except BaseException:
            interrupted.set()  # otherwise leaving the block waits for all the work
            raise
    return conclude(asked, rows, board.failures)


def begin(asked: Sweep, observer: Observer) -> tuple[Rows, tuple[Wanted, ...]]:
    """Record a request in its folder, and take over the rows of other folders that fit.

    Returns:
        The rows in the folder, and the trainings that are not there.
    """
    request = asked.request
    declare(request.folder, asked.requested, new_labels=request.new_labels)
    if asked.left_out:
        observer.log(f"{missing_data(asked.left_out)}\nThese tasks are skipped.")
    rows = Rows(request.folder, observer.log)
    before = asked.missing(rows.refresh())
    observer.declared(len(asked.trainings), len(asked.trainings) - len(before))
    keys = collections.defaultdict(set)
    for one in before:
        keys[one.optimizer].add(one.key)
    for folder in (*request.reuse, *filter(None, [request.share])):
        for found in Rows(folder, observer.log).with_keys({one.key for one in before}, set(asked.digests)):
            for label, wanted in keys.items():
                if own := [row for row in found if row.key in wanted]:
                    _take_over(own, asked.optimizers[label], rows, observer)
    return rows, asked.missing(rows.refresh())


def conclude(asked: Sweep, rows: Rows, failures: Iterable[tuple[str, str]]) -> Outcome:
    """The outcome of a sweep, by the rows in its folder now."""
    missing = collections.Counter((one.task, one.optimizer) for one in asked.missing(rows.refresh()))
    return Outcome(asked.request.folder, dict(missing), tuple(failures), asked.left_out)


def _take_over(rows: Sequence[Training], optimizer: Optimizer, into: Rows, observer: Observer) -> None:
    """Copy rows with the same keys under the label of an optimizer."""
    copied = [dataclasses.replace(row, optimizer=optimizer.label, spec=optimizer.spec) for row in rows]
    write(into.folder, copied)
    observer.finished(copied, "reused")


@dataclasses.dataclass(eq=False)
class _Job:
    """One optimizer on one task: trainings that wait, or that another process does, and devices at work."""

    task: str
    optimizer: Optimizer
    waiting: collections.deque[Wanted]
    elsewhere: list[Wanted] = dataclasses.field(default_factory=list)
    devices: int = 0

    @property
    def words(self) -> str:
        return f"{self.optimizer.label} on {self.task}"


class _Board:
    """The jobs, for the threads of all devices."""

    def __init__(
        self,
        asked: Sweep,
        tasks: Tasks,
        rows: Rows,
        waiting: Sequence[Wanted],
        observer: Observer,
        stopped: Callable[[], bool],
    ):
        self.failures: list[tuple[str, str]] = []
        self._asked, self._tasks, self._rows = asked, tasks, rows
        self._observer, self._stopped = observer, stopped
        self._lock = threading.Lock()
        groups = collections.defaultdict(collections.deque)
        for one in waiting:
            groups[one.task, one.optimizer].append(one)
        self._jobs = [_Job(task, asked.optimizers[label], own) for (task, label), own in groups.items()]

    def work(self, number: int, device: Any) -> None:
        """What the thread of a device does, until nothing is left."""
        while (job := self._next()) is not None:
            try:
                self._do(number, device, job)
            except StopRequestedError:
                return
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
                with self._lock:
                    job.waiting.clear()
                    job.elsewhere.clear()
                    self.failures.append((job.words, reason))
                self._observer.log(f"{job.words} failed: {reason}")
            finally:
                with self._lock:
                    job.devices -= 1

    def _next(self) -> _Job | None:
        """A job that no device works on, else the one with most left."""
        while not self._stopped():
            with self._lock:
                if ready := [job for job in self._jobs if job.waiting]:
                    job = max(ready, key=lambda job: (not job.devices, job.devices and len(job.waiting)))
                    job.devices += 1
                    return job
                if not any(job.elsewhere for job in self._jobs):
                    return None
            time.sleep(_PATIENCE)
            with self._lock:
                for job in self._jobs:
                    job.waiting.extend(job.elsewhere)
                    job.elsewhere.clear()
        return None

    def _do(self, number: int, device: Any, job: _Job) -> None:
        """Train batches of a job until none waits."""
        request, task, program = self._asked.request, None, None
        # The most trainings of a call, before its program is compiled.
        size = request.batch or (1 if device.platform == "cpu" else max(1, len(job.waiting)))
        while not self._stopped():
            with contextlib.ExitStack() as locks:
                batch = self._take(job, size, locks)
                if not batch:
                    return
                if task is None or program is None:
                    task = self._tasks.load(job.task)
                    self._observer.compiling(number, job.task, job.optimizer.label)
                    key, count = jax.random.key(request.seed), len(batch) + len(job.waiting)
                    plan = request.plan
                    program = fitting_program(job.optimizer, task, plan, key, count, device, request.batch)
                    size = program.size
                    for one, held in reversed(batch[size:]):  # those that do not fit
                        held.release()
                        with self._lock:
                            job.waiting.appendleft(one)
                trainings = [one for one, _ in batch[:size]]
                measured = self._train(program, job, trainings, number)
                self._keep(made(self._asked, trainings, task, program, measured), job)
                for one in trainings:
                    unlock(request.folder, one.key)

    def _take(self, job: _Job, count: int, locks: contextlib.ExitStack) -> list[tuple[Wanted, FileLock]]:
        """Up to ``count`` trainings of a job that nobody has done or is doing, with their locks."""
        taken: list[tuple[Wanted, FileLock]] = []
        while not taken:
            with self._lock:  # all at once: another device takes another batch
                chosen = [job.waiting.popleft() for _ in range(min(count, len(job.waiting)))]
            if not chosen:
                break
            for one in chosen:
                try:
                    held = locks.enter_context(lock(self._asked.request.folder, lock_name(one.key)))
                except BlockingIOError:
                    with self._lock:
                        job.elsewhere.append(one)
                else:
                    if not self._found(one, held):
                        taken.append((one, held))
        return taken

    def _found(self, one: Wanted, held: FileLock) -> bool:
        """Whether a training is in the folder by now, be it under another label."""
        labels, row = self._rows.find(one.key)
        if row is None:
            return False
        if one.optimizer not in labels:
            _take_over([row], self._asked.optimizers[one.optimizer], self._rows, self._observer)
        unlock(self._asked.request.folder, one.key)
        held.release()
        return True

    def _train(self, program: Program, job: _Job, batch: Sequence[Wanted], number: int) -> Measured:
        advanced = functools.partial(self._observer.advanced, number, job.task, job.optimizer.label)
        advanced(0.0)
        with advised(program.size):
            settings, seeds = [one.setting for one in batch], [one.seed for one in batch]
            return program.run(settings, seeds, advanced, self._stopped)

    def _keep(self, rows: list[Training], job: _Job) -> None:
        """Write rows to the folder, and those of baselines to the shared folder."""
        write(self._asked.request.folder, rows)
        if (share := self._asked.request.share) is not None and job.optimizer.baseline:
            try:
                write(share, rows)
            except OSError as error:
                self._observer.log(f"{share} gets no copy of {job.words} ({error})")
        self._observer.finished(rows, "done")
