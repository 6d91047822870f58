"""Text on the device, read as windows of a corpus or as beginnings of documents, and rows of the registry."""

import dataclasses
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np

from celo.meta.data.catalog import SPLITS, check_split
from celo.meta.data.text import DocumentData, TextData, load_documents, load_text
from celo.meta.data.tokenizers import ByteTokenizer, LearnedSubwords, PublishedSubwords, Vocabulary
from celo.meta.tasks.base import Batch, Examples, draw_indices, pytree, static
from celo.meta.tasks.entry import Entry, Folders

BYTES = ByteTokenizer()
SUBWORDS = LearnedSubwords()


@pytree
class DeviceTokens:
    """The four splits of a corpus on the device, as 16-bit integers, read in windows.

    Attributes:
        splits: by split the array "token" (n,).
        length: number of tokens predicted per window.
    """

    splits: dict[str, Examples]
    length: int = static()

    @classmethod
    def of(cls, data: TextData, length: int) -> "DeviceTokens":
        """Put a corpus on the default device.

        Raises:
            ValueError: a split is shorter than a window and its target.
        """
        for split, tokens in data.splits.items():
            if len(tokens) <= length:
                raise ValueError(f"{data.name} {split} has {len(tokens)} tokens; needed are over {length}")
        return cls({name: Examples.of({"token": tokens}) for name, tokens in data.splits.items()}, length)

    def draw(self, key: jax.Array, split: str, batch_size: int) -> jax.Array:
        """Draw where windows start, anywhere in a split, with replacement.

        Args:
            key: random key.
            split: "train", "inner_valid", "outer_valid" or "test".
            batch_size: number of windows.

        Returns:
            int32 of shape (batch_size,).
        """
        return draw_indices(key, self.splits[check_split(split)].size - self.length, (batch_size,))

    def gather(self, split: str, starts: jax.Array) -> Batch:
        """Gather windows and the token after each of their tokens.

        Returns:
            "input" and "target", int32 of shape (len(starts), length), the target one token ahead.
        """
        window = starts[:, None] + jnp.arange(self.length + 1, dtype=jnp.int32)[None]
        return _shifted(self.splits[check_split(split)].take(window)["token"])


@pytree
class DeviceDocuments:
    """The four splits of a collection of documents on the device, as 16-bit integers, one row per document.

    Attributes:
        splits: by split the array "token" (documents, length + 1), padded with zeros on the right.
    """

    splits: dict[str, Examples]

    @classmethod
    def of(cls, data: DocumentData, length: int) -> "DeviceDocuments":
        """Put the first ``length + 1`` tokens of every document on the default device.

        Raises:
            ValueError: fewer tokens than that were kept.
        """
        for split, tokens in data.splits.items():
            if tokens.shape[1] <= length:
                raise ValueError(
                    f"{data.name} {split} holds {tokens.shape[1]} tokens a document; needed are over {length}"
                )
        return cls(
            {
                split: Examples.of({"token": np.ascontiguousarray(tokens[:, : length + 1])})
                for split, tokens in data.splits.items()
            }
        )

    def draw(self, key: jax.Array, split: str, batch_size: int) -> jax.Array:
        """Draw documents with replacement: row numbers, int32 of shape (batch_size,)."""
        return draw_indices(key, self.splits[check_split(split)].size, (batch_size,))

    def gather(self, split: str, rows: jax.Array) -> Batch:
        """Gather the beginnings of documents: "input" and "target", int32 of shape (len(rows), length)."""
        return _shifted(self.splits[check_split(split)].take(rows)["token"])


def on_device(data: TextData | DocumentData, length: int) -> DeviceTokens | DeviceDocuments:
    """Put tokens on the default device, to be drawn in sequences of ``length`` and their targets."""
    if isinstance(data, TextData):
        return DeviceTokens.of(data, length)
    return DeviceDocuments.of(data, length)


def _shifted(tokens: jax.Array) -> Batch:
    tokens = tokens.astype(jnp.int32)
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

        Args:
            corpus: name of a text dataset; None for the task's own.
            tokenizer: repository on the hub or file `tokenizer.json`, see `PublishedSubwords`; None for a
                vocabulary trained on the corpus. Plays no part in a task on bytes.
        """
        if self.windows:
            return self
        vocabulary = self.vocabulary
        if tokenizer is not None and vocabulary is not BYTES:
            vocabulary = PublishedSubwords(tokenizer, vocabulary.vocab_size)
        return dataclasses.replace(self, dataset=corpus or self.dataset, vocabulary=vocabulary)

    def load(self, folders: Folders) -> TextData | DocumentData:
        """Load the tokens."""
        if self.windows:
            return load_text(self.dataset, BYTES, **folders)
        return load_documents(self.dataset, self.vocabulary, self.config["length"], **folders)

    def blank_data(self) -> TextData | DocumentData:
        """Return one sequence of a repeated token per split."""
        tokens, size = np.ones(self.config["length"] + 1, np.uint16), self.vocabulary.vocab_size
        if self.windows:
            return TextData(self.dataset, dict.fromkeys(SPLITS, tokens), size, BYTES.name)
        name, title = self.vocabulary.name, self.vocabulary.title
        return DocumentData(self.dataset, dict.fromkeys(SPLITS, tokens[None]), size, name, title, "no data")
