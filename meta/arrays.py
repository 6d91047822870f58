"""A pytree of arrays as a flat dictionary of named arrays, and back into the shape of another pytree.

Checkpoint formats rebuild containers by guessing: integer keys come back as strings, named tuples as lists,
empty containers not at all. Here only the leaves are stored, in order, and the containers come from the
pytree the caller restores into, after every leaf's path, shape and type were compared.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a typed random key (`jax.random.key`), which no file format can hold as it is."""
    return isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def describe(state: Any) -> list[dict[str, Any]]:
    """List the leaves of a state: path, shape and dtype of each, in the order of `jax.tree.leaves`.

    Args:
        state: a pytree whose leaves are JAX arrays (typed keys included) or NumPy arrays and scalars.

    Returns:
        One ``{"path", "shape", "dtype"}`` per leaf, ready for JSON.

    Raises:
        TypeError: a leaf is no array. A Python number would come back as an array, so it is refused.
    """
    described = []
    for path, leaf in jax.tree_util.tree_leaves_with_path(state):
        name = jax.tree_util.keystr(path)
        if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
            raise TypeError(
                f"state{name} is a {type(leaf).__name__}, {leaf!r}; a state to be saved holds arrays only "
                "(wrap it in jnp.asarray)"
            )
        if not is_key(leaf) and np.dtype(leaf.dtype).kind in "OSUM":
            raise TypeError(
                f"state{name} has dtype {leaf.dtype}; a state to be saved holds numbers and keys only"
            )
        described.append({"path": name, "shape": list(leaf.shape), "dtype": str(leaf.dtype)})
    return described


def flatten(state: Any) -> dict[str, jax.Array | np.ndarray]:
    """Name the leaves of a state; leaves without elements are left out, since formats refuse them.

    Args:
        state: as in `describe`.

    Returns:
        Arrays by name. A name is the leaf's position and its path in letters that are safe in any file name;
        typed keys are replaced by their raw data.
    """
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return {_name(i, path): _raw(leaf) for i, (path, leaf) in enumerate(leaves) if leaf.size}


def unflatten(like: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Put arrays from `flatten` into the containers, types and placement of ``like``.

    Args:
        like: a state of the same structure; its values are not used. Arrays on the host stay there, others go
            onto the sharding of the array in their place.
        arrays: host arrays by name.

    Returns:
        A pytree with the structure of ``like`` and the values of ``arrays``.
    """
    leaves, treedef = jax.tree_util.tree_flatten_with_path(like)
    restored = []
    for i, (path, leaf) in enumerate(leaves):
        raw = _raw(leaf)
        array = arrays[_name(i, path)] if leaf.size else np.zeros(raw.shape, raw.dtype)
        restored.append(_place(array, leaf))
    return jax.tree_util.tree_unflatten(treedef, restored)


def check_same(stored: list[dict[str, Any]], like: Any, where: str) -> None:
    """Compare stored leaf descriptions with those of ``like``.

    Raises:
        ValueError: a leaf is missing, new, or has another shape or dtype; up to five are listed.
    """
    old = {leaf["path"]: (tuple(leaf["shape"]), leaf["dtype"]) for leaf in stored}
    new = {leaf["path"]: (tuple(leaf["shape"]), leaf["dtype"]) for leaf in describe(like)}
    if list(old.items()) == list(new.items()):
        return
    lines = []
    for path in [*old, *(p for p in new if p not in old)]:
        if old.get(path) != new.get(path):
            lines.append(f"  {path}: stored {_say(old.get(path))}, expected {_say(new.get(path))}")
    if not lines:
        lines.append("  the same leaves in another order")
    if len(lines) > 5:
        lines[5:] = [f"  and {len(lines) - 5} more"]
    raise ValueError(
        f"the checkpoint {where} holds another state than the one to restore:\n" + "\n".join(lines)
    )


def _say(leaf: tuple[tuple[int, ...], str] | None) -> str:
    return "nothing" if leaf is None else f"{leaf[1]}{list(leaf[0])}"


def _name(position: int, path: Any) -> str:
    return f"{position:05d}{re.sub(r'[^A-Za-z0-9_]+', '.', jax.tree_util.keystr(path)).rstrip('.')}"


def _raw(leaf: Any) -> jax.Array | np.ndarray:
    if is_key(leaf):
        return jax.random.key_data(leaf)
    return leaf if isinstance(leaf, jax.Array) else np.asarray(leaf)


def _place(array: np.ndarray, like: Any) -> Any:
    """Put one host array where, and as what, ``like`` is."""
    if is_key(like):
        return jax.random.wrap_key_data(
            _place(array, jax.random.key_data(like)), impl=jax.random.key_impl(like)
        )
    if isinstance(like, np.ndarray):
        return array
    if isinstance(like, np.generic):
        return array[()]
    if not like.committed:
        # An array bound to a device would make functions compiled for free ones compile again.
        return jax.numpy.asarray(array)
    return jax.make_array_from_callback(array.shape, like.sharding, lambda index: array[index])
