"""What `celo evaluate` shows while it works: lines for finished cells, bars where there is a terminal."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tqdm import tqdm

from celo.evaluation.cell import CellResult
from celo.evaluation.runner import Observer
from celo.evaluation.store import CellName, name_of

_HOW = {"found": "already done", "baseline": "taken from the baselines"}


class Progress(Observer):
    """A bar over cells, and one inside the cell of every device; finished cells go to a tracker.

    Attributes:
        untracked: cells that the tracker failed on, and why.

    Args:
        track: gets every finished cell, also those found in the folder, one after the other.
    """

    def __init__(self, track: Callable[[CellResult], None]):
        self.untracked: list[tuple[CellName, str]] = []
        self._to_tracker, self._lock = track, threading.Lock()
        # One thread: wandb has one run at a time in a process, and no device is to wait for it.
        self._tracking = ThreadPoolExecutor(1)
        self._terminal = sys.stderr.isatty()
        self._cells = tqdm(total=0, unit="cell", disable=not self._terminal)
        self._bars: dict[int, Any] = {}

    def declared(self, cells: int) -> None:
        """Sets the length of the bar over cells."""
        with self._lock:
            self._cells.reset(cells)

    def advanced(self, device: int, name: CellName, fraction: float) -> None:
        """Moves the bar of a device."""
        if not self._terminal:
            return
        with self._lock:
            if device not in self._bars:
                form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}<{remaining}"
                self._bars[device] = tqdm(total=1.0, position=device + 1, leave=False, bar_format=form)
            bar = self._bars[device]
            if fraction == 0.0:
                bar.reset()
            bar.set_description(name.words, refresh=False)
            bar.n = fraction
            bar.refresh()

    def finished(self, cell: CellResult, how: str) -> None:
        """Says that a cell is finished, and has it tracked."""
        with self._lock:
            self._cells.update(1)
        self.log(f"{cell.optimizer} on {cell.task}: {_HOW.get(how) or _done(cell)}")
        self._tracking.submit(self._track, cell)

    def _track(self, cell: CellResult) -> None:
        try:
            self._to_tracker(cell)
        except Exception as error:
            self.untracked.append((name_of(cell), f"{type(error).__name__}: {error}"))

    def log(self, line: str) -> None:
        """Writes a line above the bars."""
        with self._lock:
            tqdm.write(line, file=sys.stdout)
            sys.stdout.flush()

    def close(self) -> None:
        """Waits for the tracker, and takes the bars away."""
        self._tracking.shutdown()
        for bar in [*self._bars.values(), self._cells]:
            bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _done(cell: CellResult) -> str:
    """What was done, in words."""
    diverged = int(cell.diverged.sum())
    told = f"{cell.final_loss.size} trainings of {cell.num_steps} steps in {cell.info['seconds']:.0f} s"
    return f"{told}, {diverged} diverged" if diverged else told
