"""Locks that end with the process that holds them."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
from pathlib import Path


class FileLock:
    """An exclusive lock on a file, held from construction until `release` or the end of the process.

    The kernel keeps it (flock) and drops it however the process ends, so no stale lock is left behind. The
    file is created in an existing folder, and stays there. With ``wait`` the call waits for the lock.

    Raises:
        BlockingIOError: another process holds the lock and ``wait`` is false; ``args[0]`` names the holder,
            as "process 17 on host".
        OSError: the path is a symbolic link, which is never followed.
    """

    def __init__(self, path: Path, wait: bool = False):
        self._descriptor = _open(path)
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            os.ftruncate(self._descriptor, 0)
            os.pwrite(self._descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
        except BlockingIOError:
            holder = os.read(self._descriptor, 200).decode(errors="replace").strip()
            os.close(self._descriptor)
            raise BlockingIOError(holder or "another process") from None
        except BaseException:
            os.close(self._descriptor)
            raise

    def release(self) -> None:
        """Give the lock up; a second call does nothing."""
        if self._descriptor >= 0:
            # The file stays: deleting it would let two processes lock two files of one name.
            os.close(self._descriptor)
            self._descriptor = -1

    def __enter__(self) -> FileLock:
        return self

    def __exit__(self, *exception: object) -> None:
        self.release()


def lock_folder(folder: Path) -> FileLock:
    """A `FileLock` on an existing folder as a whole; the BlockingIOError names the folder and the holder."""
    try:
        return FileLock(folder / ".lock")
    except BlockingIOError as error:
        text = f"{folder} is in use by {error.args[0]}; wait for it, stop it, or use another folder"
        raise BlockingIOError(text) from None


def _open(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    except OSError as error:
        if error.errno != errno.ELOOP:
            raise
        raise OSError(errno.ELOOP, "a lock must not be a symbolic link; delete it", str(path)) from None
