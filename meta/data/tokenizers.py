"""Text to small integers: bytes, sub-words trained on a corpus, and published sub-words.

Ids are numbered alike in all of them: 0 is padding, 1 and 2 are the end and the unknown, text begins at 3.
"""

import dataclasses
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol, Self

import numpy as np

from celo.meta.data.errors import DatasetNotFoundError, reading
from celo.meta.data.source import import_extra
from celo.meta.runs.files import digest

PAD = 0
SPECIAL = ("<pad>", "</s>", "<unk>")
LONGEST_PIECE = 16  # characters (of the byte alphabet); bounds the part of a text that N tokens need
T5 = "google-t5/t5-small"
PUBLISHED_VOCABULARIES = ("bytes", T5)
"""The values of `task.vocabulary` that the published language models have."""

_PADDING = ("<pad>", "[PAD]")


class Tokenizer(Protocol):
    """A whole text to token ids, one way, for `load_text`. Ids are kept in 16 bits."""

    @property
    def name(self) -> str:
        """Names the tokenizer and everything that determines its ids; part of the names of cache files."""
        ...

    @property
    def vocab_size(self) -> int:
        """Number of ids, padding included; at most 65536."""
        ...

    def encode(self, text: str) -> np.ndarray:
        """Return the ids of a text: uint16 of shape (tokens,), none of them `PAD`."""
        ...


class Vocabulary(Protocol):
    """A recipe for an encoder, for `load_documents`: `fit` makes one of texts."""

    @property
    def name(self) -> str:
        """Names everything that determines the ids, the corpus apart; part of the names of cache files."""
        ...

    @property
    def title(self) -> str:
        """Names the vocabulary for a reader; the `vocabulary` of a task."""
        ...

    @property
    def vocab_size(self) -> int:
        """Number of logits; at most 65536."""
        ...

    def fit(self, texts: Iterable[str]) -> "Subwords | ByteTokenizer":
        """Make the encoder, from the texts if it is trained."""
        ...

    def note(self, num_pieces: int) -> str:
        """Describe the vocabulary in words, given the number of ids in use."""
        ...


class ByteTokenizer:
    """UTF-8 bytes: byte b is the id b + 3, after three special ids (0 padding, 1 end, 2 unknown); 259 ids.

    A tokenizer, a vocabulary and its encoder at once. The numbering is that of the byte vocabulary of the
    reference implementation.

    Example:
        >>> ByteTokenizer().encode("Aé").tolist()
        [68, 198, 172]
    """

    name = title = "bytes"
    num_special = len(SPECIAL)
    vocab_size = num_pieces = num_special + 256

    def encode(self, text: str) -> np.ndarray:
        """Return the ids of a text: uint16 of shape (bytes,)."""
        return np.frombuffer(text.encode(), np.uint8).astype(np.uint16) + np.uint16(self.num_special)

    def decode(self, tokens: np.ndarray) -> str:
        """Return the text of ids; special ids are left out, broken UTF-8 is replaced."""
        tokens = np.asarray(tokens)
        codes = (tokens[tokens >= self.num_special] - self.num_special).astype(np.uint8)
        return codes.tobytes().decode(errors="replace")

    def fit(self, texts: Iterable[str]) -> Self:
        """Return the encoder, which is this object; the texts are not needed."""
        del texts
        return self

    def encode_batch(self, texts: Sequence[str]) -> list[np.ndarray]:
        """Return the ids of every text."""
        return [self.encode(text) for text in texts]

    def content(self) -> bytes:
        """Return everything that determines the ids, as JSON."""
        return json.dumps(self.name).encode()

    def note(self, num_pieces: int) -> str:
        """Describe the vocabulary in words."""
        return f"UTF-8 bytes, {num_pieces} ids"


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

    def encode_batch(self, texts: Sequence[str]) -> list[Sequence[int]]:
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
        training_documents: number of documents of the train split to train on, at most.

    Example:
        >>> encoder = LearnedSubwords(vocab_size=265).fit(["low lower lowest"] * 3)
        >>> encoder.decode(encoder.encode_batch(["lower"])[0]), encoder.num_pieces
        ('lower', 265)
    """

    vocab_size: int = 32_100
    training_documents: int = 200_000

    def __post_init__(self):
        least = ByteTokenizer.vocab_size
        if not least <= self.vocab_size <= 1 << 16:
            raise ValueError(f"vocab_size must be {least} .. {1 << 16}, got {self.vocab_size!r}")
        if self.training_documents < 1:
            raise ValueError(f"training_documents must be at least 1, got {self.training_documents!r}")

    @property
    def name(self) -> str:
        """Names the vocabulary in cache files."""
        return f"bpe{self.vocab_size}-by{self.training_documents}"

    @property
    def title(self) -> str:
        """Names the vocabulary for a reader."""
        return f"byte-pair encoding of {self.vocab_size:,} ids trained on the corpus"

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
    """A tokenizer published on the hub, or that of a file `tokenizer.json`.

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

    @property
    def title(self) -> str:
        """Names the vocabulary for a reader: the repository, or a file by its name and content."""
        file = self._file
        return self.source if file is None else f"{file.name} (SHA-256 {digest(file)[:12]})"

    def fit(self, texts: Iterable[str]) -> Subwords:
        """Fetch the tokenizer; the texts are not needed.

        Raises:
            DatasetNotFoundError: the hub does not serve the repository.
            DatasetFormatError: the file is not a tokenizer.json.
            ValueError: id 0 is not padding, or there are more ids than logits.
        """
        del texts
        encoder = _download(self.source) if self._file is None else _read(self._file)
        if encoder.piece(0) not in _PADDING:
            raise ValueError(
                f"id 0 of the tokenizer {self.source!r} must be padding, {' or '.join(_PADDING)}; "
                f"got {encoder.piece(0)!r}"
            )
        if encoder.num_pieces > self.vocab_size:
            raise ValueError(
                f"the tokenizer {self.source!r} has {encoder.num_pieces} ids; the task has {self.vocab_size}"
            )
        return encoder

    def note(self, num_pieces: int) -> str:
        """Describe the vocabulary in words; a file by name and content, so that its folder does not matter.

        The words are part of a task, and so of the digests by which results are found again.
        """
        kind = "published tokenizer" if self._file is None else "tokenizer of a file"
        return f"{kind} {self.title} of {self.vocab_size:,} ids, {num_pieces:,} of them in use"

    @property
    def _file(self) -> Path | None:
        path = Path(self.source)
        return path if path.is_file() else None


def _read(path: Path) -> Subwords:
    with reading(path, "a tokenizer.json"):
        return Subwords(path.read_bytes())


def _download(repository: str) -> Subwords:
    try:
        return Subwords(_fetch(repository))
    except ImportError:
        raise
    except Exception as error:  # whatever the network, the hub and the library raise: the cause is chained
        raise DatasetNotFoundError(
            f"The tokenizer {repository!r} is not a file, and the Hugging Face hub did not serve it "
            f"({type(error).__name__}: {error}). Connect to the network once, or give the path of a "
            "tokenizer.json"
        ) from error


def _fetch(repository: str) -> str:
    tokenizers = import_extra("tokenizers", f"the vocabulary {repository!r}")
    return tokenizers.Tokenizer.from_pretrained(repository).to_str()
