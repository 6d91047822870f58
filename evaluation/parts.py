"""The finished chunks of a cell that is not finished: what a kill or a stop leaves to whoever goes on."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import io
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from celo._core.files import write_atomically
from celo.evaluation.cell_name import KEY_LENGTH, CellName
from celo.evaluation.cell_program import Chunk, Measured, Size
from celo.meta.runs.lock import FileLock

_EVALUATION = "evaluations/"
_DIGEST = hashlib.sha256().digest_size  # bytes, before those of the NPZ file
_SECONDS = ("step_seconds", "seconds")


class Parts:
    """The finished chunks of one cell, a file each, for whoever holds the lock of the cell.

    Args:
        folder: the folder of results.
        name: the cell.
        log: gets a line about every damaged file.
    """

    def __init__(self, folder: Path, name: CellName, log: Callable[[str], None] = lambda line: None):
        self.folder, self.name, self.log = Path(folder) / "parts" / name.file, name, log

    def path(self, size: Size, chunk: Chunk) -> Path:
        """The file of a chunk; another size of program rounds otherwise, and has files of its own."""
        return self.folder / f"{size.configurations}x{size.seeds}-{chunk.row}-{chunk.column}.part"

    def write(self, size: Size, chunk: Chunk, measured: Measured) -> None:
        """Keeps a chunk."""
        evaluations = measured.evaluations.items()
        arrays: dict[str, Any] = {f"{_EVALUATION}{name}": values for name, values in evaluations}
        for name in ("loss", "eta", "final_loss", *_SECONDS):
            arrays[name] = np.asarray(getattr(measured, name))
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        data = buffer.getvalue()
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path(size, chunk), hashlib.sha256(data).digest() + data)

    def read(self, size: Size, chunk: Chunk) -> Measured | None:
        """Reads a chunk back; None if it is not there, or damaged, which is logged."""
        path = self.path(size, chunk)
        if not path.exists():
            return None
        # Besides damage, files of another version show as whatever the parsers happen to stumble over.
        try:
            measured = _decode(path.read_bytes())
            lead = (len(chunk.configurations), len(chunk.seeds))
            if measured.final_loss.shape != lead:
                raise ValueError(f"its trainings are {measured.final_loss.shape}, expected {lead}")
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            self.log(f"{path} is damaged ({what}); this part of {self.name.words} has to be done again")
            return None
        return measured

    def clear_earlier(self, lock: Callable[[str], FileLock]) -> None:
        """Forgets the chunks of this optimizer on this task under other keys: of other code or data.

        Args:
            lock: makes the lock of a cell by the name of its file; what is locked elsewhere stays.
        """
        any_key = glob.escape(self.name._replace(key="").file) + "?" * KEY_LENGTH
        for folder in self.folder.parent.glob(any_key):
            if folder != self.folder:
                with contextlib.suppress(BlockingIOError), lock(folder.name):
                    shutil.rmtree(folder, ignore_errors=True)

    def clear(self) -> None:
        """Forgets all chunks, once the cell is finished."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _decode(content: bytes) -> Measured:
    digest, data = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(data).digest() != digest:
        raise ValueError("its SHA-256 is not that of what was written")
    with np.load(io.BytesIO(data), allow_pickle=False) as file:
        arrays = {name: file[name] for name in file.files}
    evaluations = {
        name.removeprefix(_EVALUATION): arrays.pop(name)
        for name in list(arrays)
        if name.startswith(_EVALUATION)
    }
    step_seconds, seconds = (float(arrays.pop(name)) for name in _SECONDS)
    return Measured(evaluations=evaluations, step_seconds=step_seconds, seconds=seconds, **arrays)
