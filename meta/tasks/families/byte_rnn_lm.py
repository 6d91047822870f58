"""Recurrent language models on the bytes of a small corpus: ours, where the large corpora are not at hand."""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from celo.meta.data.splits import SPLITS
from celo.meta.data.text import TextData, load_text
from celo.meta.data.tokenizers import ByteTokenizer
from celo.meta.tasks.base import Task
from celo.meta.tasks.families.entry import Entry, Folders
from celo.meta.tasks.recurrent_lm import RecurrentLM


@dataclasses.dataclass(frozen=True)
class TextTask(Entry):
    """A language model on the bytes of a corpus.

    Attributes:
        config: arguments of `RecurrentLM.of`.
    """

    dataset: str
    config: Mapping[str, Any]

    def make(self, name: str, folders: Folders) -> Task:
        """Load the data and build the task."""
        return RecurrentLM.of(load_text(self.dataset, **folders), name=name, **self.config)

    def blank(self, name: str) -> Task:
        """Build the task on a corpus of one repeated token."""
        tokens = np.ones(self.config["length"] + 1, np.uint16)
        data = TextData(
            self.dataset, dict.fromkeys(SPLITS, tokens), ByteTokenizer.vocab_size, ByteTokenizer.name
        )
        return RecurrentLM.of(data, name=name, **self.config)


def _task(dataset: str, **config: int) -> TextTask:
    return TextTask("byte_rnn_lm", dataset, config)


BYTE_RNN_LM_TASKS: Mapping[str, Entry] = MappingProxyType(
    {
        "RNNLM_pydocbytes_Patch16_GRU32_Embed16_bs16": _task("pydoc", hidden=32, embedding=16, length=16),
        "RNNLM_pydocbytes_Patch32_GRU64_Embed32_bs16": _task("pydoc", hidden=64, embedding=32, length=32),
        "RNNLM_tinyshakespearebytes_Patch32_GRU64_Embed32_bs16": _task(
            "tiny_shakespeare", hidden=64, embedding=32, length=32
        ),
    }
)
