"""Sub-word vocabularies: trained on a corpus, or taken from the hub.

A vocabulary is a recipe; `fit` turns it into an encoder of texts. Ids are numbered as in the byte vocabulary:
0 is padding, 1 and 2 are the end and the unknown, text begins at 3.
"""

import dataclasses
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from celo.meta.data.errors import DatasetFormatError, DatasetNotFoundError
from celo.meta.data.source import import_extra
from celo.meta.data.tokenizers import ByteTokenizer
from celo.meta.runs.files import digest

SPECIAL = ("<pad>", "</s>", "<unk>")
LONGEST_PIECE = 16  # characters (of the byte alphabet); keeps the part of a text that N tokens need bounded
T5 = "google-t5/t5-small"
_PADDING = ("<pad>", "[PAD]")


class Encoder(Protocol):
    """Texts to ids."""

    @property
    def num_pieces(self) -> int:
        """Number of ids in use, the special ones included."""
        ...

    def encode(self, texts: Sequence[str]) -> list[Sequence[int] | np.ndarray]:
        """Return the ids of every text, none of them 0."""
        ...

    def content(self) -> bytes:
        """Return what determines the ids, as JSON."""
        ...


class Vocabulary(Protocol):
    """How texts become ids, before a corpus is seen."""

    @property
    def name(self) -> str:
        """Names everything that determines the ids, the corpus apart; part of the names of cache files."""
        ...

    @property
    def vocab_size(self) -> int:
        """Number of logits; at most 65536."""
        ...

    def fit(self, texts: Iterable[str]) -> Encoder:
        """Make the encoder, from the texts if it has to be trained."""
        ...

    def note(self, num_pieces: int) -> str:
        """Describe the vocabulary in words, given how many ids are in use."""
        ...


class Subwords:
    """An encoder of the `tokenizers` library.

    Special tokens written out in a text are text, so that no text can produce padding.
    """

    def __init__(self, content: str | bytes):
        tokenizers = import_extra("tokenizers", "a vocabulary of sub-words")
        self._content = content if isinstance(content, bytes) else content.encode()
        self._tokenizer: Any = tokenizers.Tokenizer.from_str(self._content.decode())
        self._tokenizer.encode_special_tokens = True
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()

    @property
    def num_pieces(self) -> int:
        """Number of ids in use, the special ones included."""
        return self._tokenizer.get_vocab_size()

    def encode(self, texts: Sequence[str]) -> list[Sequence[int] | np.ndarray]:
        """Return the ids of every text."""
        return [found.ids for found in self._tokenizer.encode_batch(list(texts), add_special_tokens=False)]

    def decode(self, tokens: Iterable[int]) -> str:
        """Return the text of ids; special ids are left out."""
        return self._tokenizer.decode([int(token) for token in tokens]).strip()

    def content(self) -> bytes:
        """Return the tokenizer as the library writes it."""
        return self._content

    def piece(self, index: int) -> str | None:
        """Return the piece of an id, or None."""
        return self._tokenizer.id_to_token(index)


@dataclasses.dataclass(frozen=True)
class LearnedSubwords:
    """Byte-pair encoding trained on the corpus itself.

    Pieces are made of UTF-8 bytes within words, so that no text is unknown; merges are those of pairs seen at
    least twice. A small corpus yields fewer pieces than there are logits: the others never occur. (Sennrich
    et al. 2016, arXiv 1508.07909; over bytes as in GPT-2.) The reference implementation uses the published
    vocabulary of T5 instead.

    Attributes:
        vocab_size: number of logits, and of pieces where the corpus yields as many.
        training_documents: how many documents of the train split are learned from, at most.

    Example:
        >>> encoder = LearnedSubwords(vocab_size=265).fit(["low lower lowest"] * 3)
        >>> encoder.decode(encoder.encode(["lower"])[0]), encoder.num_pieces
        ('lower', 265)
    """

    vocab_size: int = 32_100
    training_documents: int = 200_000

    def __post_init__(self):
        least = len(SPECIAL) + 256
        if not least <= self.vocab_size <= 1 << 16:
            raise ValueError(f"vocab_size must be {least} .. {1 << 16}, got {self.vocab_size!r}")
        if self.training_documents < 1:
            raise ValueError(f"training_documents must be at least 1, got {self.training_documents!r}")

    @property
    def name(self) -> str:
        """Names the vocabulary in cache files."""
        return f"bpe{self.vocab_size}-by{self.training_documents}"

    def fit(self, texts: Iterable[str]) -> Subwords:
        """Train on the first of the texts."""
        tokenizers = import_extra("tokenizers", "training a vocabulary of sub-words")
        tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
        tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = tokenizers.decoders.ByteLevel()
        trainer = tokenizers.trainers.BpeTrainer(
            vocab_size=self.vocab_size,
            min_frequency=2,
            special_tokens=list(SPECIAL),
            initial_alphabet=sorted(tokenizers.pre_tokenizers.ByteLevel.alphabet()),
            max_token_length=LONGEST_PIECE,
            show_progress=False,
        )
        tokenizer.train_from_iterator(itertools.islice(texts, self.training_documents), trainer)
        return Subwords(tokenizer.to_str())

    def note(self, num_pieces: int) -> str:
        """Describe the vocabulary in words."""
        return (
            f"byte-pair encoding of {self.vocab_size:,} ids, {num_pieces:,} of them in use, trained on at "
            f"most {self.training_documents:,} documents of its train split"
        )


@dataclasses.dataclass(frozen=True)
class PublishedSubwords:
    """A tokenizer somebody published on the hub, or that of a file `tokenizer.json`.

    `T5`, google-t5/t5-small, is the vocabulary of the published tasks: 32,000 pieces and 100 extra ids.

    Attributes:
        source: name of a repository on the hub, or path of a file.
        vocab_size: number of logits; the tokenizer may have fewer ids.
    """

    source: str
    vocab_size: int = 32_100

    @property
    def name(self) -> str:
        """Names the vocabulary in cache files: by the content of a file, by the name of a repository."""
        file = self._file
        mark = re.sub(r"[^\w.]+", "--", self.source) if file is None else digest(file)[:16]
        return f"{mark}-{self.vocab_size}"

    def fit(self, texts: Iterable[str]) -> Subwords:
        """Fetch the tokenizer; the texts are not needed."""
        encoder = _download(self.source) if self._file is None else _read(self._file)
        if encoder.piece(0) not in _PADDING:
            raise ValueError(
                f"the tokenizer {self.source!r} has {encoder.piece(0)!r} as id 0, which has to be padding, "
                f"{' or '.join(_PADDING)}"
            )
        if encoder.num_pieces > self.vocab_size:
            raise ValueError(
                f"the tokenizer {self.source!r} has {encoder.num_pieces} ids; the task has {self.vocab_size}"
            )
        return encoder

    def note(self, num_pieces: int) -> str:
        """Describe the vocabulary in words; a file by name and content, wherever it is and whoever made it.

        The words are part of a task, and so of the digests by which results are found again.
        """
        file = self._file
        what = f"published tokenizer {self.source}"
        if file is not None:
            what = f"tokenizer of a file {file.name} (SHA-256 {digest(file)[:12]})"
        return f"{what} of {self.vocab_size:,} ids, {num_pieces:,} of them in use"

    @property
    def _file(self) -> Path | None:
        path = Path(self.source)
        return path if path.is_file() else None


def _read(path: Path) -> Subwords:
    try:
        return Subwords(path.read_bytes())
    except ImportError:
        raise
    except Exception as error:  # the library raises bare exceptions for a file it cannot read
        raise DatasetFormatError(f"{path} is not a tokenizer.json: {error}") from error


def _download(repository: str) -> Subwords:
    try:
        return Subwords(_fetch(repository))
    except ImportError:
        raise
    except Exception as error:  # whatever the network, the hub and the library raise: the cause is chained
        raise DatasetNotFoundError(
            f"The tokenizer {repository!r} is neither a file nor to be had from the Hugging Face hub "
            f"({type(error).__name__}: {error}). Connect to the network once, or give the path of a "
            "tokenizer.json"
        ) from error


def _fetch(repository: str) -> str:
    tokenizers = import_extra("tokenizers", f"the vocabulary {repository!r}")
    return tokenizers.Tokenizer.from_pretrained(repository).to_str()


class Bytes:
    """UTF-8 bytes, see `celo.meta.data.tokenizers.ByteTokenizer`: both a vocabulary and its encoder."""

    name = ByteTokenizer.name
    vocab_size = num_pieces = ByteTokenizer.vocab_size

    def fit(self, texts: Iterable[str]) -> "Bytes":
        """Return the encoder: this; the texts are not needed."""
        return self

    def encode(self, texts: Sequence[str]) -> list[Sequence[int] | np.ndarray]:
        """Return the ids of every text."""
        tokenizer = ByteTokenizer()
        return [tokenizer.encode(text) for text in texts]

    def content(self) -> bytes:
        """Return what determines the ids, as JSON."""
        return json.dumps(self.name).encode()

    def note(self, num_pieces: int) -> str:
        """Describe the vocabulary in words."""
        return f"UTF-8 bytes, {num_pieces} ids"
