"""Where the rows of a dataset come from: a folder laid out like snapshots of the hub, or the hub itself."""

import contextlib
import dataclasses
import hashlib
import importlib
import math
import os
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from celo.meta.data.catalog import DatasetSpec
from celo.meta.data.errors import DatasetFormatError, DatasetNotFoundError, reading
from celo.meta.runs.files import digest

DATA_VARIABLE = "CELO_DATA"
HUB_FINGERPRINT = "hub"

_BATCH_ROWS = 4096
# The library tries a hub that it cannot reach for half a minute, per dataset; a suite has a dozen of them.
_PATIENCE = 60.0
_unreachable = {"since": -math.inf}
_asking = threading.Lock()

Rows = Iterator[tuple[list[Any], ...]]


class Source(Protocol):
    """One place that holds a dataset."""

    @property
    def fingerprint(self) -> str:
        """Changes when the data may have changed; part of the names of cache files."""
        ...

    @property
    def place(self) -> str:
        """Names the place in errors."""
        ...

    def rows(self, split: str) -> Rows:
        """Yield batches of rows of "train" or "test": for each column of the entry a list of values."""
        ...


def import_extra(module: str, purpose: str) -> Any:
    """Import a module of the `train` extra, or name the extra in an ImportError."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(f"{purpose} needs {module}: pip install 'celo[train]'") from error


@dataclasses.dataclass(frozen=True)
class FolderSource:
    """Parquet files of a snapshot: `<repository>/<config>/<split>-*.parquet`.

    Attributes:
        spec: entry of the catalog.
        folder: folder that holds the parquet files.
    """

    spec: DatasetSpec
    folder: Path

    @property
    def place(self) -> str:
        """The folder."""
        return str(self.folder)

    def files(self, split: str) -> list[Path]:
        """List the files of a split, in order; empty if there are none."""
        name = self.spec.file(split)
        return [] if name is None else sorted(self.folder.glob(f"{name}-*.parquet"))

    @property
    def fingerprint(self) -> str:
        """Hash of the content of the train and test files, so that a copied folder shares its cache."""
        paths = [path for split in ("train", "test") for path in self.files(split)]
        with reading(self.folder, "a folder of parquet files"):
            content = ";".join(f"{path.name}:{digest(path)}" for path in paths)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def rows(self, split: str) -> Rows:
        """Yield batches of rows of a split; none where the dataset has no such file."""
        if self.spec.file(split) is None:
            return
        paths = self.files(split)
        if not paths:
            raise DatasetNotFoundError(
                f"Dataset {self.spec.name!r} is incomplete: the folder {self.folder} has other splits, but "
                f"no {self.spec.file(split)}-*.parquet. Add it, or move the folder away to download from the "
                f"hub.{_advice(self.spec)}"
            )
        _check_shards(paths)
        for path in paths:
            yield from _parquet_rows(path, self.spec.columns)


def _check_shards(paths: list[Path]) -> None:
    """Raise unless every file `-of-N` of a split is there."""
    match = re.search(r"-of-(\d+)\.parquet$", paths[0].name)
    if match and len(paths) != int(match[1]):
        raise DatasetFormatError(
            f"{paths[0].parent} holds {len(paths)} of the {int(match[1])} files of {paths[0].name}"
        )


def _parquet_rows(path: Path, columns: tuple[str, ...]) -> Rows:
    parquet = import_extra("pyarrow.parquet", f"reading {path}")
    # Without Arrow's threads: a process that ends as they start is now and then aborted (arrow #34314).
    with reading(path, "a readable parquet file"), parquet.ParquetFile(path, pre_buffer=False) as file:
        found = file.schema_arrow.names
        missing = [column for column in columns if column not in found]
        if missing:
            raise DatasetFormatError(
                f"{path} has no column {', '.join(missing)}; its columns are {', '.join(found)}"
            )
        for batch in file.iter_batches(_BATCH_ROWS, columns=list(columns), use_threads=False):
            yield tuple(batch.column(column).to_pylist() for column in columns)


@dataclasses.dataclass(frozen=True)
class HubSource:
    """The Hugging Face hub, read through `datasets`.

    The fingerprint is constant, because asking the hub for a hash at every start would need the network.

    Attributes:
        spec: entry of the catalog.
        data_dir: data folder without this dataset, for the error.
    """

    spec: DatasetSpec
    data_dir: Path | None
    fingerprint: str = HUB_FINGERPRINT
    place: str = "the Hugging Face hub"

    def rows(self, split: str) -> Rows:
        """Yield batches of rows of a split; none where the dataset has no such file."""
        name = self.spec.file(split)
        if name is None:
            return
        table = self._load(name)
        for start in range(0, len(table), _BATCH_ROWS):
            batch = table[start : start + _BATCH_ROWS]
            yield tuple(batch[column] for column in self.spec.columns)

    def _load(self, split: str) -> Any:
        try:
            datasets = import_extra("datasets", f"downloading {self.spec.name!r}")
            with _patient_hub():
                table = datasets.load_dataset(
                    self.spec.repository, self.spec.config, split=split, revision=self.spec.revision
                )
        except (
            Exception
        ) as error:  # whatever the network, the hub and the library raise: the cause is chained
            raise not_found(self.spec, self.data_dir, f"{type(error).__name__}: {error}") from error
        missing = [column for column in self.spec.columns if column not in table.column_names]
        if missing:
            raise DatasetFormatError(f"{self.spec.repository} on the hub has no column {', '.join(missing)}")
        for column in self.spec.columns:
            if isinstance(table.features[column], datasets.Image):
                table = table.cast_column(column, datasets.Image(decode=False))
        return table


@contextlib.contextmanager
def _patient_hub() -> Iterator[None]:
    """For a minute after the hub could not be reached, use only what the library has downloaded."""
    from huggingface_hub import constants

    with _asking:
        given = constants.HF_HUB_OFFLINE
        known = not given and time.monotonic() - _unreachable["since"] < _PATIENCE
        _set_offline(given or known)
        try:
            yield
        except ConnectionError as error:
            if known:
                raise ConnectionError(
                    "the hub could not be reached within the last minute; try again later"
                ) from error
            if not given:
                _unreachable["since"] = time.monotonic()
            raise
        finally:
            _set_offline(given)


def _set_offline(value: bool) -> None:
    """Set in a running process what the variable HF_HUB_OFFLINE sets at its start."""
    from huggingface_hub import constants, utils

    if value != constants.HF_HUB_OFFLINE:
        constants.HF_HUB_OFFLINE = value
        # Before version 1 a session stayed online or offline as it was made; later ones have no such call.
        getattr(utils, "reset_sessions", lambda: None)()


def data_folder(data_dir: str | os.PathLike[str] | None) -> Path | None:
    """Return the data folder: the argument, else the variable CELO_DATA, else None.

    Raises:
        DatasetNotFoundError: the folder does not exist.
    """
    given = data_dir if data_dir is not None else os.environ.get(DATA_VARIABLE)
    if not given:
        return None
    folder = Path(given).expanduser()
    if not folder.is_dir():
        where = "data_dir" if data_dir is not None else DATA_VARIABLE
        raise DatasetNotFoundError(f"The data folder {folder} (from {where}) does not exist")
    return folder


def find_folder(spec: DatasetSpec, data_dir: Path | None) -> FolderSource | None:
    """Return the snapshot of a dataset in the data folder, or None if it holds no parquet file of it."""
    if data_dir is None or spec.repository is None:
        return None
    source = FolderSource(spec, data_dir / spec.snapshot)
    return source if source.files("train") or source.files("test") else None


def not_found(spec: DatasetSpec, data_dir: Path | None, reason: str) -> DatasetNotFoundError:
    """Build the one error for a dataset that no place has."""
    if spec.repository is None:
        return DatasetNotFoundError(
            f"Dataset {spec.name!r} ships inside a dependency that is not installed ({reason}): "
            "pip install 'celo[train]'"
        )
    looked = f"in {data_dir}" if data_dir else f"in no data folder (give data_dir or set {DATA_VARIABLE})"
    return DatasetNotFoundError(
        f"Dataset {spec.name!r} was not found. Looked {looked} for "
        f"{spec.snapshot}/{spec.train_file}-*.parquet, then on the Hugging Face hub ({reason}). To get it: "
        f"connect to the network once; or {_by_hand(spec)} and set data_dir or {DATA_VARIABLE} to DATA; or "
        "copy the cache folder of a machine that downloaded it and set CELO_CACHE to the copy."
        f"{_advice(spec)}"
    )


def _advice(spec: DatasetSpec) -> str:
    return f" {spec.advice}." if spec.advice else ""


def _by_hand(spec: DatasetSpec) -> str:
    """Describe how to put a snapshot into the folder DATA."""
    if spec.revision == "main":
        return f"run `hf download {spec.repository} --repo-type dataset --local-dir DATA/{spec.repository}`"
    columns = " and ".join(spec.columns)
    files = " and ".join(f"{name}-*.parquet" for name in (spec.train_file, spec.test_file) if name)
    return f"put {files} with the column {columns} into DATA/{spec.snapshot}"
