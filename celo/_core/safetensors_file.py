"""The file format of this project's meta-parameters: safetensors with one JSON object in the header.

The object, under the key ``celo``, holds ``format`` (the version of this layout), ``optimizer`` (its name),
``config`` (every field), ``provenance`` and ``sha256``, which covers the rest of the object and every leaf's
path, dtype, shape and bytes. It is one key because safetensors writes several in no fixed order, and equal
weights give equal files.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import safetensors.numpy

from celo._core import files

FORMAT = 1
KEY = "celo"
_LARGEST_HEADER = 100_000_000  # as safetensors has it

Header = dict[str, Any]


def looks_like(head: bytes) -> bool:
    """Whether a file that begins with these bytes is meant to be safetensors."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= _LARGEST_HEADER


def _checksum(header: Mapping[str, Any], flat: Mapping[str, np.ndarray]) -> str:
    total = hashlib.sha256(json.dumps(header, sort_keys=True).encode())
    for path in sorted(flat):
        leaf = flat[path]
        total.update(json.dumps([path, str(leaf.dtype), list(leaf.shape)]).encode())
        total.update(leaf.tobytes())
    return total.hexdigest()


def encode(header: Header, flat: Mapping[str, np.ndarray]) -> bytes:
    """A file's content; the same for equal arguments.

    Args:
        header: what to keep with the leaves, ready for JSON, without version and checksum.
        flat: leaves by path.
    """
    header = {"format": FORMAT, **header}
    header["sha256"] = _checksum(header, flat)
    contiguous = {path: np.asarray(leaf, order="C") for path, leaf in flat.items()}
    return safetensors.numpy.save(contiguous, metadata={KEY: json.dumps(header, sort_keys=True)})


def decode_header(data: bytes, where: str) -> Header:
    """The JSON object of a file's content, its checksum not yet compared.

    Raises:
        ValueError: for content that is truncated or corrupt, of another program, or of another version.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 + length:
        raise ValueError(f"{where} is truncated: {len(data)} bytes, its header alone has {8 + length}")
    with files.parsing(f"the header of {where}"):
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        header = json.loads(metadata[KEY]) if KEY in metadata else None
    if not isinstance(header, dict):
        raise ValueError(
            f"{where} is a safetensors file, but not one that celo.save wrote (no optimizer in its header)"
        )
    if header.get("format") != FORMAT:
        raise ValueError(
            f"{where} has format version {header.get('format')!r}; this version of celo reads {FORMAT}"
        )
    if not (isinstance(header.get("optimizer"), str) and isinstance(header.get("config"), dict)):
        raise ValueError(f"{where} is corrupt: its header has no optimizer with a configuration")
    return header


def decode(data: bytes, where: str) -> tuple[Header, dict[str, np.ndarray]]:
    """Undoes `encode`.

    Args:
        data: a file's content.
        where: what to call the file in an error.

    Returns:
        The header, with version and checksum, and the leaves by path.

    Raises:
        ValueError: for content that is truncated or corrupt, of another program, or of another version.
    """
    header = decode_header(data, where)
    with files.parsing(where):
        flat = safetensors.numpy.load(data)
        stated = header.pop("sha256", None)
        found = _checksum(header, flat)
    if stated != found:
        raise ValueError(f"{where} is corrupt: its checksum is {found}, its header says {stated}")
    return {**header, "sha256": stated}, flat
