"""Processes that share a folder of results: the rows that they find in it, and the locks of trainings."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from pathlib import Path

from celo.evaluation.results import Training, files, read_file
from celo.meta.runs.lock import FileLock

LOCKS = "locks"


class Rows:
    """Where the rows of a folder of results are; every file is read once, unless it changes."""

    def __init__(self, folder: Path, log: Callable[[str], None]):
        self.folder, self._log = folder, log
        self._read: dict[Path, tuple[int, int]] = {}
        self._places: dict[tuple[str, str], Path] = {}
        self._lock = threading.Lock()

    def refresh(self) -> Collection[tuple[str, str]]:
        """Key and label of every row."""
        with self._lock:
            for path in files(self.folder):
                state = path.stat()
                if self._read.get(path) != (at := (state.st_mtime_ns, state.st_size)):
                    self._places |= {(row.key, row.optimizer): path for row in read_file(path, self._log)}
                    self._read[path] = at
            return set(self._places)

    def find(self, key: str) -> tuple[list[str], Training | None]:
        """The labels that have a row with this key, and one of these rows."""
        labels = [label for own, label in self.refresh() if own == key]
        rows = (row for label in labels for row in read_file(self._places[key, label], self._log))
        return labels, next((row for row in rows if row.key == key), None)

    def with_keys(self, keys: Collection[str], tasks: Collection[str]) -> Iterable[list[Training]]:
        """The rows of each file whose keys are among those given."""
        for path in files(self.folder, tasks):
            if found := [row for row in read_file(path, self._log) if row.key in keys]:
                yield found


def lock(folder: Path, name: str, wait: bool = False) -> FileLock:
    """A lock among processes on a folder of results; it ends with the process that holds it.

    Raises:
        BlockingIOError: another process holds it, and ``wait`` is false.
    """
    (folder / LOCKS).mkdir(parents=True, exist_ok=True)
    return FileLock(folder / LOCKS / f"{name}.lock", wait)


def lock_name(key: str) -> str:
    """The name of the lock of a training."""
    return key[:32]


def unlock(folder: Path, key: str) -> None:
    """Delete the lock file of a training whose row is written: whoever holds it afterwards finds the row."""
    (folder / LOCKS / f"{lock_name(key)}.lock").unlink(missing_ok=True)
