"""Text corpora as the beginnings of their documents: one row of tokens each, padded with zeros."""

import dataclasses
import itertools
import json
import os
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from celo.meta.data.cache import Arrays, Cache, cache_folder
from celo.meta.data.catalog import TEXT_DATASETS, TextSpec, find_spec
from celo.meta.data.errors import DatasetFormatError
from celo.meta.data.load import load_arrays
from celo.meta.data.source import Source
from celo.meta.data.splits import SHUFFLE_SEED
from celo.meta.data.subwords import LONGEST_PIECE, SPECIAL, Encoder, LearnedSubwords, Vocabulary
from celo.meta.data.text import PydocSource
from celo.meta.data.tokenizers import PAD

KEPT = 129  # tokens per document: the longest published sequence and its last target
MAX_DOCUMENTS = 1_000_000

_READ = KEPT * LONGEST_PIECE  # characters of a document that can matter
_UNKNOWN = SPECIAL.index("<unk>")
_CHUNK = 4096
_ARRAYS = ("train_documents", "test_documents", "tokenizer", "num_pieces")


@dataclasses.dataclass(frozen=True)
class DocumentData:
    """A corpus of documents in host memory.

    Attributes:
        name: short name of the dataset.
        splits: tokens, uint16 of shape (documents, tokens), of "train", "inner_valid", "outer_valid" and
            "test"; documents are cut at the end or padded there with zeros.
        vocab_size: number V of logits a model of it needs; ids are below.
        tokenizer: name of the vocabulary.
        note: the corpus and the vocabulary, in words.
    """

    name: str
    splits: Mapping[str, np.ndarray]
    vocab_size: int
    tokenizer: str
    note: str


def load_documents(
    name: str,
    vocabulary: Vocabulary | None = None,
    length: int = KEPT - 1,
    max_documents: int = MAX_DOCUMENTS,
    data_dir: str | os.PathLike[str] | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
) -> DocumentData:
    """Load the beginnings of the documents of a corpus as tokens.

    Documents are the rows of the dataset (a sentence, an article), of some datasets the lines of its rows;
    space around them is cut, empty ones are left out. The train file is shuffled by a fixed seed and cut into
    the splits: 1% (`lm1b`, `wikipedia*`) or 10% each for inner and outer validation, as much for test where
    there is no test file, the rest for training. A vocabulary is trained on the train split alone.

    Args:
        name: name of a text dataset, see `celo.meta.data.TEXT_DATASETS`.
        vocabulary: how text becomes tokens; 32,100 sub-words trained on the corpus by default.
        length: tokens per document less one, 1 .. 128.
        max_documents: documents read from the beginning of each file, at most.
        data_dir: folder laid out like hub snapshots; default the variable CELO_DATA.
        cache_dir: folder for tokenized arrays; default the variable CELO_CACHE, else ~/.cache/celo.

    Returns:
        The corpus with its four splits.

    Raises:
        ValueError: an unknown name, or a number out of range.
        DatasetNotFoundError: the dataset, or a published vocabulary, is nowhere to be had.
        DatasetFormatError: a file is corrupt or does not hold what the catalog says.
    """
    spec = find_spec("text dataset", name, TEXT_DATASETS)
    vocabulary = LearnedSubwords() if vocabulary is None else vocabulary
    if not 1 <= length < KEPT:
        raise ValueError(f"length must be 1 .. {KEPT - 1}, got {length!r}")
    if max_documents < 1:
        raise ValueError(f"max_documents must be at least 1, got {max_documents!r}")

    def check(arrays: Mapping[str, np.ndarray]) -> None:
        _check_arrays(vocabulary.vocab_size, arrays)

    def build(source: Source) -> Arrays:
        arrays = _tokenize(spec, vocabulary, source, max_documents)
        check(arrays)
        return arrays

    entry = f"{name}-{vocabulary.name}-first{KEPT}-of{max_documents}"
    cache = Cache(cache_folder(cache_dir), entry, _ARRAYS, check)
    embedded = PydocSource() if spec.name == "pydoc" else None
    arrays = load_arrays(spec, cache, build, embedded, data_dir)
    files = {split: arrays[f"{split}_documents"] for split in ("train", "test")}
    rows = _split_rows(spec, len(files["train"]), len(files["test"]))
    splits = {
        split: files["test" if split == "test" and len(files["test"]) else "train"][chosen, : length + 1]
        for split, chosen in rows.items()
    }
    note = f"{_describe(spec, files, max_documents)}; {vocabulary.note(int(arrays['num_pieces']))}"
    return DocumentData(name, splits, vocabulary.vocab_size, vocabulary.name, note)


def _tokenize(spec: TextSpec, vocabulary: Vocabulary, source: Source, max_documents: int) -> Arrays:
    """Read both files, train the vocabulary on the train split, and tokenize."""
    files = {
        split: list(itertools.islice(_documents(spec, source, split), max_documents))
        for split in ("train", "test")
    }
    train = _split_rows(spec, len(files["train"]), len(files["test"]))["train"]
    encoder = vocabulary.fit(files["train"][row] for row in train)
    matrices = {f"{split}_documents": _encode(encoder, texts) for split, texts in files.items()}
    return matrices | {
        "tokenizer": np.frombuffer(encoder.content(), np.uint8),
        "num_pieces": np.asarray(encoder.num_pieces, np.int32),
    }


def _documents(spec: TextSpec, source: Source, split: str) -> Iterator[str]:
    """Yield the documents of a file that are not empty, without the space around them."""
    row = 0
    for (batch,) in source.rows(split):
        for text in batch:
            if not isinstance(text, str):
                raise DatasetFormatError(f"{spec.name} {split} row {row}: expected a text, got {text!r:.80}")
            row += 1
            for document in text.splitlines() if spec.lines else (text,):
                if stripped := document.strip():
                    yield stripped[:_READ]


def _encode(encoder: Encoder, texts: Sequence[str]) -> np.ndarray:
    """Tokenize texts: uint16 (texts, KEPT), cut or padded at the end; a text without any token is unknown."""
    tokens = np.full((len(texts), KEPT), PAD, np.uint16)
    for start in range(0, len(texts), _CHUNK):
        for row, ids in enumerate(encoder.encode(texts[start : start + _CHUNK]), start):
            kept = ids[:KEPT] if len(ids) else [_UNKNOWN]
            tokens[row, : len(kept)] = kept
    return tokens


def _split_rows(spec: TextSpec, num_train: int, num_test: int) -> dict[str, np.ndarray]:
    """Draw which rows each split holds, of the train file, but "test" of the test file if there is one."""
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


def _check_arrays(vocab_size: int, arrays: Mapping[str, np.ndarray]) -> None:
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
    """Say which corpus it is and how much of it."""
    place = "/".join(filter(None, (spec.repository, spec.config))) or "part of Python"
    kind = "lines" if spec.lines else "documents"
    parts = f"{len(files['train']):,} {kind} of its {spec.train_file} file"
    if len(files["test"]):
        parts += f" and {len(files['test']):,} of its {spec.test_file} file"
    return f"{spec.name} ({place}), {parts} (at most the first {max_documents:,} of a file)"
