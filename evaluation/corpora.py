"""Which corpus and tokenizer the runs of a language model read, and whether they are its own."""

from __future__ import annotations

import re
from typing import NamedTuple

from celo.evaluation.cell import CellResult
from celo.meta.data.catalog import TEXT_DATASETS
from celo.meta.data.tokenizers import T5
from celo.meta.tasks import TASKS

# Published tasks read bytes or T5's sub-words, and which of them a task reads cannot be chosen.
_PUBLISHED = re.compile(rf"(UTF-8 )?bytes(,|$)|published tokenizer {re.escape(T5)}( |$)")


class Corpus(NamedTuple):
    """What text the runs of a task read.

    Attributes:
        name: of the text dataset.
        own: of the one that the task reads by itself; equal to ``name`` unless another was asked for.
        tokenizer: how text became tokens, in words.
    """

    name: str
    own: str
    tokenizer: str

    @property
    def substituted(self) -> bool:
        """Whether it is not the task's own: losses are then not those of the published task."""
        return self.name != self.own

    @property
    def retokenized(self) -> bool:
        """Whether the tokenizer is not the published tasks': losses are then per other tokens.

        So is any file's, even if it is a copy: what it is a copy of cannot be told from the words.
        """
        return _PUBLISHED.match(self.tokenizer) is None


def corpus_of(cell: CellResult) -> Corpus | None:
    """The corpus that a cell says its runs read.

    It is taken from the note that `celo.meta.data` writes and the runner keeps under ``data``: the name of the
    dataset, then in what way, and after a semicolon the tokenizer.

    Args:
        cell: any cell.

    Returns:
        The corpus; None for a task that reads no text, and for a note of another kind.

    Example:
        >>> Corpus("wikitext2_valid", "lm1b", "UTF-8 bytes, 259 ids").substituted
        True
    """
    note = cell.info.get("data")
    if not isinstance(note, str):
        return None
    found = re.match(r"(\w+)[ ,].*?; (?:vocabulary: )?(.+)", note, re.DOTALL)
    if found is None or found[1] not in TEXT_DATASETS:
        return None
    own = TASKS[cell.task].dataset if cell.task in TASKS else None
    return Corpus(found[1], own or found[1], found[2])
