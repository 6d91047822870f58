"""What a cell is called, to users and among the files of a folder of results."""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from celo.evaluation.cell import CellResult

KEY_LENGTH = 16  # characters of a key within a file's name
_LONGEST = 80  # characters of a name within a file's name
_LONGEST_FILE = 255 - len(".parquet")  # of a file's name, as most systems take it


class CellName(NamedTuple):
    """Which cell: equal keys mean equal numbers.

    Attributes:
        task: name of the task.
        optimizer: label of the optimizer.
        key: digest of everything that decides the numbers; "" where the data of the task, which it is made
            of, were not to be had.

    Example:
        >>> CellName("task", "a b", "0" * 64).files
        ('task--a-b~c8687a08--0000000000000000', 'task--a-b--0000000000000000')
    """

    task: str
    optimizer: str
    key: str

    @property
    def file(self) -> str:
        """Name of the cell's file, without ending."""
        return f"{slug(self.task)}--{slug(self.optimizer)}--{self.key[:KEY_LENGTH]}"

    @property
    def files(self) -> tuple[str, ...]:
        """Names under which the cell may be found: `file`, then the one that earlier versions gave it.

        Those did not keep labels apart that differ in signs alone, so that what is found under the second
        may be another cell.
        """
        earlier = f"{_plain(self.task)}--{_plain(self.optimizer)}--{self.key[:KEY_LENGTH]}"
        return (
            (self.file, earlier) if self.file != earlier and len(earlier) <= _LONGEST_FILE else (self.file,)
        )

    @property
    def words(self) -> str:
        """How to call the cell to a user."""
        return f"{self.optimizer} on {self.task}"


def name_of(cell: CellResult) -> CellName:
    """The name of a cell."""
    return CellName(cell.task, cell.optimizer, cell.key)


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9_.@+-]+", "-", name)


def slug(name: str) -> str:
    """The name as part of a file's name: itself if it can be that, else with a hash that keeps it apart."""
    plain = _plain(name)[:_LONGEST]
    # Plain names have no "~" of its own, so that no name is what another one becomes.
    return plain if plain == name else f"{plain}~{hashlib.sha256(name.encode()).hexdigest()[:8]}"
