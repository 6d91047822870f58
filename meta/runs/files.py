"""Files that are never seen half-written, and JSON that any parser reads."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celo._core.files import sync_folder, write_atomically

__all__ = [
    "REMOVING",
    "digest",
    "foreign",
    "json_bytes",
    "json_ready",
    "number_from_json",
    "remove_folder",
    "remove_while_written",
    "sync_and_digest",
    "sync_folder",
    "write_atomically",
]

REMOVING = ".removing-"
_LOGS = (".log", ".out", ".err")
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sync_and_digest(path: Path) -> str:
    """Force a file's content to disk and return its SHA-256."""
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        return hashlib.file_digest(file, "sha256").hexdigest()


def foreign(folder: Path, own: Sequence[str] = ()) -> list[str]:
    """Names of what is in a folder, but for hidden files, logs and what the caller calls its own.

    A command that makes a folder refuses one that is something else; where its output goes to a log in that
    folder, the shell has made both before it starts.
    """
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.name not in own
        and not entry.name.startswith(".")
        and not (entry.suffix in _LOGS and entry.is_file())
    )


def remove_folder(path: Path) -> None:
    """Delete a folder; a kill in between leaves it under a name beginning with `REMOVING`, not half-empty."""
    doomed = path.with_name(f"{REMOVING}{path.name}")
    os.replace(path, doomed)
    shutil.rmtree(doomed)


def remove_while_written(path: Path, patience: float = 2.0) -> bool:
    """Delete a folder that a storage library's threads may still be writing to, after one of them failed.

    Such a thread makes files and folders anew between the look into a folder and its removal, so one removal
    may leave something behind. It is tried again for ``patience`` seconds.

    Returns:
        Whether the folder is gone.
    """
    deadline = time.monotonic() + patience
    while True:
        shutil.rmtree(path, ignore_errors=True)
        if not path.exists():
            return True
        if time.monotonic() > deadline:
            return False
        time.sleep(0.02)


def json_ready(value: Any, where: str = "value") -> Any:
    """Turn a value into what JSON can hold; non-finite floats become strings.

    They are ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``: the JSON standard has no such numbers, and the
    bare ``NaN`` that Python writes stops other parsers.

    Args:
        value: None, bool, int, float, str, a NumPy or JAX scalar, a path, or nested mappings and sequences of
            them.
        where: what to call the value in an error.

    Returns:
        The value as dicts with string keys, lists, strings, ints, finite floats, bools and None.

    Raises:
        TypeError: something in it has no JSON form.
    """
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else _non_finite_name(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise TypeError(f"{where} has the key {key!r}; keys must be strings")
        return {key: json_ready(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_ready(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if getattr(value, "shape", None) == () and hasattr(value, "dtype"):
        return json_ready(
            np.asarray(value).astype(np.float64).item() if _is_extended(value) else value.item(), where
        )
    raise TypeError(
        f"{where} is a {type(value).__name__}, {value!r}; expected None, a bool, number or string, or "
        "lists and dicts of them"
    )


def number_from_json(value: Any) -> float | int:
    """Undo `json_ready` for one number.

    >>> number_from_json(json_ready(float("-inf")))
    -inf
    """
    return _NON_FINITE[value] if isinstance(value, str) else value


def json_bytes(value: Any) -> bytes:
    """Serialize a value, made ready by `json_ready`, as an indented JSON file."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def _non_finite_name(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"


def _is_extended(value: Any) -> bool:
    """Whether a scalar has one of the types (bfloat16, float8) whose ``item()`` NumPy leaves as they are."""
    return np.dtype(value.dtype).kind == "V"
