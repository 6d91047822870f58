"""Language models on the beginnings of documents: the published ones, on LM1B and Wikipedia.

"32k" in a name is a vocabulary of 32,100 sub-words, "bytes" one of 259. The published vocabulary is that of
T5; unless another is asked for, ours is trained on the corpus, and the task's `data_note` says so.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Self

import numpy as np

from celo.meta.data.documents import DocumentData, load_documents
from celo.meta.data.splits import SPLITS
from celo.meta.data.subwords import Bytes, LearnedSubwords, PublishedSubwords, Vocabulary
from celo.meta.tasks.base import Task
from celo.meta.tasks.families.entry import Entry, Folders
from celo.meta.tasks.language_model import LanguageModel
from celo.meta.tasks.recurrent_lm import RecurrentLM
from celo.meta.tasks.transformer_lm import TransformerLM


@dataclasses.dataclass(frozen=True)
class DocumentTask(Entry):
    """A language model on the beginnings of the documents of a corpus.

    Attributes:
        kind: class of the task.
        vocabulary: how text becomes tokens.
        config: arguments of `kind.of`.
    """

    dataset: str
    kind: type[LanguageModel]
    vocabulary: Vocabulary
    config: Mapping[str, Any]

    def reading(self, corpus: str | None = None, tokenizer: str | None = None) -> Self:
        """Return the entry for another corpus or tokenizer.

        Args:
            corpus: name of a text dataset; None for the task's own.
            tokenizer: repository on the hub or file `tokenizer.json`, see `PublishedSubwords`; None for a
                vocabulary trained on the corpus. Plays no part in a task on bytes.
        """
        vocabulary = self.vocabulary
        if tokenizer is not None and not isinstance(vocabulary, Bytes):
            vocabulary = PublishedSubwords(tokenizer, vocabulary.vocab_size)
        return dataclasses.replace(self, dataset=corpus or self.dataset, vocabulary=vocabulary)

    def make(self, name: str, folders: Folders) -> Task:
        """Load the data and build the task."""
        data = load_documents(self.dataset, self.vocabulary, self.config["length"], **folders)
        return self.kind.of(data, name=name, **self.config)

    def blank(self, name: str) -> Task:
        """Build the task on one document of a repeated token per split."""
        tokens = np.ones((1, self.config["length"] + 1), np.uint16)
        vocabulary = self.vocabulary
        data = DocumentData(
            self.dataset, dict.fromkeys(SPLITS, tokens), vocabulary.vocab_size, vocabulary.name, "no data"
        )
        return self.kind.of(data, name=name, **self.config)


_CORPORA = {"lm1b": "lm1b", "wikipediaen": "wikipedia20201201"}
_VOCABULARIES: Mapping[str, Vocabulary] = {"bytes": Bytes(), "32k": LearnedSubwords()}


def _recurrent(corpus: str, vocabulary: str, core: str, hidden: int, length: int = 32) -> tuple[str, Entry]:
    """Name and entry; the embedding is half as wide as the state, the batch 128."""
    embedding = hidden // 2
    config = {
        "core": core,
        "hidden": hidden,
        "embedding": embedding,
        "length": length,
        "batch_size": 128,
    }
    name = f"RNNLM_{corpus}{vocabulary}_Patch{length}_{core}{hidden}_Embed{embedding}"
    return name, DocumentTask("rnn_lm", _CORPORA[corpus], RecurrentLM, _VOCABULARIES[vocabulary], config)


def _transformer(
    suffix: str, length: int, batch: int, layers: int, heads: int, width: int, dropout: float = 0.0
) -> tuple[str, Entry]:
    config = {
        "length": length,
        "batch_size": batch,
        "num_layers": layers,
        "num_heads": heads,
        "d_model": width,
        "dropout": dropout,
    }
    entry = DocumentTask("transformer_lm", "lm1b", TransformerLM, _VOCABULARIES["32k"], config)
    return f"TransformerLM_LM1B_{suffix}", entry


LANGUAGE_TASKS: Mapping[str, Entry] = MappingProxyType(
    dict(
        [
            _recurrent("lm1b", "bytes", "IRNN", 128),
            _recurrent("lm1b", "bytes", "LSTM", 128),
            _recurrent("lm1b", "bytes", "GRU", 128),
            _recurrent("lm1b", "bytes", "VanillaRNN", 128),
            _recurrent("lm1b", "bytes", "LSTM", 128, length=128),
            _recurrent("lm1b", "bytes", "LSTM", 256),
            _recurrent("lm1b", "bytes", "GRU", 256),
            _recurrent("lm1b", "32k", "VanillaRNN", 256),
            _recurrent("lm1b", "32k", "LSTM", 256),
            _recurrent("lm1b", "32k", "IRNN", 256),
            _recurrent("wikipediaen", "32k", "LSTM", 256),
            _recurrent("wikipediaen", "32k", "GRU", 256),
            _recurrent("wikipediaen", "bytes", "LSTM", 256),
            _recurrent("wikipediaen", "bytes", "GRU", 256),
            # length, batch, layers, heads, width
            _transformer("MultiRuntime_0", 8, 4, 1, 5, 20, dropout=0.1),
            _transformer("MultiRuntime_1", 8, 4, 1, 6, 24, dropout=0.1),
            _transformer("MultiRuntime_2", 8, 8, 2, 4, 32),
            _transformer("MultiRuntime_3", 16, 8, 1, 4, 32),
            _transformer("MultiRuntime_4", 4, 16, 2, 4, 32),
            _transformer("MultiRuntime_5", 32, 8, 1, 4, 32),
            _transformer("MultiRuntime_6", 64, 4, 1, 5, 80),
            _transformer("MultiRuntime_7", 32, 16, 3, 7, 112),
            _transformer("MultiRuntime_8", 32, 64, 1, 4, 128),
            _transformer("MultiRuntime_9", 64, 64, 2, 4, 256),
            _transformer("MultiRuntime_10", 64, 128, 3, 4, 256),
            _transformer("MultiRuntime_11", 32, 256, 2, 19, 304),
            _transformer("5layer_32width", 128, 32, 5, 8, 32, dropout=0.1),
            _transformer("5layer_128width", 128, 32, 5, 8, 128, dropout=0.1),
            _transformer("5layer_256width", 128, 32, 5, 8, 256, dropout=0.1),
            _transformer("5layer_512width", 128, 32, 5, 8, 512, dropout=0.1),
        ]
    )
)
