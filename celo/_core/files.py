"""Files that are never seen half-written, and foreign files whose faults are reported with their name."""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` under a temporary name, force it to disk, and rename it to ``path``.

    A reader of ``path`` finds the old content or the new one, never a part of either, whenever the writer is
    killed or the disk fills. No symbolic link is followed: one at ``path`` is replaced.

    Args:
        path: the file to create or to replace; its folder exists.
        data: the whole new content.

    Raises:
        OSError: the disk is full or the folder cannot be written; ``path`` is unchanged.
    """
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o666)
    try:
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(path: Path) -> None:
    """Force a folder's entries to disk: a rename survives a power cut only after this."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def parsing(where: str) -> Iterator[None]:
    """Turns whatever stops a parser of a foreign file into a ValueError that names the file.

    >>> import json
    >>> with parsing("theta.json"):
    ...     json.loads("[" * 100_000)
    Traceback (most recent call last):
    ValueError: theta.json is truncated or corrupt: RecursionError: ...

    Args:
        where: what to call the file.
    """
    try:
        yield
    except OSError:
        raise
    except Exception as error:
        raise ValueError(f"{where} is truncated or corrupt: {type(error).__name__}: {error}") from error
