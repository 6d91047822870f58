"""A training state as the bytes of one safetensors file, and back into the containers of another state.

File formats rebuild containers by guessing: integer keys come back as strings, named tuples as lists, empty
containers not at all. Here only the leaves are stored. The containers come from the state that the caller
restores into, after the path, shape and type of every leaf were compared.
"""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
import safetensors.numpy

from celo.meta.runs.files import parse_json

_KEY = "state"
_FORMAT = 1


class DamagedError(Exception):
    """The content is not what `encode` made."""


def is_key(leaf: Any) -> bool:
    """Whether a leaf is a typed random key (`jax.random.key`), which no file format can hold as it is."""
    return isinstance(leaf, jax.Array) and jax.numpy.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def describe(state: Any) -> list[dict[str, Any]]:
    """Path, shape and dtype of every leaf of a state, ready for JSON; TypeError for a leaf that is no array.

    A Python number would come back as an array, so it is refused.
    """
    leaves = jax.tree_util.tree_leaves_with_path(state)
    return [_describe(jax.tree_util.keystr(path), leaf) for path, leaf in leaves]


def encode(state: Any, notes: Mapping[str, Any]) -> bytes:
    """The content of a file with a state of JAX and NumPy arrays, and notes for JSON, among them ``step``.

    Under `jax.distributed` every process calls it, to gather shards; all scattered leaves have one mesh.
    """
    described = describe(state)
    arrays = {str(i): _stored(leaf) for i, leaf in enumerate(_on_host(jax.tree.leaves(state))) if leaf.size}
    text = json.dumps({"format": _FORMAT, "notes": dict(notes), "leaves": described}, allow_nan=False)
    seal = {_KEY: text, "sha256": _checksum(text, arrays)}
    return safetensors.numpy.save(arrays, metadata=seal)


def decode(data: bytes) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, np.ndarray]]:
    """Undo `encode` as far as that is possible without knowing the containers.

    Returns the notes, the descriptions of the leaves, and the arrays of those that are not empty.

    Raises:
        DamagedError: the content was cut short or altered.
        ValueError: it was written by another version of this code.
    """
    try:
        length = int.from_bytes(data[:8], "little")
        seal = parse_json(data[8 : 8 + length], "its header")["__metadata__"]
        arrays = safetensors.numpy.load(data)
        text, checksum = seal[_KEY], seal["sha256"]
        intact = checksum == _checksum(text, arrays)
    except Exception as error:  # whatever stops the parser, the file is at fault
        raise DamagedError(f"it was cut short or altered: {type(error).__name__}: {error}") from None
    if not intact:
        raise DamagedError("it was altered: its checksum differs")
    try:
        content = parse_json(text, "its description")
        version, notes, leaves = content["format"], content["notes"], content["leaves"]
        step = notes["step"]
    except (ValueError, TypeError, KeyError) as error:
        raise DamagedError(f"its description is not one of a state: {error}") from None
    if version != _FORMAT or not isinstance(step, int):
        raise ValueError(f"the file has format {version!r}; this version of celo reads {_FORMAT}")
    return notes, leaves, arrays


def rebuild(described: list[dict[str, Any]], arrays: Mapping[str, np.ndarray], like: Any, where: str) -> Any:
    """Put decoded leaves into the containers, types and placement of another state, ``like``.

    Its values are not used. Arrays on the host stay there, others go onto the sharding of the array in their
    place. ValueError, naming ``where``, if a leaf is missing, new, or has another shape or dtype.
    """
    _check_same(described, describe(like), where)
    leaves, structure = jax.tree.flatten(like)
    placed = []
    for number, leaf in enumerate(leaves):
        raw = jax.random.key_data(leaf) if is_key(leaf) else leaf
        stored = arrays.get(str(number), np.zeros(raw.shape, raw.dtype))
        placed.append(_place(stored.view(raw.dtype), leaf))
    return jax.tree.unflatten(structure, placed)


def _checksum(text: str, arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of the description and of all arrays, in the order of their numbers."""
    total = hashlib.sha256(text.encode())
    for name in sorted(arrays, key=int):
        total.update(f"\n{name} {arrays[name].dtype.str} {arrays[name].shape} ".encode())
        total.update(arrays[name].tobytes())
    return total.hexdigest()


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


def _on_host(leaves: list[Any]) -> list[np.ndarray]:
    raw = dict(enumerate(jax.random.key_data(leaf) if is_key(leaf) else leaf for leaf in leaves))
    if scattered := {i: x for i, x in raw.items() if _is_scattered(x)}:
        mesh = next(iter(scattered.values())).sharding.mesh
        raw |= _gather(jax.NamedSharding(mesh, jax.P()))(scattered)
    return [np.asarray(x) for x in jax.device_get(list(raw.values()))]


@functools.cache
def _gather(sharding: jax.NamedSharding) -> Any:
    """One compiled call that copies all arrays of a tree to every device of a mesh."""
    return jax.jit(lambda tree: tree, out_shardings=sharding)


def _is_scattered(array: Any) -> bool:
    return isinstance(array, jax.Array) and not (array.is_fully_addressable or array.is_fully_replicated)


def _stored(array: np.ndarray) -> np.ndarray:
    """The array as safetensors takes it: contiguous, extended types (bfloat16, float8) as unsigned bits."""
    bits = array.view(f"u{array.dtype.itemsize}") if array.dtype.kind == "V" else array
    return np.asarray(bits, order="C")


def _check_same(stored: list[dict[str, Any]], expected: list[dict[str, Any]], where: str) -> None:
    if stored == expected:
        return
    old, new = ({leaf["path"]: f"{leaf['dtype']}{leaf['shape']}" for leaf in x} for x in (stored, expected))
    lines = [
        f"  {path}: stored {old.get(path, 'nothing')}, expected {new.get(path, 'nothing')}"
        for path in {**old, **new}
        if old.get(path) != new.get(path)
    ] or ["  the same leaves in another order"]
    if len(lines) > 5:
        lines[5:] = [f"  and {len(lines) - 5} more"]
    raise ValueError(f"{where} holds another state than the one to restore:\n" + "\n".join(lines))


def _place(array: np.ndarray, like: Any) -> Any:
    """Put one host array where, and as what, ``like`` is."""
    if is_key(like):
        data = _place(array, jax.random.key_data(like))
        return jax.random.wrap_key_data(data, impl=jax.random.key_impl(like))
    if isinstance(like, np.ndarray):
        return array
    if isinstance(like, np.generic):
        return array[()]
    if not like.committed:
        # An array bound to a device would make functions compiled for free ones compile again.
        return jax.numpy.asarray(array)
    return jax.make_array_from_callback(array.shape, like.sharding, lambda index: array[index])
