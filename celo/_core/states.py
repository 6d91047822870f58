"""Reading the state of an optimizer: through optax's wrappers, flax's TrainState and flax.nnx."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Set
from typing import Any

import jax

PyTree = Any


def plain(state: PyTree) -> PyTree:
    """The optax state in an ``nnx.Optimizer`` or TrainState, with arrays in place of nnx variables."""
    if not isinstance(state, tuple | Mapping):
        state = getattr(state, "opt_state", state)
    nnx = sys.modules.get("flax.nnx")  # where nobody has imported it, there are none of its variables
    if nnx is None:
        return state
    variables = (
        nnx.Variable,
        vars(nnx).get("VariableState", nnx.Variable),
    )  # the leaves of a State before flax 0.11

    def is_variable(x: Any) -> bool:
        return isinstance(x, variables)

    return jax.tree.map(lambda x: jax.tree.leaves(x)[0] if is_variable(x) else x, state, is_leaf=is_variable)


def find(state: PyTree, fields: Set[str]) -> list[tuple[str, dict[str, Any]]]:
    """Every state within a state that has these fields, as a dictionary, with its path.

    Args:
        state: any state, see `plain`.
        fields: names that identify the kind of state; as optax's named tuples have them, and as keys in an
            ``nnx.State``, which does not keep the tuples.
    """

    def has(node: Any) -> bool:
        return fields <= _fields(node).keys()

    nodes = jax.tree_util.tree_leaves_with_path(plain(state), is_leaf=has)
    return [(jax.tree_util.keystr(path), _fields(node)) for path, node in nodes if has(node)]


def _fields(node: Any) -> dict[str, Any]:
    if isinstance(node, tuple):
        return dict(zip(getattr(node, "_fields", ()), node, strict=False))
    return dict(node) if isinstance(node, Mapping) else {}
