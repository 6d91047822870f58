"""JSON that any parser reads, and what may lie in a folder beside a command's own files."""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from celo._core.files import sync_folder, write_atomically

__all__ = [
    "check_folder",
    "digest",
    "foreign",
    "json_bytes",
    "json_ready",
    "number_from_json",
    "parse_json",
    "sync_folder",
    "write_atomically",
    "write_json",
]

_LOGS = (".log", ".out", ".err")
_NON_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
_DEEPEST = 100


def digest(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_folder(path: Path, what: str = "folder") -> None:
    """Check that a folder, called ``what`` in errors, can be written or created. Nothing is created.

    Raises:
        ValueError: the path cannot name a folder: a null byte, or too many levels.
        NotADirectoryError: the path is a file, or lies below one.
        PermissionError: the folder, or the nearest one that exists, is not writable.
        OSError: the path is too long for the file system.
    """
    if "\0" in str(path):
        raise ValueError(f"{what} {str(path)!r} contains a null byte")
    if len(path.parts) > _DEEPEST:
        raise ValueError(f"{what} has {len(path.parts)} levels; expected at most {_DEEPEST}")
    for place in (path, *path.absolute().parents):
        try:
            os.stat(place)
        except FileNotFoundError:
            continue
        except NotADirectoryError:  # a file lies further up, and the loop comes to it
            continue
        if not place.is_dir():
            below = "" if place == path else f"{path} cannot be created: "
            raise NotADirectoryError(f"{what} {below}{place} is a file; expected a folder")
        if not os.access(place, os.W_OK | os.X_OK):
            raise PermissionError(f"{what} {path} cannot be written: no permission for {place}")
        return


def foreign(folder: Path, own: Sequence[str] = ()) -> list[str]:
    """Names of the entries of a folder, except hidden files, logs and the caller's own.

    A command refuses to write into a folder that holds something else. The shell creates the folder and the
    log before the command starts when its output is redirected there, so logs are allowed.
    """
    return sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.name not in own
        and not entry.name.startswith(".")
        and not (entry.suffix in _LOGS and entry.is_file())
    )


def parse_json(data: bytes | str, where: str) -> Any:
    """Parse JSON from anywhere; ValueError, naming ``where``, if it is no JSON or nested too deep."""
    try:
        return json.loads(data)
    except RecursionError:
        raise ValueError(f"{where} is not readable: its JSON is nested too deep") from None
    except ValueError as error:  # UnicodeDecodeError and JSONDecodeError
        raise ValueError(f"{where} is not readable: {error}") from error


def json_ready(value: Any, where: str = "value") -> Any:
    """Turn a value into what JSON can hold; non-finite floats become strings.

    They are ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``: the JSON standard has no such numbers, and the
    bare ``NaN`` that Python writes stops other parsers. The value is None, bool, int, float, str, a NumPy or
    JAX scalar, a path, or nested mappings and sequences of them; TypeError, naming ``where``, for others.
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
        # The item() of extended types (bfloat16, float8) is the NumPy scalar itself.
        extended = np.dtype(value.dtype).kind == "V"
        return json_ready(np.asarray(value).astype(np.float64).item() if extended else value.item(), where)
    raise TypeError(
        f"{where} is a {type(value).__name__}, {value!r}; expected None, a bool, number or string, or "
        "lists and dicts of them"
    )


def number_from_json(value: Any) -> float | int:
    """Undo `json_ready` for one number; ValueError for a string that stands for none.

    >>> number_from_json(json_ready(float("-inf")))
    -inf
    """
    if isinstance(value, str) and value not in _NON_FINITE:
        raise ValueError(f"{value!r} is not a number; expected one of {', '.join(_NON_FINITE)}")
    return _NON_FINITE[value] if isinstance(value, str) else value


def json_bytes(value: Any) -> bytes:
    """Serialize a value, made ready by `json_ready`, as an indented JSON file."""
    return (json.dumps(value, indent=2, allow_nan=False) + "\n").encode()


def write_json(path: Path, value: Any) -> None:
    """Write a value as `json_ready` makes it, the file whole."""
    write_atomically(path, json_bytes(json_ready(value, path.name)))


def _non_finite_name(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    return "Infinity" if value > 0 else "-Infinity"
