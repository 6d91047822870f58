"""Trees of parameters on which updates are timed, by name: those of tasks, one tensor, a transformer."""

from __future__ import annotations

import hashlib
import json
import math
import re
from typing import Any

import jax
import jax.numpy as jnp

from celo._core.names import lookup
from celo.meta.tasks import TASKS, parameter_shapes

PyTree = Any

_MADE = re.compile(r"tensor:(?P<size>\d+(e\d)?)|transformer:(?P<layers>[1-9]\d?)x(?P<width>[1-9]\d{0,3})")


def shapes(name: str) -> PyTree:
    """Shapes of the parameters of a task, or of a tree made for timing; nothing is computed.

    ``tensor:SIZE`` is one tensor of about SIZE parameters, 1e4 to 1e8: sides are powers of two, equal or one
    twice the other. ``transformer:LAYERSxWIDTH`` holds, per layer, four matrices of attention and two of a
    perceptron four times as wide, their biases, and two layer norms; there is no embedding.

    Raises:
        ValueError: another name; the message has the nearest tasks.

    Example:
        >>> shapes("tensor:1e6")["w"].shape
        (1024, 1024)
        >>> shapes("transformer:2x128")[1]["mlp_in"]["w"].shape
        (128, 512)
    """
    if not name.startswith(("tensor:", "transformer:")):
        lookup("task", name, TASKS)
        return parameter_shapes(name)
    made = _MADE.fullmatch(name)
    if made and made["layers"]:
        return [_layer(int(made["width"])) for _ in range(int(made["layers"]))]
    if not made or not 1e4 <= float(made["size"]) <= 1e8:
        raise ValueError(f"{name!r} is no tree; expected tensor:1e4 to tensor:1e8, or transformer:12x768")
    power = round(math.log2(float(made["size"])))
    return {"w": _array(2 ** (power // 2), 2 ** (power - power // 2))}


def _layer(width: int) -> PyTree:
    sizes = dict.fromkeys(("query", "key", "value", "attention"), (width, width))
    sizes |= {"mlp_in": (width, 4 * width), "mlp_out": (4 * width, width)}
    dense = {name: {"w": _array(*size), "b": _array(size[1])} for name, size in sizes.items()}
    norm = {"scale": _array(width), "offset": _array(width)}
    return {**dense, "attention_norm": norm, "mlp_norm": norm}


def _array(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


def describe(name: str) -> dict[str, Any]:
    """Number of a tree's tensors and parameters, and a digest of its paths, shapes and dtypes."""
    leaves = jax.tree_util.tree_flatten_with_path(shapes(name))[0]
    described = [[jax.tree_util.keystr(path), list(x.shape), str(x.dtype)] for path, x in leaves]
    digest = hashlib.sha256(json.dumps(described).encode()).hexdigest()[:16]
    return {"tree": digest, "tensors": len(leaves), "parameters": count([x for _, x in leaves])}


def count(tree: PyTree) -> int:
    """Number of elements of all arrays of a tree."""
    return sum(math.prod(x.shape) for x in jax.tree.leaves(tree))


def size(tree: PyTree) -> int:
    """Bytes of all arrays of a tree."""
    return sum(math.prod(x.shape) * x.dtype.itemsize for x in jax.tree.leaves(tree))
