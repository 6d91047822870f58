"""Finished trainings on disk, each under a fingerprint of everything that decides its result."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from celo.files import write_atomically
from evaluation.fingerprint import fingerprint
from evaluation.outcome import Trainings

__all__ = ["TrainingStore", "fingerprint"]

_FINGERPRINT = "fingerprint"


class TrainingStore:
    """A folder of trainings, a file each; read back only if it holds what is asked for.

    Args:
        folder: where the files are; created when the first is written.
        log: gets a line about every damaged file.
    """

    def __init__(self, folder: Path, log: Callable[[str], None]):
        self.folder = folder
        self.log = log

    def path(self, name: str) -> Path:
        """The file of a training."""
        return self.folder / f"{name}.npz"

    def load(self, name: str, asked: str) -> Trainings | None:
        """Reads trainings back.

        Args:
            name: name of the file.
            asked: `fingerprint` of what they should be trainings of.

        Returns:
            The trainings; None if there is no such file, if it is of something else, or is damaged: all three
            mean that they have to be done.

        Raises:
            OSError: the file is there but cannot be read, as for want of permission.
        """
        path = self.path(name)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        # Damage shows as whatever the parsers of zip, deflate, and array headers happen to stumble over.
        try:
            return _parse(data, asked)
        except Exception as error:
            self.log(f"{path} is damaged ({type(error).__name__}: {error}); its trainings are done again")
            return None

    def save(self, name: str, asked: str, trainings: Trainings) -> None:
        """Writes trainings as a whole, replacing those of the same name.

        Args:
            name: name of the file.
            asked: `fingerprint` of what they are trainings of.
            trainings: the result.
        """
        arrays: dict[str, Any] = {
            key: value for key, value in trainings._asdict().items() if value is not None
        }
        arrays[_FINGERPRINT] = np.asarray(asked)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, **arrays)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path(name), buffer.getvalue())


def _parse(data: bytes, asked: str) -> Trainings | None:
    """The trainings in a file's content; None if they are of something else."""
    with np.load(io.BytesIO(data), allow_pickle=False) as content:
        arrays = dict(content)
    return Trainings(**arrays) if str(arrays.pop(_FINGERPRINT)) == asked else None
