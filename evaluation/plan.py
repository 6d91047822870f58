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

from celo.evaluation.cell import CellResult
from celo.evaluation.contestants import Contestant, check_different
from celo.evaluation.settings import Settings, cell_key, task_digest
from celo.evaluation.store import CellName, Meaning, Store
from celo.meta.data.errors import DatasetNotFoundError
from celo.meta.runs.provenance import provenance
from celo.meta.tasks.base import Task

Load = Callable[[], Task]


class Job(NamedTuple):
    """A cell to do.

    Attributes:
        name: of the cell.
        contestant: its optimizer.
        task_digest: of its task with all data, which takes long to make.
    """

    name: CellName
    contestant: Contestant
    task_digest: str


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
        log: gets a line about every damaged file, and about tasks that are left out.
        skip_missing_data: whether to leave out the tasks whose data are not to be had, as long as there are
            others; they count as asked for and not finished.
        lasting_labels: whether the folder is to refuse another optimizer under a label it knows.

    Raises:
        ValueError: no optimizer or no task, labels that are given twice, or a learned optimizer labelled as
            a baseline.
    """

    def __init__(
        self,
        contestants: Sequence[Contestant],
        tasks: Mapping[str, Load],
        settings: Settings,
        folder: Path,
        baselines: Path | None = None,
        log: Callable[[str], None] = lambda line: None,
        *,
        skip_missing_data: bool = False,
        lasting_labels: bool = True,
    ):
        check_different(contestants)
        if not tasks:
            raise ValueError("an evaluation needs at least one task, got none")
        self.contestants, self.settings = tuple(contestants), settings
        self.store = Store(folder, log)
        self.baselines = None if baselines is None else Store(baselines, log)
        self._log, self._skip, self._lasting_labels = log, skip_missing_data, lasting_labels
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

    @property
    def jobs(self) -> list[Job]:
        """All cells, those of one task after one another; this reads the data of every task, once.

        Raises:
            DatasetNotFoundError: naming every task whose data are not to be had; if some are to be left out,
                only where that leaves none.
        """
        return self._survey[0]

    @property
    def left_out(self) -> tuple[str, ...]:
        """The tasks that `jobs` leaves out, as their data are not to be had now.

        The folder does not tell: what was asked for while there were data, or by another command, is in it.

        Raises:
            DatasetNotFoundError: as `jobs`.
        """
        return tuple(task for tasks in self._survey[1].values() for task in tasks)

    def declare(self) -> list[Job]:
        """`jobs`, after saying in the folder that they are asked for.

        Raises:
            ValueError: the folder holds results of another format or of other settings, or of another
                optimizer under the same label.
            FileExistsError: it holds something else.
            DatasetNotFoundError: as `jobs`.
        """
        settings = dataclasses.asdict(self.settings)
        labels = {one.label: Meaning(one.spec or repr(one.rule), one.digest) for one in self.contestants}
        kept = labels if self._lasting_labels else None
        # Before the data are read, which takes long: to refuse a folder should not.
        self.store.check(settings, kept)
        jobs, absent = self._survey
        if absent:
            self._log(f"{_told(absent)}\nThey are left out.")
        left_out = [CellName(task, label, "") for task in self.left_out for label in labels]
        self.store.declare(settings, [*(job.name for job in jobs), *left_out], provenance(), kept)
        return jobs

    def results(self) -> list[CellResult]:
        """The finished cells of this evaluation; the folder may hold others."""
        cells = [self.store.read(job.name) for job in self.jobs]
        return [cell for cell in cells if cell is not None]

    @functools.cached_property
    def _survey(self) -> tuple[list[Job], dict[str, list[str]]]:
        """The cells that can be done, and the tasks that cannot, by the reason."""
        jobs: list[Job] = []
        absent: dict[str, list[str]] = {}
        for name in self._load:
            try:
                jobs += self._jobs_of(name)
            except DatasetNotFoundError as error:
                absent.setdefault(str(error), []).append(name)
        if absent and not (jobs and self._skip):
            remedy = "" if self._skip else "\nOr leave these tasks out, by skip_missing_data."
            raise DatasetNotFoundError(f"{_told(absent)}{remedy}")
        return jobs, absent

    def _jobs_of(self, name: str) -> list[Job]:
        task = self.task(name)
        digest = task_digest(task)
        return [
            Job(CellName(name, one.label, cell_key(task, digest, one, self.settings)), one, digest)
            for one in self.contestants
        ]


def _told(absent: Mapping[str, Sequence[str]]) -> str:
    """The tasks whose data are not to be had, those of one reason together."""
    count = sum(map(len, absent.values()))
    reasons = [f"  {', '.join(tasks)}: {reason}" for reason, tasks in absent.items()]
    return "\n".join([f"The data of {count} of the tasks asked for are not to be had:", *reasons])
