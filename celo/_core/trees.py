"""Nested dictionaries of meta-parameters and their flat form, one path per leaf."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.core import Tracer

_SHOWN = 4


def flatten(tree: Any, prefix: str = "") -> dict[str, Any]:
    """Leaves by their path, the keys joined by ``/``.

    >>> flatten({"mlp": {"w": 1, "b": 2}})
    {'mlp/w': 1, 'mlp/b': 2}

    Args:
        tree: dictionaries with string keys, nested.
        prefix: path of ``tree`` itself.

    Raises:
        ValueError: for an empty dictionary, or two leaves of one path.
        TypeError: for a key that is not a string.
    """
    if not isinstance(tree, Mapping):
        return {prefix: tree}
    if not tree:
        raise ValueError(f"{prefix or 'theta'} is an empty dictionary; expected arrays below it")
    flat: dict[str, Any] = {}
    for key, part in tree.items():
        if not isinstance(key, str):
            raise TypeError(f"{prefix or 'theta'} has the key {key!r}; expected strings")
        for path, leaf in flatten(part, f"{prefix}/{key}" if prefix else key).items():
            if path in flat:
                raise ValueError(f"two leaves have the path {path}")
            flat[path] = leaf
    return flat


def unflatten(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Nested dictionaries from leaves by path; undoes `flatten` unless a key holds a ``/``.

    Raises:
        ValueError: if a path leads through a leaf.
    """
    tree: dict[str, Any] = {}
    for path, leaf in flat.items():
        *parents, key = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
            if not isinstance(node, dict):
                raise ValueError(f"the path {path} leads through a leaf")
        if key in node:
            raise ValueError(f"the path {path} names both a leaf and a branch")
        node[key] = leaf
    return tree


def check_finite(flat: Mapping[str, Any], where: str) -> None:
    """Refuses NaN and infinities.

    Args:
        flat: arrays by path.
        where: what holds them, for the message.

    Raises:
        ValueError: naming the first leaf with such a number and how many it has.
    """
    for path, leaf in flat.items():
        wrong = np.size(leaf) - int(np.sum(np.isfinite(leaf)))
        if wrong:
            raise ValueError(f"{where}: {wrong} of the {np.size(leaf)} numbers in leaf {path} are not finite")


def known(tree: Any) -> dict[str, Any]:
    """The arrays whose numbers can be had now, by path: not those traced, abstract or on other hosts."""

    def here(leaf: Any) -> bool:
        if isinstance(leaf, Tracer) or not isinstance(leaf, np.ndarray | jax.Array):
            return False
        return isinstance(leaf, np.ndarray) or leaf.is_fully_addressable

    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return jax.device_get({path_name(path): leaf for path, leaf in leaves if here(leaf)})


def path_name(path: tuple[Any, ...]) -> str:
    """The path of a leaf of any pytree, as in ``['mlp']['w0']``; there is none in a tree that is one leaf."""
    return jax.tree_util.keystr(path) or "(the only one)"


def spec(leaf: Any) -> str:
    """Dtype and shape of an array, ``float32[3, 4]``; the type of anything that is none."""
    return f"{getattr(leaf, 'dtype', type(leaf).__name__)}{list(getattr(leaf, 'shape', ()))}"


def mismatches(expected: Mapping[str, str], found: Mapping[str, str]) -> str:
    """How the leaves found differ from those expected.

    Args:
        expected: `spec` of each leaf, by path.
        found: the same of what was given.

    Returns:
        Phrases for the leaves missing, then unexpected, then of another shape or dtype; empty if all fit.
    """
    problems = [f"missing leaf {path}, expected {expected[path]}" for path in expected if path not in found]
    problems += [f"unexpected leaf {path} of {found[path]}" for path in found if path not in expected]
    problems += [
        f"leaf {path}: expected {expected[path]}, found {found[path]}"
        for path in expected
        if path in found and found[path] != expected[path]
    ]
    more = f" (and {len(problems) - _SHOWN} more)" if len(problems) > _SHOWN else ""
    return "; ".join(problems[:_SHOWN]) + more
