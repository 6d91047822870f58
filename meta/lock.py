"""A lock on a folder that ends with the process that holds it."""

from __future__ import annotations

import fcntl
import os
import socket
from pathlib import Path

_LOCK = ".lock"


class FolderLock:
    """An exclusive lock on a folder, held from construction until `release` or the end of the process.

    The kernel keeps it (flock) and drops it however the process ends, so nothing stale is ever left to clean
    up.

    Args:
        folder: an existing folder.

    Raises:
        BlockingIOError: another process holds the lock; the message names it.
    """

    def __init__(self, folder: Path):
        path = folder / _LOCK
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._descriptor, 200).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise BlockingIOError(
                f"{folder} is in use by {holder or 'another process'}; wait for it, stop it, or use another "
                "folder"
            ) from None
        except OSError:
            os.close(self._descriptor)
            raise
        os.ftruncate(self._descriptor, 0)
        os.pwrite(self._descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock up; a second call does nothing."""
        if self._descriptor >= 0:
            # The file stays: deleting it would let two processes lock two files of one name.
            os.close(self._descriptor)
            self._descriptor = -1
