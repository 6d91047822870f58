"""A pytree of arrays as a few long arrays, and back into the shape of another pytree.

Checkpoint formats rebuild containers by guessing: integer keys come back as strings, named tuples as lists,
empty containers not at all. Here only the leaves are stored, and the containers come from the pytree the
caller restores into, after every leaf's path, shape and type were compared. Leaves of one type are laid end
to end, as formats spend their time per array: 400 leaves of 5 MB in all take 1.1 s one by one, 0.15 s so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a typed random key (`jax.random.key`), which no file format can hold as it is."""
    return isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def pack(state: Any) -> tuple[list[dict[str, Any]], dict[str, jax.Array | np.ndarray]]:
    """Lay the leaves of a state end to end, by type.

    A leaf whose shards lie with several processes has no whole to lay anywhere and stays an array of its own.

    Args:
        state: a pytree whose leaves are JAX arrays (typed keys included) or NumPy arrays and scalars.

    Returns:
        One description per leaf, ready for JSON: ``path``, ``shape``, ``dtype``, and in which ``array`` it
        is, from which ``offset`` on (None for an array of its own); and the arrays, without those of no
        elements.

    Raises:
        TypeError: a leaf is no array. A Python number would come back as an array, so it is refused.
    """
    described = _described(state)
    raw = [_raw(leaf) for leaf in jax.tree.leaves(state)]
    whole = {i: array for i, array in enumerate(raw) if not _is_scattered(array)}
    groups: dict[str, list[np.ndarray]] = {}
    for i, array in jax.device_get(whole).items():
        group = groups.setdefault(str(array.dtype), [])
        described[i] |= {"array": str(array.dtype), "offset": sum(part.size for part in group)}
        group.append(np.asarray(array).ravel())
    named: dict[str, jax.Array | np.ndarray] = {name: np.concatenate(group) for name, group in groups.items()}
    for i, array in enumerate(raw):
        if i not in whole:
            described[i] |= {"array": f"leaf{i:05d}", "offset": None}
            named[f"leaf{i:05d}"] = array
    return described, {name: array for name, array in named.items() if array.size}


def unpack(described: list[dict[str, Any]], arrays: Mapping[str, np.ndarray], like: Any) -> Any:
    """Put the leaves laid out by `pack` into the containers, types and placement of ``like``.

    Args:
        described: the descriptions of the leaves.
        arrays: the arrays, on the host.
        like: a state of the same structure (see `check_same`); its values are not used. Arrays on the host
            stay there, others go onto the sharding of the array in their place.

    Returns:
        A pytree with the structure of ``like`` and the values stored.
    """
    leaves, treedef = jax.tree.flatten(like)
    restored = []
    for entry, leaf in zip(described, leaves, strict=True):
        raw = _raw(leaf)
        array = arrays[entry["array"]] if raw.size else np.zeros(raw.shape, raw.dtype)
        if raw.size and entry["offset"] is not None:
            array = array[entry["offset"] : entry["offset"] + raw.size].reshape(raw.shape)
        restored.append(_place(array, leaf))
    return jax.tree.unflatten(treedef, restored)


def check_same(stored: list[dict[str, Any]], like: Any, where: str) -> None:
    """Compare stored leaf descriptions with those of ``like``.

    Raises:
        ValueError: a leaf is missing, new, or has another shape or dtype; up to five are listed.
    """
    old = {leaf["path"]: (tuple(leaf["shape"]), leaf["dtype"]) for leaf in stored}
    new = {leaf["path"]: (tuple(leaf["shape"]), leaf["dtype"]) for leaf in _described(like)}
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


def _described(state: Any) -> list[dict[str, Any]]:
    return [
        _describe(jax.tree_util.keystr(path), leaf)
        for path, leaf in jax.tree_util.tree_leaves_with_path(state)
    ]


def _describe(path: str, leaf: Any) -> dict[str, Any]:
    if not isinstance(leaf, jax.Array | np.ndarray | np.generic):
        raise TypeError(
            f"state{path} is a {type(leaf).__name__}, {leaf!r}; a state to be saved holds arrays only "
            "(wrap it in jnp.asarray)"
        )
    if not is_key(leaf) and np.dtype(leaf.dtype).kind in "OSUMm":
        raise TypeError(
            f"state{path} has dtype {leaf.dtype}; a state to be saved holds numbers and keys only"
        )
    return {"path": path, "shape": list(leaf.shape), "dtype": str(leaf.dtype)}


def _is_scattered(array: jax.Array | np.ndarray) -> bool:
    return isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated)


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
