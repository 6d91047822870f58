"""Where the arrays of a dataset come from: cached .npy files, else a source that is decoded once.

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

from celo._core.files import write_atomically
from celo.meta.data.catalog import DatasetSpec
from celo.meta.data.errors import DatasetFormatError, reading
from celo.meta.data.source import HubSource, Source, data_folder, find_folder

CACHE_VARIABLE = "CELO_CACHE"

_VERSION = 1  # raised when the same source decodes to other arrays

Arrays = dict[str, np.ndarray]


def cache_folder(cache_dir: str | os.PathLike[str] | None) -> Path:
    """Return the cache folder: the argument, else the variable CELO_CACHE, else ~/.cache/celo."""
    given = cache_dir if cache_dir is not None else os.environ.get(CACHE_VARIABLE)
    return Path(given).expanduser() if given else Path.home() / ".cache" / "celo"


def load_arrays(
    spec: DatasetSpec,
    cache: "Cache",
    build: Callable[[Source], Arrays],
    embedded: Source | None,
    data_dir: str | os.PathLike[str] | None,
) -> Arrays:
    """Load the arrays of a dataset from the first place that has it; memory-mapped when they are cached.

    The order is: the dependency it is embedded in; the data folder; the hub. Decoded arrays are cached under
    the fingerprint of their place and serve this place alone: the content of one folder never serves another
    folder, or none.

    Raises:
        DatasetNotFoundError: no place has the dataset.
        DatasetFormatError: a file is corrupt or does not hold what the catalog says.
        ValueError: decoded arrays fail the check of the cache.
    """
    folder = data_folder(data_dir)
    source = embedded or find_folder(spec, folder) or HubSource(spec, folder)
    arrays = cache.read(source.fingerprint)
    if arrays is None:
        try:
            arrays = build(source)
        except DatasetFormatError as error:
            if source.place in str(error):
                raise
            raise DatasetFormatError(f"{error} (read from {source.place})") from error
        cache.check(arrays)
        cache.write(source.fingerprint, arrays)
    return arrays


@dataclasses.dataclass(frozen=True)
class Cache:
    """The entries of one dataset in one variant.

    Attributes:
        folder: cache folder; created by the first write.
        name: dataset and variant, such as "mnist-8x8x1".
        arrays: names of the arrays of an entry.
        check: raises ValueError for arrays that a write cannot have produced.
    """

    folder: Path
    name: str
    arrays: tuple[str, ...]
    check: Callable[[Mapping[str, np.ndarray]], None]

    def path(self, fingerprint: str, array: str) -> Path:
        """Return the file of one array."""
        return self.folder / f"{self.name}-v{_VERSION}-{fingerprint}.{array}.npy"

    def read(self, fingerprint: str) -> Arrays | None:
        """Read an entry, memory-mapped; None if it is absent or, with a warning, if it is corrupt."""
        paths = {array: self.path(fingerprint, array) for array in self.arrays}
        if not all(path.is_file() for path in paths.values()):
            return None
        try:
            with reading(self.path(fingerprint, "*"), "what was cached"):
                arrays = {
                    array: np.load(path, mmap_mode="r", allow_pickle=False) for array, path in paths.items()
                }
                self.check(arrays)
        except DatasetFormatError as error:
            warnings.warn(f"The cached arrays are corrupt and are not used: {error}", stacklevel=2)
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
