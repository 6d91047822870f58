"""Finished cells on a tracker: a run for each, with the curves of its best configuration."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from celo._core.files import write_atomically
from celo._core.names import unknown_name
from celo.evaluation.cell import CellResult
from celo.evaluation.selection import best_configuration
from celo.evaluation.store import name_of
from celo.meta.runs.files import json_bytes, json_ready
from celo.meta.runs.lock import FileLock
from celo.meta.runs.metrics import JsonlTracker
from celo.meta.runs.trackers import TRACKERS, Tracker
from celo.meta.runs.wandb_tracker import WandbTracker, mode_of

METRICS = "metrics.jsonl"


@dataclasses.dataclass(frozen=True)
class CellRun:
    """The run of a cell.

    Attributes:
        path: its folder.
        config: what it is a run of.
    """

    path: Path
    config: dict[str, Any]


@dataclasses.dataclass(frozen=True)
class CellTracker:
    """Logs every finished cell as a run of its own.

    Attributes:
        folder: of the results; the runs are in ``runs/`` in it.
        tracker: "none"; "jsonl", a file ``metrics.jsonl`` per run; or "wandb".
        mode: of wandb: "online", "offline" or "disabled"; None = the variable WANDB_MODE, or "online".
        project: of wandb.
        group: of wandb; the folder's name if "".
    """

    folder: Path
    tracker: str = "none"
    mode: str | None = None
    project: str = "celo"
    group: str = ""

    def __post_init__(self) -> None:
        """Checks the names."""
        if self.tracker not in TRACKERS:
            raise unknown_name("tracker", self.tracker, TRACKERS)
        if self.tracker == "wandb" or self.mode is not None:
            mode_of(self.mode)

    def track(self, cell: CellResult, stopped: Callable[[], bool] = lambda: False) -> None:
        """Logs a cell, unless that is done or another process is doing it.

        What failed, or was killed, is made up for by the next call.

        Args:
            cell: the finished cell.
            stopped: whether what is not logged yet is to be left to the next call.

        Raises:
            RuntimeError: wandb is not installed or did not start.
            InterruptedError: it was left to the next call.
        """
        if self.tracker == "none":
            return
        path = self.folder / "runs" / name_of(cell).file
        path.mkdir(parents=True, exist_ok=True)
        try:
            lock = FileLock(path / "lock")
        except BlockingIOError:
            return
        with lock:
            if self._logged(path):
                return
            if stopped():
                raise InterruptedError("it was stopped; the same command makes up for it")
            self._log(path, cell)
            write_atomically(self._mark(path), self._place)

    def _logged(self, path: Path) -> bool:
        """Whether the run of a cell is where it is to be."""
        mark = self._mark(path)
        whole = self.tracker != "jsonl" or (path / METRICS).exists()
        return whole and mark.exists() and mark.read_bytes() == self._place

    def _mark(self, path: Path) -> Path:
        return path / f"{self.tracker}.done"

    @property
    def _place(self) -> bytes:
        """Where runs go."""
        mode = mode_of(self.mode) if self.tracker == "wandb" else None  # others have none
        return json_bytes({"mode": mode, "project": self.project, "group": self.group})

    def _log(self, path: Path, cell: CellResult) -> None:
        best = best_configuration(cell)
        config = {
            "task": cell.task,
            "optimizer": cell.optimizer,
            "key": cell.key,
            "best_configuration": dict(cell.configurations[best]),
            "configurations": len(cell.configurations),
            "seeds": list(cell.seeds),
            "num_steps": cell.num_steps,
            "loss_unit": cell.loss_unit,
            "info": json_ready(cell.info, "info"),
        }
        with self._open(CellRun(path, config), cell) as tracker:
            for step, row in _rows(cell, best):
                tracker.log(step, row)

    def _open(self, run: CellRun, cell: CellResult) -> Tracker:
        if self.tracker == "jsonl":
            tracker = JsonlTracker(run.path / METRICS)
            tracker.rewind(-1)  # of an attempt that was killed
            return tracker
        group = self.group or self.folder.absolute().name
        return WandbTracker(run, self.mode, self.project, f"{cell.optimizer} {cell.task}", group)


def _rows(cell: CellResult, best: int) -> Iterator[tuple[int, dict[str, Any]]]:
    """Means over seeds of the best configuration; last, the distribution of final losses over everything."""
    for i, step in enumerate(np.asarray(cell.evaluation_steps).tolist()):
        row: dict[str, Any] = {name: values[best, :, i].mean() for name, values in cell.evaluations.items()}
        if step < cell.num_steps:
            row["loss"] = cell.loss[best, :, step].mean()
            if cell.eta is not None:
                row["eta"] = cell.eta[best, :, step].mean()
        else:
            row |= {"final_loss": cell.final_loss[best].mean(), "diverged": int(cell.diverged[best].sum())}
            row["final_losses"] = cell.final_loss.reshape(-1)
        yield step, row
