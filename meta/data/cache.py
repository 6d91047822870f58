"""Decoded arrays kept as .npy files, so that a dataset is decoded and resized once.

An entry is a few arrays with names `<dataset>-<variant>-v<version>-<fingerprint>.<array>.npy`. The name
determines the content, so files of two processes or two versions never mix. Reading needs numpy alone.
"""

import dataclasses
import io
import os
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from celo.meta.runs.files import write_atomically

CACHE_VARIABLE = "CELO_CACHE"

_VERSION = 1  # raised when the same source decodes to other arrays

Arrays = dict[str, np.ndarray]


def cache_folder(cache_dir: str | os.PathLike[str] | None) -> Path:
    """Return the cache folder: the argument, else the variable CELO_CACHE, else ~/.cache/celo."""
    given = cache_dir if cache_dir is not None else os.environ.get(CACHE_VARIABLE)
    return Path(given).expanduser() if given else Path.home() / ".cache" / "celo"


@dataclasses.dataclass(frozen=True)
class Cache:
    """The entries of one dataset in one variant.

    Attributes:
        folder: cache folder; made on the first write.
        name: dataset and variant, such as "mnist-8x8x1".
        arrays: names of the arrays of an entry.
        check: raises ValueError when arrays read from files cannot be what was written.
    """

    folder: Path
    name: str
    arrays: tuple[str, ...]
    check: Callable[[Mapping[str, np.ndarray]], None]

    def path(self, fingerprint: str, array: str) -> Path:
        """Return the file of one array."""
        return self.folder / f"{self.name}-v{_VERSION}-{fingerprint}.{array}.npy"

    def fingerprints(self) -> list[str]:
        """List the fingerprints of the entries that have all their files."""
        prefix, suffix = f"{self.name}-v{_VERSION}-", f".{self.arrays[0]}.npy"
        found = sorted(
            path.name[len(prefix) : -len(suffix)] for path in self.folder.glob(f"{prefix}*{suffix}")
        )
        return [mark for mark in found if all(self.path(mark, array).is_file() for array in self.arrays)]

    def read(self, fingerprint: str) -> Arrays | None:
        """Read an entry, memory-mapped; None if it is not there or, with a warning, if it is corrupt."""
        if fingerprint not in self.fingerprints():
            return None
        arrays: Arrays = {}
        try:
            for array in self.arrays:
                arrays[array] = np.load(self.path(fingerprint, array), mmap_mode="r", allow_pickle=False)
            self.check(arrays)
        except (ValueError, OSError, EOFError) as error:
            where = self.path(fingerprint, "*")
            warnings.warn(f"The cached arrays {where} are corrupt and are not used: {error}", stacklevel=2)
            return None
        return arrays

    def write(self, fingerprint: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write an entry, each file under a temporary name and then renamed, or warn that it failed."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for array in self.arrays:
                content = io.BytesIO()
                np.save(content, arrays[array], allow_pickle=False)
                write_atomically(self.path(fingerprint, array), content.getvalue())
        except OSError as error:
            warnings.warn(f"The decoded {self.name} is not cached in {self.folder}: {error}", stacklevel=2)
