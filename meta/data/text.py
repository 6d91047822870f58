"""Text corpora as host arrays of tokens, cut into the four splits."""

import dataclasses
import os
import platform
from collections.abc import Mapping

import numpy as np

from celo.meta.data.cache import Arrays, Cache, cache_folder
from celo.meta.data.catalog import TEXT_DATASETS, TextSpec, find_spec
from celo.meta.data.errors import DatasetFormatError
from celo.meta.data.load import load_arrays
from celo.meta.data.source import Rows, Source
from celo.meta.data.splits import train_boundaries
from celo.meta.data.tokenizers import ByteTokenizer, Tokenizer

_MAX_VOCAB = 1 << 16
_ARRAYS = ("train_tokens", "test_tokens")


@dataclasses.dataclass(frozen=True)
class TextData:
    """A text corpus in host memory.

    Attributes:
        name: short name of the dataset.
        splits: tokens, uint16 of shape (n,), of "train", "inner_valid", "outer_valid" and "test".
        vocab_size: number of token ids; 0 is padding and does not occur.
        tokenizer: name of the tokenizer.
    """

    name: str
    splits: Mapping[str, np.ndarray]
    vocab_size: int
    tokenizer: str

    @property
    def note(self) -> str:
        """The corpus and how it is read, in words."""
        return f"{self.name}, windows from anywhere in its text; vocabulary: {self.tokenizer}"


def load_text(
    name: str,
    tokenizer: Tokenizer | None = None,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> TextData:
    """Load a text corpus as tokens.

    The rows of a file, each ended by a line break, are one text. Splits are contiguous, so that no passage is
    in two: 80%, 10% and 10% of the train file, and the test file; where there is no test file, the last tenth
    is "test" and the rest is cut likewise. A validation file is not used.

    Args:
        name: pydoc, tiny_shakespeare or wikitext2.
        tokenizer: how text becomes tokens; bytes by default.
        data_dir: folder laid out like hub snapshots; default the variable CELO_DATA.
        cache_dir: folder for tokenized arrays; default the variable CELO_CACHE, else ~/.cache/celo.

    Returns:
        The corpus with its four splits.

    Raises:
        ValueError: an unknown name, or a vocabulary above 16 bits.
        DatasetNotFoundError: the dataset is nowhere to be had.
        DatasetFormatError: a file is corrupt or does not hold what the catalog says.

    Example:
        >>> load_text("pydoc").vocab_size
        259
    """
    spec = find_spec("text dataset", name, TEXT_DATASETS)
    tokenizer = ByteTokenizer() if tokenizer is None else tokenizer
    vocab_size = tokenizer.vocab_size
    if not 2 <= vocab_size <= _MAX_VOCAB:
        raise ValueError(f"the tokenizer's vocab_size must be 2 .. {_MAX_VOCAB}, got {vocab_size}")

    def check(arrays: Mapping[str, np.ndarray]) -> None:
        _check_arrays(vocab_size, arrays)

    def build(source: Source) -> Arrays:
        arrays = {
            f"{split}_tokens": tokenizer.encode(_join(spec, split, source.rows(split)))
            for split in ("train", "test")
        }
        check(arrays)
        return arrays

    cache = Cache(cache_folder(cache_dir), f"{name}-{tokenizer.name}", _ARRAYS, check)
    embedded = PydocSource() if spec.name == "pydoc" else None
    arrays = load_arrays(spec, cache, build, embedded, data_dir)
    return TextData(name, _cut(arrays), vocab_size, tokenizer.name)


def _join(spec: TextSpec, split: str, rows: Rows) -> str:
    """Join the rows of a file, each ended by a line break."""
    texts = []
    for (batch,) in rows:
        for text in batch:
            if not isinstance(text, str):
                raise DatasetFormatError(
                    f"{spec.name} {split} row {len(texts)}: expected a text, got {text!r:.80}"
                )
            texts.append(text if text.endswith("\n") else text + "\n")
    return "".join(texts)


def _check_arrays(vocab_size: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError unless the arrays are tokens of the vocabulary without padding."""
    for name, tokens in arrays.items():
        if tokens.ndim != 1 or tokens.dtype != np.uint16:
            raise ValueError(f"{name} are {tokens.dtype}{tokens.shape}, expected uint16 of one axis")
        if tokens.size and not 1 <= tokens.min() <= tokens.max() < vocab_size:
            raise ValueError(
                f"{name} run from {tokens.min()} to {tokens.max()}, expected 1 .. {vocab_size - 1}"
            )


def _cut(arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    train, test = arrays["train_tokens"], arrays["test_tokens"]
    if not test.size:
        held_out = train.size // 10
        train, test = train[: train.size - held_out], train[train.size - held_out :]
    splits = {split: train[start:stop] for split, (start, stop) in train_boundaries(train.size).items()}
    return {split: np.array(tokens) for split, tokens in {**splits, "test": test}.items()}


class PydocSource:
    """The help texts of the running Python: a third of a megabyte of English, no test file."""

    @property
    def fingerprint(self) -> str:
        """The version of Python: its help texts change with it."""
        return f"python{platform.python_version()}"

    def rows(self, split: str) -> Rows:
        """Yield one row per topic, in the order of their names; there is only a train file."""
        if split == "train":
            from pydoc_data.topics import topics

            yield ([topics[topic] for topic in sorted(topics)],)
