"""Rows of the registry for language models on the bytes of a small corpus."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from meta.datasets.splits import SPLITS
from meta.datasets.text import TextData, load_text
from meta.datasets.tokenizers import ByteTokenizer
from meta.tasks.base import Task
from meta.tasks.families.entry import Entry, Folders
from meta.tasks.recurrent_lm import RecurrentLM


@dataclasses.dataclass(frozen=True)
class TextTask(Entry):
    """A language model on the bytes of a corpus.

    Attributes:
        dataset: short name of the dataset.
        config: arguments of `RecurrentLM.of`.
    """

    dataset: str  # pyright: ignore[reportIncompatibleMethodOverride]  # a field serves where a property is asked
    config: Mapping[str, Any]
    family: str = "byte_rnn_lm"  # pyright: ignore[reportIncompatibleMethodOverride]  # likewise

    def make(self, name: str, folders: Folders) -> Task:
        """Load the data and build the task."""
        return RecurrentLM.of(load_text(self.dataset, **folders), name=name, **self.config)
