"""Digests of arrays, and of configurations with arrays in them."""

from __future__ import annotations

import hashlib
import re
from typing import Any

import jax
import numpy as np

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def fingerprint(**inputs: Any) -> str:
    """A digest of named inputs, SHA-256 in hexadecimal: equal inputs have equal digests.

    Inputs are numbers, strings, configurations, and pytrees of arrays (tasks with their data, theta).
    TypeError for one that is described by its address in memory alone, as functions are.

    Example:
        >>> fingerprint(num_steps=10, rate=np.float32(0.1)) == fingerprint(rate=np.float32(0.1), num_steps=10)
        True
        >>> fingerprint(num_steps=10) == fingerprint(num_steps=11)
        False
    """
    total = hashlib.sha256()
    for name in sorted(inputs):
        leaves, structure = jax.tree.flatten(inputs[name])
        total.update(_described(name, f"\n{name} {structure}"))
        for leaf in leaves:
            array = np.asarray(leaf)
            if array.dtype.kind == "O":  # a configuration: its repr names every field
                total.update(_described(name, f"\n{leaf!r}"))
            else:
                total.update(f"\n{array.dtype.str}{array.shape}".encode())
                # A view, because copying a large dataset takes as long as its digest.
                total.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)
    return total.hexdigest()


def arrays_fingerprint(tree: Any) -> str:
    """A digest of the arrays of a pytree, in their order, whatever the names of its fields and classes.

    Example:
        >>> arrays_fingerprint({"old": np.ones(2)}) == arrays_fingerprint({"new": np.ones(2)})
        True
    """
    return fingerprint(arrays=jax.tree.leaves(tree))


def _described(name: str, text: str) -> bytes:
    if _ADDRESS.search(text):
        raise TypeError(f"{name} holds something without a lasting description: {text.strip()}")
    return text.encode()
