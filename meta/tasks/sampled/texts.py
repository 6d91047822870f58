"""Families of sampled language models, with their published ranges."""

import dataclasses
from typing import Any

import numpy as np

from celo.meta.data.text import KEPT, TextData
from celo.meta.tasks.base import Task
from celo.meta.tasks.recurrent_lm import RecurrentLM
from celo.meta.tasks.sampled.distributions import Choice, Configuration, LogInt
from celo.meta.tasks.sampled.family import Family
from celo.meta.tasks.sampled.graph import Dynamic
from celo.meta.tasks.sampled.task import SampledTask
from celo.meta.tasks.text_data import BYTES, SUBWORDS, TextEntry
from celo.meta.tasks.transformer_lm import TransformerLM

_DOCUMENTS = {
    "lm1b_32k": ("lm1b", SUBWORDS),
    "lm1b_bytes": ("lm1b", BYTES),
    "wikipedia_en_32k": ("wikipedia20201201", SUBWORDS),
    "wikipedia_en_bytes": ("wikipedia20201201", BYTES),
}
LM_DATASETS = tuple(_DOCUMENTS)


@dataclasses.dataclass(frozen=True)
class LanguageFamily(Family):
    """Base of the language models, whose entries are `TextEntry`.

    A published dataset is read by documents, of which 129 tokens are kept, so longer sequences are cut to
    128; another one by windows of bytes from anywhere in its text.
    """

    batch_size: LogInt = LogInt(4, 512)
    sequence_length: LogInt = LogInt(4, 512)
    dataset: Choice = Choice(LM_DATASETS)
    vocab_size: LogInt = LogInt(100, 10000)

    def entry(self, configuration: Configuration, dynamic: Dynamic) -> TextEntry:
        """Make the entry of a task."""
        dataset, length = configuration["dataset"], configuration["sequence_length"]
        windows = dataset not in _DOCUMENTS
        config = {
            "batch_size": configuration["batch_size"],
            "length": length if windows else min(length, KEPT - 1),
            "vocab_size": configuration["vocab_size"],
            "dynamic": dynamic,
            **self.model(configuration),
        }
        name, vocabulary = (dataset, BYTES) if windows else _DOCUMENTS[dataset]
        return TextEntry("sampled", name, self.build, config, vocabulary, windows)

    def model(self, configuration: Configuration) -> dict[str, Any]:
        """The arguments of `build` that describe the model."""
        raise NotImplementedError

    def build(self, data: TextData, name: str, dynamic: Dynamic, vocab_size: int, **config: Any) -> Task:
        """Build the task on its data."""
        raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class RecurrentLMFamily(LanguageFamily):
    """Language models with one recurrent layer.

    The published code lists three layers and builds an LSTM for each; here they are what they are called.
    """

    rnn_size: LogInt = LogInt(8, 256)
    embed_size: LogInt = LogInt(8, 256)
    core: Choice = Choice(("LSTM", "VanillaRNN", "GRU"))

    shared = ("initializer", "init_scale")

    def model(self, configuration: Configuration) -> dict[str, Any]:
        """Sizes and the recurrent layer."""
        return {
            "hidden": configuration["rnn_size"],
            "embedding": configuration["embed_size"],
            "core": configuration["core"],
        }

    def build(
        self, data: TextData, name: str, dynamic: Dynamic, vocab_size: int, **config: Any
    ) -> SampledTask:
        """Build the task; the initialiser is that of the embedding and of the output layer."""
        task = RecurrentLM.of(reduce_vocabulary(data, vocab_size), **config)
        layers = ("embedding", "linear")
        return SampledTask.of(task, dynamic, name, layers=layers, classes=vocab_size)


@dataclasses.dataclass(frozen=True)
class TransformerLMFamily(LanguageFamily):
    """Transformer language models, with heads of 32 whatever the width and a dropout of 0.1."""

    d_model_per_head: LogInt = LogInt(8, 128)
    num_heads: LogInt = LogInt(8, 128)
    num_layers: LogInt = LogInt(1, 8)

    def model(self, configuration: Configuration) -> dict[str, Any]:
        """Sizes; the width is the number of heads times the width per head."""
        return {
            "num_layers": configuration["num_layers"],
            "num_heads": configuration["num_heads"],
            "d_model": configuration["num_heads"] * configuration["d_model_per_head"],
            "dropout": 0.1,
        }

    def build(
        self, data: TextData, name: str, dynamic: Dynamic, vocab_size: int, **config: Any
    ) -> SampledTask:
        """Build the task on its data."""
        task = TransformerLM.of(reduce_vocabulary(data, vocab_size), **config)
        return SampledTask.of(task, dynamic, name, classes=vocab_size)


def reduce_vocabulary(data: TextData, size: int) -> TextData:
    """The corpus with `size` tokens: an id t of at least `size` becomes ``1 + t mod (size - 1)``.

    Padding stays 0. A vocabulary larger than that of the corpus has ids that never occur.
    """

    def reduce(tokens: np.ndarray) -> np.ndarray:
        return np.where(tokens < size, tokens, 1 + tokens % (size - 1)).astype(tokens.dtype)

    splits = {split: reduce(tokens) for split, tokens in data.splits.items()}
    return dataclasses.replace(data, splits=splits, vocab_size=size)
