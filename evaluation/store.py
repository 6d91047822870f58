"""A folder of results: what was asked for, and a file for each finished cell.

``evaluation.json`` holds the settings all cells share and the list of cells asked for, ``cells/`` one Parquet
file per finished cell, ``locks/`` the locks by which processes share the work; ``parts/`` what is done of
unfinished cells, see `celo.evaluation.parts`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from celo._core.files import write_atomically
from celo.evaluation import cell_file
from celo.evaluation.cell import CellResult
from celo.evaluation.cell_name import CellName, name_of
from celo.meta.runs.files import foreign, json_bytes, json_ready
from celo.meta.runs.lock import FileLock

FORMAT = 1
NAME = "evaluation.json"


class Meaning(NamedTuple):
    """What a label stands for.

    Attributes:
        spec: the optimizer in words, for messages.
        digest: tells it from all others, see `celo.evaluation.contestants.Contestant.digest`.
    """

    spec: str
    digest: str


class Store:
    """A folder of results.

    Args:
        folder: where it is, or will be with the first `declare`.
        log: gets a line about every damaged file.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     store = Store(Path(folder))
        ...     store.declare({"num_steps": 10}, [CellName("task", "adam", "0" * 64)])
        ...     [name.words for name in store.missing()]
        ['adam on task']
    """

    def __init__(self, folder: Path, log: Callable[[str], None] = lambda line: None):
        self.folder = Path(folder)
        self.log = log

    @property
    def settings(self) -> dict[str, Any]:
        """What all cells share: steps, seeds, evaluations; see `declare`.

        Raises:
            FileNotFoundError: the folder holds no evaluation.
            ValueError: it holds one of another format.
        """
        return self._read_json()["settings"]

    @property
    def provenance(self) -> dict[str, Any]:
        """What the evaluation was begun with, as `celo.meta.runs.provenance.provenance` gives it."""
        return self._read_json()["provenance"]

    @property
    def expected(self) -> tuple[CellName, ...]:
        """The cells asked for, in the order in which they were.

        Raises:
            FileNotFoundError: the folder holds no evaluation.
            ValueError: it holds one of another format.
        """
        return tuple(CellName(**entry) for entry in self._read_json()["cells"])

    def check(self, settings: Mapping[str, Any], labels: Mapping[str, Meaning] | None = None) -> None:
        """Refuses what the folder cannot take in, and writes nothing.

        Args:
            settings: as for `declare`.
            labels: as for `declare`.

        Raises:
            ValueError: the folder holds results of another format or other settings, or of another optimizer
                under one of the labels.
            FileExistsError: it holds something else.
        """
        self._check_folder()
        self._fitting(json_ready(settings, "settings"), labels or {})

    def declare(
        self,
        settings: Mapping[str, Any],
        cells: Iterable[CellName],
        provenance: Mapping[str, Any] | None = None,
        labels: Mapping[str, Meaning] | None = None,
    ) -> None:
        """Says what is asked for, in a new folder or in addition to what it holds.

        A cell of the same task and optimizer but of another key, as after a change of code, takes the place
        of the old one; a cell without a key takes nobody's place.

        Args:
            settings: what all cells share, ready for JSON.
            cells: the cells asked for.
            provenance: what they are made with, ready for JSON; kept from the beginning of the folder.
            labels: what the labels stand for, which never changes in a folder; None = not to be kept.

        Raises:
            ValueError, FileExistsError: as `check`.
        """
        self._check_folder()  # first of all: the lock is a file in it
        settings = json_ready(settings, "settings")
        self.folder.mkdir(parents=True, exist_ok=True)
        with self.lock(NAME, wait=True):
            found = self._fitting(settings, labels or {})
            # Folders of earlier versions have no labels.
            before: dict[str, Any] = {"cells": [], "labels": {}} | (found or {})
            content = {
                "format": FORMAT,
                "settings": settings,
                "cells": _with(before["cells"], cells),
                "labels": {label: one._asdict() for label, one in (labels or {}).items()} | before["labels"],
                "provenance": found["provenance"] if found else json_ready(provenance or {}, "provenance"),
            }
            if content != found:
                write_atomically(self._path, json_bytes(content))

    def path(self, name: CellName) -> Path:
        """The file of a cell."""
        return self.folder / "cells" / f"{name.file}.parquet"

    def write(self, cell: CellResult) -> None:
        """Writes a cell as a whole."""
        path = self.path(name_of(cell))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, cell_file.encode(cell))

    def read(self, name: CellName) -> CellResult | None:
        """Reads a cell back.

        Returns:
            The cell; None if it is not there or its file is damaged, which is logged: both mean that it has
            to be done.

        Raises:
            OSError: the file is there but cannot be read, as for want of permission.
        """
        for file in name.files:
            path = self.path(name).with_name(f"{file}.parquet")
            try:
                data = path.read_bytes()
            except FileNotFoundError:
                continue
            # Damage shows as whatever the parsers of Parquet and of JSON happen to stumble over.
            try:
                cell = cell_file.decode(data)
            except Exception as error:
                what = f"{type(error).__name__}: {error}"
                self.log(f"{path} is damaged ({what}); {name.words} has to be done again")
                continue
            if name_of(cell) == name:
                return cell
            if file == name.file:  # under an earlier version's name, others are where they belong
                self.log(f"{path} holds {name_of(cell).words}, not {name.words}, which is to be done again")
        return None

    def results(self) -> list[CellResult]:
        """All cells asked for that are finished, in the order in which they were asked for."""
        return [cell for name in self.expected if (cell := self.read(name)) is not None]

    def missing(self) -> list[CellName]:
        """The cells asked for that are not finished."""
        return [name for name in self.expected if self.read(name) is None]

    def lock(self, name: str, wait: bool = False) -> FileLock:
        """A lock among processes, to be used as a context manager; it ends with the process that holds it.

        Args:
            name: what is locked, as the name of a file.
            wait: whether to wait for it.

        Raises:
            BlockingIOError: another process holds it, and it was not to be waited for.
        """
        folder = self.folder / "locks"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"{name}.lock", wait)

    @property
    def _path(self) -> Path:
        return self.folder / NAME

    def _read_json(self) -> dict[str, Any]:
        try:
            content = json.loads(self._path.read_bytes())
            version = content["format"]
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{self.folder} holds no evaluation: there is no {NAME} in it; `celo evaluate` makes one"
            ) from None
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{self._path} is not readable ({type(error).__name__}: {error})") from error
        if version != FORMAT:
            raise ValueError(
                f"{self.folder} holds results of format {version}, this version of celo reads and writes "
                f"format {FORMAT}; use another folder"
            )
        return content

    def _check_folder(self) -> None:
        if self.folder.exists() and not self.folder.is_dir():
            raise FileExistsError(f"{self.folder} is a file; expected a folder of results, or a new one")
        if self.folder.is_dir() and not self._path.exists():
            others = foreign(self.folder, own=("locks", "cells", "parts"))
            if others:
                raise FileExistsError(
                    f"{self.folder} holds no evaluation but {', '.join(others[:5])}; use a new folder"
                )

    def _fitting(self, settings: Mapping[str, Any], labels: Mapping[str, Meaning]) -> dict[str, Any] | None:
        """What the list holds, checked against what is asked for; None where there is none."""
        if not self._path.exists():
            return None
        found = self._read_json()
        self._check_settings(found["settings"], settings)
        self._check_labels(found.get("labels", {}), labels)
        return found

    def _check_settings(self, found: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
        different = [
            f"{name} {found.get(name)!r} instead of {asked.get(name)!r}"
            for name in sorted({*found, *asked})
            if found.get(name) != asked.get(name)
        ]
        if different:
            raise ValueError(
                f"{self.folder} holds results of other settings: {', '.join(different)}; "
                "use the same settings or another folder"
            )

    def _check_labels(self, found: Mapping[str, Mapping[str, str]], asked: Mapping[str, Meaning]) -> None:
        for label, meaning in asked.items():
            if label in found and found[label]["digest"] != meaning.digest:
                raise ValueError(
                    f"the label {label} means another optimizer in {self.folder}: "
                    f"{_words(Meaning(**found[label]))} instead of {_words(meaning)}; give this one another "
                    "label, or use another folder"
                )


def _with(entries: list[dict[str, str]], cells: Iterable[CellName]) -> list[dict[str, str]]:
    """The entries of a list and those of more cells, one for each task and optimizer."""
    found = {(entry["task"], entry["optimizer"]): entry for entry in entries}
    for cell in cells:
        if cell.key or cell[:2] not in found:
            found[cell[:2]] = cell._asdict()
    return list(found.values())


def _words(meaning: Meaning) -> str:
    return f"{meaning.spec} (digest {meaning.digest[:12]})"
