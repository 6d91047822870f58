"""Celo under JAX's transformations: mapping is the loop, and one compilation serves every horizon."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from tests.celo.celo_steps import LEARNED, THETA, Tree, assert_same, grads, optimizer, params, steps


def train(theta: Tree, params: Tree, num_steps: Array) -> tuple[Tree, Array]:
    """Four steps on a quadratic, of which a falling loss is reported; the parameters and the step sizes."""
    chosen: Any = LEARNED.optimizer(theta, num_steps)

    def loss(params: Tree) -> Array:
        return sum((jnp.sum(jnp.square(p - 1.0)) for p in params.values()), jnp.zeros(()))

    def body(carry: Tree, drift: Array) -> tuple[Tree, Array]:
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = chosen.update(gradient, state, params, value=value + drift)
        return (optax.apply_updates(params, updates), state), state.eta

    drift = jnp.array([4.0, 3.0, 2.0, 1.0])
    (params, _), etas = jax.lax.scan(body, (params, chosen.init(params)), drift)
    return params, etas


@pytest.fixture(scope="module")
def one() -> Callable[..., Any]:
    return jax.jit(train)


def stacked(trees: list[Tree]) -> Tree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@pytest.mark.parametrize("over", ["theta", "params", "num_steps"])
def test_vmap_is_the_loop(one: Callable[..., Any], over: str):
    keys = jax.random.split(jax.random.key(7), 3)
    values: dict[str, list[Any]] = {
        "theta": [LEARNED.init(key) for key in keys],
        "params": [jax.tree.map(lambda x, k=k: x + k, params()) for k in (0.0, 1.0, 2.0)],
        "num_steps": [jnp.float32(n) for n in (1, 10, 2000)],
    }
    arguments = {"theta": THETA, "params": params(), "num_steps": jnp.float32(50.0)}
    axes = [0 if name == over else None for name in arguments]
    mapped = jax.jit(jax.vmap(train, in_axes=axes))(*{**arguments, over: stacked(values[over])}.values())
    looped = [one(*{**arguments, over: value}.values()) for value in values[over]]
    assert_same(mapped, stacked(looped))
    for i, j in ((0, 1), (1, 2)):
        assert np.any(looped[i][1] != looped[j][1]) or over == "params", "all the same would test nothing"


def test_one_compilation_serves_every_horizon(one: Callable[..., Any]):
    for num_steps in (20.0, 30.0):
        one(THETA, params(), jnp.float32(num_steps))
    compiled: Any = one
    assert compiled._cache_size() == 1


def test_the_horizon_is_in_the_state():
    """So one compiled update serves every horizon, and a run can be made longer on its way."""
    short, long = optimizer(50), optimizer(80)
    expected, expected_state = steps(long, grads(), params())
    assert_same(steps(short, grads(), params(), long.init(params()))[0], expected)
    extended = short.init(params())._replace(num_steps=jnp.float32(80.0))
    _, state = steps(short, grads(), params(), extended)
    assert_same(state.count, expected_state.count)
    assert_same(state.num_steps, expected_state.num_steps)
