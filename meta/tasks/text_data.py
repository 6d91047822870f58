"""Text on the device, read as windows of a corpus or as beginnings of documents, and rows of the registry."""

import dataclasses
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np

from celo.meta.data.catalog import SPLITS, check_split
from celo.meta.data.text import TextData, load_documents, load_text
from celo.meta.data.tokenizers import ByteTokenizer, LearnedSubwords, PublishedSubwords, Vocabulary
from celo.meta.tasks.base import Batch, Examples, draw_indices, pytree, static
from celo.meta.tasks.entry import Entry, Folders

BYTES = ByteTokenizer()
SUBWORDS = LearnedSubwords()


@pytree
class DeviceText:
    """The four splits of a corpus on the device, as 16-bit integers.

    Attributes:
        splits: by split the array "token": (n,), a text, or (documents, length + 1), the beginnings of
            documents, padded with zeros on the right.
        length: number of tokens predicted per sequence.
        windows: whether sequences are windows from anywhere in a text.
    """

    splits: dict[str, Examples]
    length: int = static()
    windows: bool = static()

    @classmethod
    def of(cls, data: TextData, length: int) -> "DeviceText":
        """Put a corpus on the default device; of documents, their first `length + 1` tokens.

        ValueError if a split, or a document, has fewer tokens than a sequence and its target.
        """
        splits = {}
        for split, tokens in data.splits.items():
            if tokens.shape[-1] <= length:
                each = " a document" if tokens.ndim > 1 else ""
                raise ValueError(
                    f"{data.name} {split} has {tokens.shape[-1]} tokens{each}; needed are over {length}"
                )
            kept = tokens if tokens.ndim == 1 else np.ascontiguousarray(tokens[:, : length + 1])
            splits[split] = Examples.of({"token": kept})
        return cls(splits, length, data.splits["train"].ndim == 1)

    def draw(self, key: jax.Array, split: str, batch_size: int) -> jax.Array:
        """Draw the starts of windows, or row numbers of documents, with replacement: int32 (batch_size,)."""
        size = self.splits[check_split(split)].size
        return draw_indices(key, size - self.length if self.windows else size, (batch_size,))

    def gather(self, split: str, drawn: jax.Array) -> Batch:
        """Gather sequences: "input" and "target", int32 (len(drawn), length), the target one token ahead."""
        if self.windows:
            drawn = drawn[:, None] + jnp.arange(self.length + 1, dtype=jnp.int32)[None]
        tokens = self.splits[check_split(split)].take(drawn)["token"].astype(jnp.int32)
        return {"input": tokens[:, :-1], "target": tokens[:, 1:]}


@dataclasses.dataclass(frozen=True)
class TextEntry(Entry):
    """The row of a language model on a corpus.

    Attributes:
        vocabulary: how text becomes tokens.
        windows: whether a sequence is a window from anywhere in the text, of bytes, rather than the beginning
            of a document.
    """

    dataset: str
    vocabulary: Vocabulary = BYTES
    windows: bool = False

    def reading(self, corpus: str | None = None, tokenizer: str | None = None) -> Self:
        """Return the entry for another corpus or tokenizer; tasks on windows stay as they are.

        A tokenizer is as of `PublishedSubwords`, and plays no part in a task on bytes; None keeps the task's
        own.
        """
        if self.windows:
            return self
        vocabulary = self.vocabulary
        if tokenizer is not None and vocabulary is not BYTES:
            vocabulary = PublishedSubwords(tokenizer, vocabulary.vocab_size)
        return dataclasses.replace(self, dataset=corpus or self.dataset, vocabulary=vocabulary)

    def load(self, folders: Folders) -> TextData:
        """Load the tokens."""
        if self.windows:
            return load_text(self.dataset, BYTES, **folders)
        return load_documents(self.dataset, self.vocabulary, self.config["length"], **folders)

    def blank_data(self) -> TextData:
        """Return one sequence of a repeated token per split."""
        tokens, words = np.ones(self.config["length"] + 1, np.uint16), self.vocabulary
        splits: dict[str, np.ndarray] = dict.fromkeys(SPLITS, tokens if self.windows else tokens[None])
        return TextData(self.dataset, splits, words.vocab_size, words.name, words.title, "no data")
