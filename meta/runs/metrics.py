"""The file of metrics of a run: a JSON object per line, readable at any time, cut back when a run resumes."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from celo.meta.runs import files
from celo.meta.runs.trackers import Tracker

_RESERVED = ("step", "time")
_QUANTILES = np.arange(11) / 10


class JsonlTracker(Tracker):
    """Appends rows ``{"step": 10, "time": 1.7e9, "meta_loss": 2.1, ...}`` to a file.

    ``time`` is the wall clock in seconds since 1970. A resumed run differs from an uninterrupted one only in
    ``time`` and in measured durations, such as meta-training's ``seconds_per_meta_iteration``.
    Non-finite numbers are the strings "NaN", "Infinity" and "-Infinity". An array is kept as
    ``{"size", "finite", "mean", "quantiles"}``: how many entries, how many of them finite, and of the finite
    ones the mean and the eleven quantiles 0, 0.1, ..., 1 (None without a finite entry). An unfinished last
    line of the file, left by a kill, is dropped.

    Attributes:
        rows: rows in the file.

    Raises:
        ValueError: the file holds lines that are not rows.
        OSError: the path is a symbolic link, which is never followed.
    """

    def __init__(self, path: str | os.PathLike[str]):
        self.path = Path(path)
        self.rows = 0
        self._descriptor = -1
        self.rewind(sys.maxsize)

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Append one row and hand it to the operating system.

        Raises:
            ValueError: ``step`` goes back, the tracker is closed, or a name is "step" or "time".
            TypeError: a value is neither a number nor an array of numbers.
            OSError: the disk is full; the rows before are intact.
        """
        if self._descriptor < 0:
            raise ValueError(f"{self.path} is closed")
        if step < self._last_step:
            raise ValueError(f"step is {step}; the last row logged has step {self._last_step}")
        taken = [name for name in _RESERVED if name in metrics]
        if taken:
            raise ValueError(f"a metric is named {taken[0]!r}; {_RESERVED} are columns of every row")
        row = {"step": int(step), "time": round(time.time(), 3)}
        row |= {name: _value(name, value) for name, value in metrics.items()}
        self._append((json.dumps(row, allow_nan=False) + "\n").encode())
        self._last_step = step
        self.rows += 1

    def rewind(self, step: int) -> None:
        """Drop the rows after ``step``, and an unfinished last line; logging continues from there."""
        self.close()
        found = _rows(self.path) if self.path.exists() else []
        kept = [(row, line) for row, line in found if row["step"] <= step]
        content = b"".join(line for _, line in kept)
        if self.path.exists() and content != self.path.read_bytes():
            files.write_atomically(self.path, content)
        self.rows, self._last_step = len(kept), kept[-1][0]["step"] if kept else 0
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW
        self._descriptor = os.open(self.path, flags, 0o644)

    def sync(self) -> None:
        """Force all rows to disk."""
        if self._descriptor >= 0:
            os.fsync(self._descriptor)

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _append(self, line: bytes) -> None:
        size = os.fstat(self._descriptor).st_size
        try:
            while line:
                line = line[os.write(self._descriptor, line) :]
        except OSError as error:
            # Without this the next row would be appended to a partial one.
            os.ftruncate(self._descriptor, size)
            raise OSError(
                error.errno, f"a row of metrics could not be written: {error.strerror}", str(self.path)
            ) from error


def read_metrics(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Read a file of metrics, also while a run writes it; an unfinished last line is left out.

    Returns the rows in order, non-finite numbers as floats again.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: a line other than the last is not a row.
    """
    return [row for row, _ in _rows(Path(path))]


def _rows(path: Path) -> list[tuple[dict[str, Any], bytes]]:
    lines = path.read_bytes().splitlines(keepends=True)
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.endswith(b"\n"):
            break
        try:
            row = {name: files.number_from_json(x) for name, x in dict(files.parse_json(line, "it")).items()}
            if not isinstance(row["step"], int):
                raise TypeError(f"step is {row['step']!r}")
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(
                f"line {number} of {path} is not a row of metrics ({error}): {line[:80]!r}"
            ) from None
        rows.append((row, line))
    return rows


def _value(name: str, value: Any) -> Any:
    array = np.asarray(value)
    if array.dtype.kind == "V":
        array = array.astype(np.float32)
    if array.dtype.kind not in "biuf":
        raise TypeError(f"metric {name!r} is {value!r}; expected a number or an array of numbers")
    if array.ndim == 0:
        return files.json_ready(array.item(), name)
    finite = array[np.isfinite(array)].astype(np.float64)
    return {
        "size": array.size,
        "finite": finite.size,
        "mean": float(finite.mean()) if finite.size else None,
        "quantiles": np.quantile(finite, _QUANTILES).tolist() if finite.size else None,
    }
