"""Text corpora as tokens in host memory, in four splits: whole texts, or the beginnings of documents."""

import dataclasses
import itertools
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from celo._core.names import lookup
from celo.meta.data.cache import Arrays, Cache, cache_folder, load_arrays
from celo.meta.data.catalog import SHUFFLE_SEED, TEXT_DATASETS, TextSpec, train_boundaries
from celo.meta.data.errors import DatasetFormatError
from celo.meta.data.source import Rows, Source
from celo.meta.data.tokenizers import (
    LONGEST_PIECE,
    PAD,
    SPECIAL,
    ByteTokenizer,
    LearnedSubwords,
    Subwords,
    Tokenizer,
    Vocabulary,
)

KEPT = 129  # tokens per document: the longest published sequence and its last target
MAX_DOCUMENTS = 1_000_000

_MAX_VOCAB = 1 << 16
_READ = KEPT * LONGEST_PIECE  # characters of a document that can matter
_UNKNOWN = SPECIAL.index("<unk>")
_BATCH = 4096
_TEXT_ARRAYS = ("train_tokens", "test_tokens")
_DOCUMENT_ARRAYS = ("train_documents", "test_documents", "tokenizer", "num_pieces")


@dataclasses.dataclass(frozen=True)
class TextData:
    """A corpus in host memory: a whole text, or the beginnings of documents.

    Attributes:
        name: short name of the dataset.
        splits: tokens, uint16 of shape (n,) or (documents, tokens), of "train", "inner_valid", "outer_valid"
            and "test"; documents are cut at the end or padded there with zeros.
        vocab_size: number V of logits a model of it needs; ids are below, and 0 is padding.
        tokenizer: name of the vocabulary.
        vocabulary: title of the vocabulary, for a reader.
        note: the corpus and the vocabulary, in words.
    """

    name: str
    splits: Mapping[str, np.ndarray]
    vocab_size: int
    tokenizer: str
    vocabulary: str = ""
    note: str = ""


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
        name: name of a text dataset, see `celo.meta.data.TEXT_DATASETS`.
        tokenizer: how text becomes tokens; bytes by default.
        data_dir: folder laid out like hub snapshots; default the variable CELO_DATA.
        cache_dir: folder for tokenized arrays; default the variable CELO_CACHE, else ~/.cache/celo.

    Returns:
        The corpus with its four splits.

    Raises:
        ValueError: an unknown name, or a vocabulary above 16 bits.
        DatasetNotFoundError: no place has the dataset.
        DatasetFormatError: a file is corrupt or does not hold what the catalog says.

    Example:
        >>> load_text("pydoc").vocab_size
        259
    """
    spec = lookup("text dataset", name, TEXT_DATASETS)
    tokenizer = ByteTokenizer() if tokenizer is None else tokenizer
    vocab_size = tokenizer.vocab_size
    if not 2 <= vocab_size <= _MAX_VOCAB:
        raise ValueError(f"the tokenizer's vocab_size must be 2 .. {_MAX_VOCAB}, got {vocab_size}")

    def build(source: Source) -> Arrays:
        rows = {split: _texts(spec, split, source.rows(split)) for split in ("train", "test")}
        ended = {split: (t if t.endswith("\n") else t + "\n" for t in texts) for split, texts in rows.items()}
        return {f"{split}_tokens": tokenizer.encode("".join(texts)) for split, texts in ended.items()}

    def check(arrays: Mapping[str, np.ndarray]) -> None:
        for what, tokens in arrays.items():
            if tokens.ndim != 1 or tokens.dtype != np.uint16:
                raise ValueError(f"{what} are {tokens.dtype}{tokens.shape}, expected uint16 of one axis")
            if tokens.size and not 1 <= tokens.min() <= tokens.max() < vocab_size:
                found = f"{tokens.min()} to {tokens.max()}"
                raise ValueError(f"{what} run from {found}, expected 1 .. {vocab_size - 1}")

    cache = Cache(cache_folder(cache_dir), f"{name}-{tokenizer.name}", _TEXT_ARRAYS, check)
    arrays = load_arrays(spec, cache, build, _embedded(spec), data_dir)
    train, test = arrays["train_tokens"], arrays["test_tokens"]
    if not test.size:
        held_out = train.size // 10
        train, test = train[: train.size - held_out], train[train.size - held_out :]
    splits = {split: train[start:stop] for split, (start, stop) in train_boundaries(train.size).items()}
    copies = {split: np.array(tokens) for split, tokens in {**splits, "test": test}.items()}
    note = f"{name}, windows from anywhere in its text; vocabulary: {tokenizer.name}"
    return TextData(name, copies, vocab_size, tokenizer.name, tokenizer.name, note)


def load_documents(
    name: str,
    vocabulary: Vocabulary | None = None,
    length: int = KEPT - 1,
    max_documents: int = MAX_DOCUMENTS,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> TextData:
    """Load the beginnings of the documents of a corpus as tokens.

    Documents are the rows of the dataset (a sentence, an article), of some datasets the lines of its rows;
    space around them is cut, empty ones are left out. The train file is shuffled by a fixed seed and cut into
    the splits: 1% (`lm1b`, `wikipedia*`) or 10% each for inner and outer validation, as much for test where
    there is no test file, the rest for training. A vocabulary is trained on the train split alone.

    Places and errors are those of `load_text`. The vocabulary is 32,100 sub-words trained on the corpus by
    default; a document has ``length + 1`` tokens, at most 129; of each file at most the first
    ``max_documents`` are read.
    """
    spec = lookup("text dataset", name, TEXT_DATASETS)
    vocabulary = LearnedSubwords() if vocabulary is None else vocabulary
    if not 1 <= length < KEPT:
        raise ValueError(f"length must be 1 .. {KEPT - 1}, got {length!r}")
    if max_documents < 1:
        raise ValueError(f"max_documents must be at least 1, got {max_documents!r}")

    def build(source: Source) -> Arrays:
        return _tokenize(spec, vocabulary, source, max_documents)

    def check(arrays: Mapping[str, np.ndarray]) -> None:
        _check_documents(vocabulary.vocab_size, arrays)

    entry = f"{name}-{vocabulary.name}-first{KEPT}-of{max_documents}"
    cache = Cache(cache_folder(cache_dir), entry, _DOCUMENT_ARRAYS, check)
    arrays = load_arrays(spec, cache, build, _embedded(spec), data_dir)
    files = {split: arrays[f"{split}_documents"] for split in ("train", "test")}
    rows = _split_rows(spec, len(files["train"]), len(files["test"]))
    splits = {
        split: files["test" if split == "test" and len(files["test"]) else "train"][chosen, : length + 1]
        for split, chosen in rows.items()
    }
    note = f"{_describe(spec, files, max_documents)}; {vocabulary.note(int(arrays['num_pieces']))}"
    return TextData(name, splits, vocabulary.vocab_size, vocabulary.name, vocabulary.title, note)


def _texts(spec: TextSpec, split: str, rows: Rows) -> Iterator[str]:
    """Yield the rows of a file, or raise for one that is not a text."""
    for row, text in enumerate(itertools.chain.from_iterable(batch for (batch,) in rows)):
        if not isinstance(text, str):
            raise DatasetFormatError(f"{spec.name} {split} row {row}: expected a text, got {text!r:.80}")
        yield text


def _documents(spec: TextSpec, split: str, rows: Rows) -> Iterator[str]:
    """Yield the documents of a file that are not empty, without the space around them."""
    for text in _texts(spec, split, rows):
        for document in text.splitlines() if spec.lines else (text,):
            if stripped := document.strip():
                yield stripped[:_READ]


def _tokenize(spec: TextSpec, vocabulary: Vocabulary, source: Source, max_documents: int) -> Arrays:
    """Read both files, train the vocabulary on the train split, and tokenize."""
    files = {
        split: list(itertools.islice(_documents(spec, split, source.rows(split)), max_documents))
        for split in ("train", "test")
    }
    train = _split_rows(spec, len(files["train"]), len(files["test"]))["train"]
    encoder = vocabulary.fit(files["train"][row] for row in train)
    matrices = {f"{split}_documents": _encode(encoder, texts) for split, texts in files.items()}
    return matrices | {
        "tokenizer": np.frombuffer(encoder.content(), np.uint8),
        "num_pieces": np.asarray(encoder.num_pieces, np.int32),
    }


def _encode(encoder: Subwords | ByteTokenizer, texts: Sequence[str]) -> np.ndarray:
    """Tokenize texts: uint16 (texts, KEPT), cut or padded at the end; a text without any token is unknown."""
    tokens = np.full((len(texts), KEPT), PAD, np.uint16)
    for start in range(0, len(texts), _BATCH):
        for row, ids in enumerate(encoder.encode_batch(texts[start : start + _BATCH]), start):
            kept = ids[:KEPT] if len(ids) else [_UNKNOWN]
            tokens[row, : len(kept)] = kept
    return tokens


def _split_rows(spec: TextSpec, num_train: int, num_test: int) -> dict[str, np.ndarray]:
    """Draw the rows of each split, of the train file, but "test" of the test file if there is one."""
    order = np.random.default_rng(SHUFFLE_SEED).permutation(num_train)
    held_out = ["inner_valid", "outer_valid"] + ([] if num_test else ["test"])
    size = num_train * spec.held_out_percent // 100
    if size < 1:
        raise ValueError(
            f"{spec.name} has {num_train} documents for training, too few to hold out "
            f"{spec.held_out_percent}% of them"
        )
    rows = {split: order[i * size : (i + 1) * size] for i, split in enumerate(held_out)}
    return {"test": np.arange(num_test), **rows, "train": order[len(held_out) * size :]}


def _check_documents(vocab_size: int, arrays: Mapping[str, np.ndarray]) -> None:
    """Raise ValueError unless the arrays are documents of the vocabulary, padded at the end, and JSON."""
    for name in ("train_documents", "test_documents"):
        tokens = arrays[name]
        if tokens.ndim != 2 or tokens.shape[1] != KEPT or tokens.dtype != np.uint16:
            raise ValueError(f"{name} are {tokens.dtype}{tokens.shape}, expected uint16 of (n, {KEPT})")
        if tokens.size and tokens.max() >= vocab_size:
            raise ValueError(f"{name} run to {tokens.max()}, expected at most {vocab_size - 1}")
        padding = tokens == PAD
        if padding[:, 0].any() or (padding[:, :-1] & ~padding[:, 1:]).any():
            raise ValueError(f"{name} hold padding before a token")
    if not 1 <= arrays["num_pieces"] <= vocab_size:
        raise ValueError(f"there are {arrays['num_pieces']} pieces, expected 1 .. {vocab_size}")
    json.loads(arrays["tokenizer"].tobytes())


def _describe(spec: TextSpec, files: Mapping[str, np.ndarray], max_documents: int) -> str:
    """Describe the corpus and how much of it is read."""
    place = "/".join(filter(None, (spec.repository, spec.config))) or "part of Python"
    kind = "lines" if spec.lines else "documents"
    parts = f"{len(files['train']):,} {kind} of its {spec.train_file} file"
    if len(files["test"]):
        parts += f" and {len(files['test']):,} of its {spec.test_file} file"
    return f"{spec.name} ({place}), {parts} (at most the first {max_documents:,} of a file)"


class _PydocSource:
    """The help texts of the running Python: a third of a megabyte of English, no test file."""

    # The help texts change with the version of Python.
    fingerprint = f"python{platform.python_version()}"
    place = "pydoc_data.topics"

    def rows(self, split: str) -> Rows:
        """Yield one row per topic, in the order of their names; there is only a train file."""
        if split == "train":
            from pydoc_data.topics import topics

            yield ([topics[topic] for topic in sorted(topics)],)


def _embedded(spec: TextSpec) -> Source | None:
    return _PydocSource() if spec.name == "pydoc" else None
