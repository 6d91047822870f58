"""What `init` and `update` are given: parameters that an optimizer can move, and gradients that fit them.

Everything here looks at structures, shapes and dtypes alone: under `jax.jit` it costs nothing but tracing.
"""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from celo._core import trees

PyTree = Any

LARGEST_GRADIENT = 1e15
"""Squares of gradients within it, and their sums, are finite in float32."""

_NONE = "None"
_LEAVE_OUT = (
    "leave it out of the parameters (with Equinox: eqx.filter(model, eqx.is_inexact_array)) or hide it from "
    "the optimizer (optax.masked)"
)


def _shape(leaf: Any) -> tuple[int, ...]:
    return tuple(getattr(leaf, "shape", ()))


def _is_real(leaf: Any) -> bool:
    """Whether a leaf holds real floating-point numbers, of any precision."""
    return isinstance(leaf, float) if getattr(leaf, "dtype", None) is None else _is(leaf, jnp.floating)


def _is(leaf: Any, kind: Any) -> bool:
    """Whether the dtype of a leaf is of a kind; those of other libraries are of none."""
    try:
        return jnp.issubdtype(getattr(leaf, "dtype", type(None)), kind)
    except TypeError:
        return False


def check_parameters(params: PyTree) -> None:
    """Refuses parameters that no gradient step can move: integers, booleans, complex numbers, functions.

    Args:
        params: the parameters, any pytree; nodes without leaves, as None and `optax.MaskedNode`, are fine.

    Raises:
        ValueError: naming the first such leaf and its dtype, or its type if it is no array.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        if _is_real(leaf):
            continue
        hint = _LEAVE_OUT
        if _is(leaf, jnp.complexfloating):
            hint = "let its real and its imaginary part be two parameters"
        raise ValueError(
            f"parameter {trees.path_name(path)} is {trees.spec(leaf)}; expected real floating-point numbers: "
            + hint
        )


def _described(tree: PyTree) -> dict[str, str]:
    """Shape of every leaf by path, None among them."""
    leaves = jax.tree_util.tree_leaves_with_path(tree, is_leaf=lambda x: x is None)
    return {
        trees.path_name(path): _NONE if leaf is None else f"shape {_shape(leaf)}" for path, leaf in leaves
    }


def check_gradients(grads: PyTree, params: PyTree) -> None:
    """Refuses gradients of another structure or shape than the parameters.

    Broadcasting would accept them, and change the shape of the parameters.

    Args:
        grads: the gradients.
        params: the parameters.

    Raises:
        ValueError: naming the leaves that do not fit, what was expected and what was found.
    """
    expected, structure = jax.tree.flatten(params)
    found, found_structure = jax.tree.flatten(grads)
    if structure == found_structure and all(
        _shape(g) == _shape(p) for g, p in zip(found, expected, strict=True)
    ):
        return
    wanted, given = _described(params), _described(grads)
    wrong = trees.mismatches(wanted, given) or f"expected the tree {structure}, found {found_structure}"
    if any(given.get(path) == _NONE and shape != _NONE for path, shape in wanted.items()):
        wrong += f". What has no gradient is no parameter: {_LEAVE_OUT}"
    raise ValueError(f"the gradients do not fit the parameters: {wrong}")


def without_empty(tree: PyTree) -> PyTree:
    """The tree with `optax.MaskedNode` in place of every array that has no entries.

    The mean of no numbers is not a number, and optimizers that compare tensors would pass that on to others.
    """
    return jax.tree.map(lambda x: x if math.prod(_shape(x)) else optax.MaskedNode(), tree)


def updates_like(updates: PyTree, params: PyTree) -> PyTree:
    """Updates in the dtypes of the parameters, as optax returns them; undoes `without_empty`.

    Args:
        updates: computed from trees `without_empty`.
        params: the parameters with which ``update`` was called, or the gradients if there are none.

    Returns:
        Updates with the structure, shapes and dtypes of ``params``.
    """

    def like(p: Any, u: Any) -> Any:
        dtype = jnp.result_type(p)
        return jnp.asarray(u, dtype) if math.prod(_shape(p)) else jnp.zeros(_shape(p), dtype)

    return jax.tree.map(like, params, updates)
