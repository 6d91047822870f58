"""The contract, steps that are taken: compiled once, finite for gradients of any size, and to a minimum."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from celo import eval_params
from tests.celo.contract import (
    Row,
    Tree,
    describe,
    gradients_like,
    mixed,
    over_rows,
    quick_jit,
    ramp,
    small,
    step,
)


@functools.cache
def compiled(row: Row) -> Any:
    """The row's update, compiled; it owns and reuses the buffers of the state."""
    return quick_jit(functools.partial(step, row.build(learning_rate=row.rate)), donate_argnums=1)


@over_rows("compiles-once")
def test_one_compilation_serves_all_steps(row: Row):
    update, params, state = compiled(row), mixed(), row.build(learning_rate=row.rate).init(mixed())
    before = describe(state)
    updates, state = update(gradients_like(params), state, params)
    compilations = update._cache_size()
    for _ in range(2):
        updates, state = update(gradients_like(params), state, params)
    assert update._cache_size() == compilations == 1
    assert describe(state) == before
    assert describe(updates) == describe(params)
    assert any(np.any(np.asarray(u)) for u in jax.tree.leaves(updates))


def finite_over_steps(row: Row, scale: float) -> bool:
    params = mixed()
    state = row.build(learning_rate=row.rate).init(params)
    finite = True
    for _ in range(8):  # past the warm-up of RAdam and of Shampoo
        updates, state = compiled(row)(gradients_like(params, scale), state, params)
        finite &= all(np.all(np.isfinite(u)) for u in jax.tree.leaves(updates))
    return finite


@over_rows("finite-zero")
def test_finite_for_zero_gradients(row: Row):
    assert finite_over_steps(row, 0.0)


@over_rows("finite-huge")
def test_finite_for_huge_gradients(row: Row):
    assert finite_over_steps(row, 1e30)


@over_rows("finite-tiny")
def test_finite_for_tiny_gradients(row: Row):
    assert finite_over_steps(row, 1e-30)


@over_rows("converges", only=lambda row: row.learning_rate is not None)
def test_converges_on_a_quadratic_at_one_of_the_rates_of_one_compiled_run(row: Row):
    target = {"w": ramp((4, 3), 1.0, -0.5), "b": ramp((3,), -0.5, 1.0)}

    def loss(params: Tree) -> Array:
        errors = jax.tree.map(lambda p, t: jnp.sum(jnp.square(p - t)), params, target)
        return 0.5 * jnp.sum(jnp.stack(jax.tree.leaves(errors)))

    def run(learning_rate: Array) -> Array:
        optimizer = row.build(learning_rate=learning_rate)

        def body(carry: Tree, _: None) -> tuple[Tree, None]:
            params, state = carry
            value, grads = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(grads, state, params, value=value)
            return (optax.apply_updates(params, updates), state), None

        (params, state), _ = jax.lax.scan(body, (small(), optimizer.init(small())), length=200)
        return loss(eval_params(state, params))

    losses = jax.jit(jax.vmap(run))(jnp.array([0.0, row.rate]))
    initial = loss(small())
    np.testing.assert_allclose(losses[0], initial, rtol=1e-4)  # a rate of 0 goes nowhere
    assert losses[1] < 0.02 * initial
