"""Celo on any tree: its containers do not matter, and the state holds arrays of known types only."""

from collections.abc import Callable

import equinox
import flax.core
import jax
import jax.numpy as jnp
import optax
import pytest
from jax import Array

from celo.learned.celo import CeloState
from tests.celo.celo_steps import Tree, assert_same, grads, optimizer, params, steps


class Model(equinox.Module):
    w: Array
    b: Array
    activation: Callable[[Array], Array]
    nothing: None = None


def flattened(tree: Tree) -> list[Array]:
    return sorted(jax.tree.leaves(tree), key=lambda x: -x.ndim)


TREES: dict[str, Callable[[Array, Array], Tree]] = {
    "list": lambda w, b: [w, b],
    "tuple": lambda w, b: (None, (w,), {"b": b}),
    "flax": lambda w, b: {"params": {"Dense_0": {"kernel": w, "bias": b}}},
    "frozen": lambda w, b: flax.core.freeze({"params": {"kernel": w, "bias": b}}),
    "equinox": lambda w, b: equinox.filter(Model(w, b, jax.nn.relu), equinox.is_array),
    "state": lambda w, b: optax.TraceState({"w": w, "b": b}),
}


@pytest.mark.parametrize("kind", TREES)
def test_the_tree_does_not_matter(kind: str):
    p, g = (TREES[kind](tree["w"], tree["b"]) for tree in (params(), grads()))
    found, _ = steps(optimizer(), g, p)
    for update, expected in zip(found, steps(optimizer(), grads(), params())[0], strict=True):
        assert jax.tree.structure(update) == jax.tree.structure(p)
        assert_same(flattened(update), flattened(expected))
        assert jax.tree.structure(optax.apply_updates(p, update)) == jax.tree.structure(p)


def test_equinox_applies_the_updates():
    model = Model(**params(), activation=jax.nn.relu)
    gradient = equinox.filter(Model(**grads(), activation=jax.nn.relu), equinox.is_array)
    (update, *_), _ = steps(optimizer(), gradient, equinox.filter(model, equinox.is_array))
    assert_same(equinox.apply_updates(model, update).w, model.w + update.w)


@pytest.mark.parametrize("stage", [1, 2])
def test_no_parameters_at_all(stage: int):
    for empty in ({}, [], {"a": None}):
        updates, state = steps(optimizer(stage=stage), empty, empty)
        assert updates == [empty] * 3
        assert state.count == 3


def test_state_is_arrays_of_known_types_only():
    state = optimizer().init(jax.tree.map(lambda p: p.astype(jnp.bfloat16), params()))
    assert isinstance(state, CeloState)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state)} == {"float32", "int32"}
