"""Does the cells of an evaluation: on all devices of this process, sharing the work with other processes.

A device at a time takes a cell, so that one compiles while another trains; a device without a cell of its own
helps with the chunks of another's. What is finished is in the folder and is not done again; a cell is locked
while it is worked on, and the lock ends with the process.
"""

from __future__ import annotations

import collections
import dataclasses
import gc
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax

from celo.evaluation.cell import CellResult
from celo.evaluation.cell_program import StopRequestedError
from celo.evaluation.memory import bytes_per_device, out_of_memory
from celo.evaluation.open_cell import OpenCell
from celo.evaluation.parts import Parts
from celo.evaluation.plan import Evaluation, Job
from celo.evaluation.resources import Resources
from celo.evaluation.settings import code_digest
from celo.evaluation.store import CellName

_PATIENCE = 1.0  # seconds between two looks at what another process is doing
_NAP = 0.1  # seconds a device without work sleeps


class Observer:
    """Hears what happens; this one does nothing. Calls come from several threads."""

    def declared(self, cells: int) -> None:
        """So many cells are asked for and can be done."""

    def advanced(self, device: int, name: CellName, fraction: float) -> None:
        """A device (by number) has come so far with a cell; 0 = it has begun."""

    def finished(self, cell: CellResult, how: str) -> None:
        """A cell is in the folder; ``how`` is "done", "found" or "baseline" (found among the baselines)."""

    def log(self, line: str) -> None:
        """Something is to be said."""


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a call of `run` ended.

    Attributes:
        missing: cells that are not in the folder.
        failures: why, for those that were tried.
        left_out: tasks whose data were not to be had, so that none of their cells were tried.
    """

    missing: tuple[CellName, ...]
    failures: tuple[tuple[CellName, str], ...]
    left_out: tuple[str, ...] = ()


def run(
    evaluation: Evaluation,
    resources: Resources | None = None,
    observer: Observer | None = None,
    stopped: Callable[[], bool] = lambda: False,
) -> Outcome:
    """Does all cells of an evaluation that are not done yet.

    Args:
        evaluation: what is asked for.
        resources: what the work may take.
        observer: hears what happens.
        stopped: asked now and then whether to stop; what is finished stays.

    Returns:
        What is missing: nothing, unless it was stopped or cells failed. A cell that fails, as for want of
        memory, stops no other.
    """
    observer = observer or Observer()
    jobs = evaluation.declare()
    observer.declared(len(jobs))
    interrupted = threading.Event()
    board = _Board(
        evaluation, jobs, resources or Resources(), observer, lambda: interrupted.is_set() or stopped()
    )
    devices = jax.local_devices()
    with ThreadPoolExecutor(len(devices)) as pool:
        try:
            for future in [pool.submit(board.work, i, device) for i, device in enumerate(devices)]:
                future.result()
        except BaseException:
            interrupted.set()  # or else leaving the block would wait for the end of the work
            raise
    missing = tuple(job.name for job in jobs if evaluation.store.read(job.name) is None)
    return Outcome(missing, tuple(board.failures), evaluation.left_out)


class _Board:
    """The jobs that wait, and the cells being worked on, for the threads of all devices."""

    def __init__(
        self,
        evaluation: Evaluation,
        jobs: Iterable[Job],
        resources: Resources,
        observer: Observer,
        stopped: Callable[[], bool],
    ):
        self.failures: list[tuple[CellName, str]] = []
        self._evaluation, self._observer = evaluation, observer
        self._stopped = stopped
        self._waiting = collections.deque(jobs)
        self._elsewhere: list[Job] = []
        self._open: list[OpenCell] = []
        self._active, self._look_again = 0, 0.0
        self._lock = threading.Lock()
        self._room = {
            device: dataclasses.replace(resources, memory=resources.memory or _memory(device))
            for device in jax.local_devices()
        }

    def work(self, number: int, device: Any) -> None:
        """What the thread of a device does, until there is nothing left to do."""
        while not self._stopped():
            job = self._next()
            if job is not None:
                self._try(number, device, job)
            elif not self._help(number, device):
                return

    def _next(self) -> Job | None:
        """A job that waits, or else one that another process had a while ago."""
        with self._lock:
            if not self._waiting and self._elsewhere and time.monotonic() > self._look_again:
                self._waiting.extend(self._elsewhere)
                self._elsewhere.clear()
            if not self._waiting:
                return None
            self._active += 1  # at once, or else another device might believe that all is done
            return self._waiting.popleft()

    def _help(self, number: int, device: Any) -> bool:
        """Works on a cell that another device has opened, or waits; False if nothing is to be waited for."""
        with self._lock:
            cell = next((cell for cell in self._open if cell.wants(device)), None)
            going_on = bool(self._active or self._elsewhere)
        if cell is not None:
            cell.work(device, self._report(number, cell.name), self._stopped)
        elif going_on:
            time.sleep(_NAP)
        return going_on

    def _try(self, number: int, device: Any, job: Job) -> None:
        """Finds a cell, or does it unless another process is doing it."""
        try:
            if self._found(job):
                return
            with self._evaluation.store.lock(job.name.file):
                if not self._found(job):  # by now another process may have finished it
                    self._do(number, device, job)
        except BlockingIOError:
            with self._lock:
                self._elsewhere.append(job)
                self._look_again = time.monotonic() + _PATIENCE
        except StopRequestedError:
            pass
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            self.failures.append((job.name, reason))
            self._observer.log(f"{job.name.words} failed: {reason}")
        finally:
            with self._lock:
                self._active -= 1

    def _found(self, job: Job) -> bool:
        self._parts(job).clear_earlier(self._evaluation.store.lock)
        store, baselines = self._evaluation.store, self._evaluation.baselines
        cell, how = store.read(job.name), "found"
        if cell is None and baselines is not None and not job.contestant.learned:
            cell, how = baselines.read(job.name), "baseline"
            if cell is not None:
                store.write(cell)
        if cell is None:
            return False
        self._parts(job).clear()  # of a process that was killed between the two, or of another folder's cell
        self._observer.finished(cell, how)
        return True

    def _do(self, number: int, device: Any, job: Job) -> None:
        room, result = self._room[device], None
        while result is None:
            result, room = self._attempt(number, device, job, room)
            if result is None:
                gc.collect()  # the error refers to the frames that hold the arrays, and these to the error
        evaluation = self._evaluation
        evaluation.store.write(result)
        self._parts(job).clear()
        if evaluation.baselines is not None and not result.learned:
            evaluation.baselines.write(result)
        self._observer.finished(result, "done")

    def _attempt(
        self, number: int, device: Any, job: Job, room: Resources
    ) -> tuple[CellResult | None, Resources]:
        """The cell, or None and what to begin it again with, as memory was short."""
        report = self._report(number, job.name)
        report(0.0)
        evaluation, log = self._evaluation, self._observer.log
        task = evaluation.task(job.name.task)
        cell = OpenCell(job, task, evaluation.settings, room, device, self._parts(job), log)
        with self._lock:
            self._open.append(cell)
        try:
            cell.work(device, report, self._stopped)
            digests = {"task_digest": job.task_digest, "code_digest": code_digest(task)}
            return dataclasses.replace(cell.result(), **digests), room
        except jax.errors.JaxRuntimeError as error:
            if cell.trainings == 1 or not out_of_memory(error):
                raise
        finally:
            with self._lock:
                self._open.remove(cell)
        fewer = cell.trainings // 2
        log(f"{job.name.words}: {cell.trainings} trainings at a time take too much memory; {fewer} are tried")
        return None, dataclasses.replace(room, trainings_at_once=fewer)

    def _parts(self, job: Job) -> Parts:
        return Parts(self._evaluation.store.folder, job.name, self._observer.log)

    def _report(self, number: int, name: CellName) -> Callable[[float], None]:
        return lambda fraction: self._observer.advanced(number, name, fraction)


def _memory(device: Any) -> int:
    """Bytes a device has; a byte where none is left, as one training is tried all the same."""
    return max(1, bytes_per_device(device))
