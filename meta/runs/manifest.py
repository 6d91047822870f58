"""The list of a folder's files with their checksums, by which damage done to any of them shows."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from celo.meta.runs import files

NAME = "manifest.json"


class DamagedError(Exception):
    """The files of a folder are not those that were written."""


def write(folder: Path, content: dict[str, Any]) -> None:
    """Force every file below a folder to disk and write ``manifest.json`` with their SHA-256 and its own.

    Args:
        folder: holds nothing but the files to vouch for.
        content: what else to say in the manifest, ready for JSON.

    Raises:
        OSError: the disk is full.
    """
    written = sorted(path for path in folder.rglob("*") if path.is_file())
    sums = {path.relative_to(folder).as_posix(): files.sync_and_digest(path) for path in written}
    for subfolder in [path for path in folder.rglob("*") if path.is_dir()]:
        files.sync_folder(subfolder)
    content = content | {"files": sums}
    files.write_atomically(folder / NAME, files.json_bytes({"sha256": _seal(content), "manifest": content}))


def read(folder: Path) -> dict[str, Any]:
    """Read a folder's manifest and compare every file with it.

    Args:
        folder: a folder in which `write` was called.

    Returns:
        The content written.

    Raises:
        DamagedError: the manifest or a file is missing, cut short or altered; the message says which.
    """
    try:
        sealed = json.loads((folder / NAME).read_bytes())
        content, seal = sealed["manifest"], sealed["sha256"]
    except FileNotFoundError:
        raise DamagedError(f"{NAME} is missing") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DamagedError(f"{NAME} is not readable: {error}") from None
    if _seal(content) != seal:
        raise DamagedError(f"{NAME} was altered")
    for name, expected in content["files"].items():
        try:
            found = files.digest(folder / name)
        except OSError as error:
            raise DamagedError(f"{name}: {error.strerror}") from None
        if found != expected:
            raise DamagedError(f"{name} was altered or cut short")
    return content


def _seal(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
