"""What an evaluation is asked for: optimizers, tasks, settings, and the folder of results."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import jax

from evaluation.cell import CellResult
from evaluation.contestants import Contestant, check_different
from evaluation.settings import Settings, cell_key, task_digest
from evaluation.store import CellName, Store
from meta.provenance import provenance
from meta.tasks.base import Task

Load = Callable[[], Task]


class Job(NamedTuple):
    """A cell to do, and its optimizer."""

    name: CellName
    contestant: Contestant


class Evaluation:
    """Every optimizer on every task, in a folder of results.

    Args:
        contestants: the optimizers, of different labels.
        tasks: by name a function that loads the task; it may be called more than once, so that not all data
            are in memory at a time.
        settings: what all cells share.
        folder: the folder of results.
        baselines: a folder in which the cells of hand-designed optimizers are kept for other evaluations,
            too; None = nowhere.
        log: gets a line about every damaged file.

    Raises:
        ValueError: no optimizer or no task, or labels that are given twice.
    """

    def __init__(
        self,
        contestants: Sequence[Contestant],
        tasks: Mapping[str, Load],
        settings: Settings,
        folder: Path,
        baselines: Path | None = None,
        log: Callable[[str], None] = lambda line: None,
    ):
        check_different(contestants)
        if not tasks:
            raise ValueError("an evaluation needs at least one task, got none")
        self.contestants, self.settings = tuple(contestants), settings
        self.store = Store(folder, log)
        self.baselines = None if baselines is None else Store(baselines, log)
        self._load = dict(tasks)
        self._loaded: OrderedDict[str, Task] = OrderedDict()
        self._lock = threading.Lock()

    def task(self, name: str) -> Task:
        """A task by its name; those used last, one per device, are kept in memory."""
        with self._lock:
            if name not in self._loaded:
                self._loaded[name] = self._load[name]()
            self._loaded.move_to_end(name)
            while len(self._loaded) > jax.local_device_count():
                self._loaded.popitem(last=False)
            return self._loaded[name]

    @functools.cached_property
    def jobs(self) -> list[Job]:
        """All cells, those of one task after one another; this reads the data of every task, once."""
        return [job for name in self._load for job in self._jobs_of(name)]

    def declare(self) -> list[Job]:
        """`jobs`, after saying in the folder that they are asked for.

        Raises:
            ValueError: the folder holds results of another format or of other settings.
            FileExistsError: it holds something else.
        """
        settings = dataclasses.asdict(self.settings)
        # First without any cell: to read all data takes long, to refuse a folder should not.
        self.store.declare(settings, (), provenance())
        self.store.declare(settings, [job.name for job in self.jobs], provenance())
        return self.jobs

    def results(self) -> list[CellResult]:
        """The finished cells of this evaluation; the folder may hold others."""
        cells = [self.store.read(job.name) for job in self.jobs]
        return [cell for cell in cells if cell is not None]

    def _jobs_of(self, name: str) -> list[Job]:
        task = self.task(name)
        digest = task_digest(task)
        return [
            Job(CellName(name, one.label, cell_key(task, digest, one, self.settings)), one)
            for one in self.contestants
        ]
