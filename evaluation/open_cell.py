"""A cell while it is worked on: its chunks, handed out to devices, and their results put together."""

from __future__ import annotations

import collections
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from celo.evaluation.cell import CellResult
from celo.evaluation.cell_program import CellProgram, Chunk, Measured, Size, at_once, largest_size
from celo.evaluation.loss_units import loss_unit
from celo.evaluation.memory import out_of_memory
from celo.evaluation.parts import Parts
from celo.evaluation.plan import Job
from celo.evaluation.resources import Resources
from celo.evaluation.settings import Settings
from celo.meta.runs.provenance import provenance
from celo.meta.tasks.base import Task


class OpenCell:
    """A cell being worked on, by several devices at once if it has several chunks.

    The first device compiles the program, for the largest chunk that fits its memory. Chunks that an
    interrupted process has left are taken over.

    Args:
        job: which cell.
        task: its task.
        settings: of the evaluation.
        resources: what a device may take; its memory is known.
        device: the first device.
        parts: keeps the chunks until the cell is finished.
        log: gets a line if not even one training fits.

    Raises:
        Exception: the program cannot be compiled, not even for one training.
    """

    def __init__(
        self,
        job: Job,
        task: Task,
        settings: Settings,
        resources: Resources,
        device: Any,
        parts: Parts,
        log: Callable[[str], None],
    ):
        self.name, self.contestant, self.task, self.settings = job.name, job.contestant, task, settings
        self._began = time.perf_counter()
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        program = self._fitting(resources, device, log)
        self._size, self._programs = program.size, {device: program}
        self._parts, self._log = parts, log
        self._fractions: dict[Any, float] = {}
        self._working, self._refused = 0, set[Any]()
        self._error: Exception | None = None
        chunks = self._chunks()
        found = [(chunk, parts.read(self._size, chunk)) for chunk in chunks]
        self._done = [(chunk, measured) for chunk, measured in found if measured is not None]
        self._waiting = collections.deque(chunk for chunk, measured in found if measured is None)
        self._chunk_count, self._found = len(chunks), len(self._done)
        self._opened = time.perf_counter()

    def wants(self, device: Any) -> bool:
        """Whether a device is to do chunks of this cell: some wait, and its help saves more than it costs.

        A device that has not done any yet compiles the program first.
        """
        with self._lock:
            if not self._waiting or device in self._refused:
                return False
            if device in self._programs:
                return True
            done = len(self._done) - self._found + sum(self._fractions.values())
            compile_seconds = max(program.compile_seconds for program in self._programs.values())
            if not done:
                return False  # nobody knows yet how long a chunk takes
            left = len(self._waiting) * (time.perf_counter() - self._opened) / done
            return left / (len(self._programs) + 1) > compile_seconds

    @property
    def trainings(self) -> int:
        """How many trainings go at a time."""
        return self._size.trainings

    def work(self, device: Any, advanced: Callable[[float], None], stopped: Callable[[], bool]) -> None:
        """Trains the chunks that wait, one by one, on a device; what goes wrong is told by `result`.

        Args:
            device: a `jax.Device`.
            advanced: gets the part of the cell that is done, in [0, 1].
            stopped: asked now and then whether to stop.
        """
        with self._lock:
            self._working += 1
        try:
            program = self._program(device)
            while program and (chunk := self._take()) is not None:
                # What went wrong on another device is a reason to stop, too.
                self._train(program, chunk, advanced, lambda: stopped() or self._error is not None)
        except Exception as error:
            with self._lock:
                self._error = self._error or error
                self._waiting.clear()
        finally:
            with self._changed:
                self._working -= 1
                self._changed.notify_all()

    def result(self) -> CellResult:
        """The finished cell; waits for all devices that work on it, also if something went wrong.

        Raises:
            StopRequestedError: if it was to stop.
            Exception: whatever went wrong on any device.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._working)
        if self._error is not None:
            raise self._error
        return self._put_together(next(iter(self._programs.values())))

    def _train(
        self,
        program: CellProgram,
        chunk: Chunk,
        advanced: Callable[[float], None],
        stopped: Callable[[], bool],
    ) -> None:
        def report(fraction: float) -> None:
            with self._lock:
                self._fractions[program.device] = fraction
                advanced((len(self._done) + sum(self._fractions.values())) / self._chunk_count)

        measured = program.run(chunk, report, stopped)
        if self._chunk_count > 1:
            self._parts.write(self._size, chunk, measured)
        with self._lock:
            self._fractions.pop(program.device, None)
            self._done.append((chunk, measured))

    def _fitting(self, resources: Resources, device: Any, log: Callable[[str], None]) -> CellProgram:
        most, memory = resources.trainings_at_once, resources.memory or 0
        configurations, seeds = len(self.contestant.configurations), self.settings.seeds
        size = largest_size(configurations, seeds, most or at_once(device, configurations * seeds))
        while True:
            try:
                program = self._compile(size, device)
            except jax.errors.JaxRuntimeError as error:
                if size.trainings == 1 or not out_of_memory(error):
                    raise
                size = largest_size(configurations, seeds, size.trainings // 2)
                continue
            if program.bytes <= memory or size.trainings == 1:
                break
            each = max(1.0, (program.bytes - program.shared_bytes) / size.trainings)
            fits = int((memory - program.shared_bytes) / each)
            size = largest_size(configurations, seeds, max(1, min(fits, size.trainings - 1)))
        if program.bytes > memory:
            log(
                f"{self.name.words}: one training takes {program.bytes / 2**30:.2f} GiB, more than the "
                f"{memory / 2**30:.2f} GiB there are; it is tried all the same"
            )
        return program

    def _compile(self, size: Size, device: Any) -> CellProgram:
        settings = self.settings
        return CellProgram(self.contestant, self.task, settings.plan, settings.key(), size, device)

    def _program(self, device: Any) -> CellProgram | None:
        """The program on a device; None if it cannot be had there, which is no reason to stop elsewhere."""
        program = self._programs.get(device)
        if program is None:
            try:
                program = self._compile(self._size, device)
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                self._log(f"{self.name.words}: {device} does not help, as it cannot compile ({what})")
                with self._lock:
                    self._refused.add(device)
                return None
            with self._lock:
                self._programs[device] = program
        return program

    def _take(self) -> Chunk | None:
        with self._lock:
            return self._waiting.popleft() if self._waiting else None

    def _chunks(self) -> list[Chunk]:
        configurations, seeds = self.contestant.configurations, self.settings.seed_numbers
        rows, columns = self._size
        return [
            Chunk(i, j, tuple(configurations[i : i + rows]), seeds[j : j + columns])
            for i in range(0, len(configurations), rows)
            for j in range(0, len(seeds), columns)
        ]

    def _put_together(self, program: CellProgram) -> CellResult:
        plan = self.settings.plan
        lead = (len(self.contestant.configurations), self.settings.seeds)

        def joined(part: Callable[[Measured], np.ndarray]) -> np.ndarray:
            first = part(self._done[0][1])
            whole = np.empty((*lead, *first.shape[2:]), first.dtype)
            for chunk, measured in self._done:
                rows = slice(chunk.row, chunk.row + len(chunk.configurations))
                whole[rows, chunk.column : chunk.column + len(chunk.seeds)] = part(measured)
            return whole

        return CellResult(
            task=self.name.task,
            optimizer=self.name.optimizer,
            key=self.name.key,
            learned=self.contestant.learned,
            configurations=self.contestant.configurations,
            seeds=self.settings.seed_numbers,
            num_steps=plan.num_steps,
            loss_unit=loss_unit(self.name.task),
            loss=joined(lambda measured: measured.loss),
            final_loss=joined(lambda measured: measured.final_loss),
            evaluation_steps=plan.steps,
            evaluations={
                name: joined(lambda measured, name=name: measured.evaluations[name])
                for name in self._done[0][1].evaluations
            },
            eta=joined(lambda measured: measured.eta) if program.has_eta else None,
            info=self._info(program),
        )

    def _info(self, program: CellProgram) -> dict[str, Any]:
        """Facts that do not decide the numbers; seconds of a step are the median over chunks.

        Those of the cell are wall-clock, plus the sum over chunks that were taken over.
        """
        before = sum(measured.seconds for _, measured in self._done[: self._found])
        return {
            "seconds": time.perf_counter() - self._began + before,
            "compile_seconds": program.compile_seconds,
            "seconds_per_step": float(np.median([measured.step_seconds for _, measured in self._done])),
            "trainings_at_once": program.size.trainings,
            "bytes_at_once": program.bytes,
            "parameters": program.parameters,
            "state_bytes": program.state_bytes,
            "data": getattr(self.task, "data_note", None),
            "optimizer": self.contestant.spec or repr(self.contestant.rule),
            "device": str(program.device.device_kind),
            "device_count": jax.local_device_count(),
            "provenance": provenance(),
        }
