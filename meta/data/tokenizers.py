"""Tokenizers: text to small integers. Zero is padding in all of them."""

from typing import Protocol

import numpy as np

PAD = 0


class Tokenizer(Protocol):
    """Text to token ids, one way.

    A tokenizer with a learned vocabulary (32,000 sub-words) fits as well as bytes: ids are kept in 16 bits.
    """

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


class ByteTokenizer:
    """UTF-8 bytes: byte b is the id b + 3, after three special ids (0 padding, 1 end, 2 unknown); 259 ids.

    The same numbering as the byte vocabulary of the reference implementation.

    Example:
        >>> ByteTokenizer().encode("Aé").tolist()
        [68, 198, 172]
    """

    name = "bytes"
    num_special = 3
    vocab_size = num_special + 256

    def encode(self, text: str) -> np.ndarray:
        """Return the ids of a text: uint16 of shape (bytes,)."""
        return np.frombuffer(text.encode(), np.uint8).astype(np.uint16) + np.uint16(self.num_special)

    def decode(self, tokens: np.ndarray) -> str:
        """Return the text of ids; special ids are left out, broken UTF-8 is replaced."""
        tokens = np.asarray(tokens)
        return (
            (tokens[tokens >= self.num_special] - self.num_special)
            .astype(np.uint8)
            .tobytes()
            .decode(errors="replace")
        )
