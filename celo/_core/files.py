"""Files that are never seen half-written."""

from __future__ import annotations

import os
import threading
from pathlib import Path


def write_atomically(path: Path, data: bytes) -> None:
    """Write ``data`` under a temporary name, force it to disk, and rename it to ``path``.

    Whoever opens ``path`` finds the old content or the new one, never a mix, whenever the writer is killed or
    the disk fills. A symbolic link at either name is replaced, never followed.

    Args:
        path: the file to create or to replace; its folder exists.
        data: the whole new content.

    Raises:
        OSError: the disk is full or the folder cannot be written; ``path`` is as it was.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{threading.get_ident()}.tmp")
    temporary.unlink(missing_ok=True)
    # Exclusive creation: a link that somebody puts there now is an error, not a file to overwrite.
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666)
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
