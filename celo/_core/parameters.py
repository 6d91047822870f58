"""What `init` and `update` receive: parameters that an optimizer can move, and gradients that fit them.

The checks look at structures, shapes and dtypes alone: under `jax.jit` they cost nothing but tracing.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array
from jax.core import Tracer
from jax.sharding import AxisType, NamedSharding, PartitionSpec

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
        params: the parameters, any pytree, or their `jax.ShapeDtypeStruct`; nodes without leaves, such as
            None and `optax.MaskedNode`, are fine.

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
    """Refuses gradients that are no real numbers, or of another structure or shape than the parameters.

    Broadcasting would accept other shapes, and change the shape of the parameters.

    Args:
        grads: the gradients.
        params: the parameters; None where ``update`` was called without them.

    Raises:
        TypeError: naming the first gradient that is no real floating-point number.
        ValueError: naming the leaves that do not fit, what was expected and what was found.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
        if not _is_real(leaf):
            raise TypeError(
                f"gradient {trees.path_name(path)} is {trees.spec(leaf)}; expected floating-point numbers"
            )
    if params is None:
        return
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


def bounded(g: Array, limit: float = LARGEST_GRADIENT) -> Array:
    """A gradient in float32, each entry clipped to +-limit; by default its square just stays finite."""
    return jnp.clip(jnp.asarray(g, jnp.float32), -limit, limit)


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


def in_auto_mode(function: Callable[..., PyTree], like: PyTree, *arguments: PyTree) -> PyTree:
    """Calls a function whose results are placed as ``like``, and leaves the placing within it to XLA.

    On a mesh with explicit axes every matrix product would otherwise need a statement where its result lies.

    Args:
        function: takes ``arguments`` and returns a tree like ``like``.
        like: arrays with the sharding of the results.
        *arguments: trees of arrays.

    Returns:
        What the function returns.
    """
    placed = [x for x in jax.tree.leaves((like, arguments)) if _explicit_mesh(x) is not None]
    if not placed:
        return function(*arguments)
    mesh = _explicit_mesh(placed[0])

    def sharding(x: Any) -> NamedSharding:
        own = jax.typeof(x).sharding
        return own if not own.mesh.empty else NamedSharding(mesh, PartitionSpec(*[None] * jnp.ndim(x)))

    if not isinstance(placed[0], Tracer):  # scalars of a state may lie on one device: spread them
        spread = NamedSharding(placed[0].sharding.mesh, PartitionSpec())
        arguments = jax.tree.map(
            lambda x: x if _explicit_mesh(x) is not None else jax.device_put(x, spread), arguments
        )
    return jax.sharding.auto_axes(function, out_sharding=jax.tree.map(sharding, like))(*arguments)


def _explicit_mesh(x: Any) -> Any:
    """The abstract mesh of an array, if its axes are explicit."""
    mesh = jax.typeof(x).sharding.mesh if isinstance(x, jax.Array) else None
    return mesh if mesh is not None and AxisType.Explicit in mesh.axis_types else None
