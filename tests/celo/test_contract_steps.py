"""The contract, steps that are taken: compiled once, finite for gradients of any size, and to a minimum."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from celo import eval_params
from tests.celo.contract import (
    LearnedRow,
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


@over_rows("finite")
def test_finite_for_gradients_of_any_size(row: Row):
    params = mixed()
    for scale in (0.0, 1e30, 1e-30):
        state = row.build(learning_rate=row.rate).init(params)
        for _ in range(8):  # past the warm-up of RAdam and of Shampoo
            updates, state = compiled(row)(gradients_like(params, scale), state, params)
            assert all(np.all(np.isfinite(u)) for u in jax.tree.leaves(updates)), scale


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


READS_LOSS = {"celo", "celo_adam", "celo2_auto", "velo", "velo_s", "rnn_mlp", "celo-tensor_features_True"}


@over_rows("bad-loss", only=lambda row: row.name in READS_LOSS)
@pytest.mark.parametrize("before", [0, 3])
def test_a_loss_that_is_not_finite_leaves_no_trace_in_state_or_update(row: Row, before: int):
    """Whether it is among the first losses or a later one."""
    params = mixed()
    state, updates = row.build(learning_rate=row.rate).init(params), None
    for loss in (*(1.5, 1.25, 1.0)[:before], np.nan, 0.9, np.inf, -np.inf, 0.8, 3e38, np.nan, 0.7):
        updates, state = compiled(row)(gradients_like(params), state, params, loss)
        assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((updates, state)))
    assert any(np.any(u) for u in jax.tree.leaves(updates))


@over_rows("any-horizon", only=lambda row: row.learning_rate is None)
def test_finite_for_every_horizon(row: LearnedRow):
    """Also for one that says "I do not know how long", where decays round to 1."""
    params, theta = small(), row.theta

    def run(num_steps: Array) -> Tree:
        optimizer = row.learned.optimizer(theta, num_steps)
        state, updates = optimizer.init(params), []
        for loss in (1.0, 0.9, 0.95, 0.8):
            update, state = step(optimizer, gradients_like(params), state, params, loss)
            updates.append(update)
        return updates

    for updates in jax.tree.leaves(quick_jit(jax.vmap(run))(jnp.array([1.0, 1e4, 1e8, 3e38]))):
        assert np.all(np.isfinite(updates))


@pytest.mark.lenient(reason="optax raises float decays to integer counts, also in the derivative")
@over_rows("differentiable", only=lambda row: row.learning_rate is None)
def test_gradients_through_steps_are_finite_where_parameters_and_gradients_are_zero(row: LearnedRow):
    """A dead unit has gradients of exactly zero, a new head parameters of exactly zero."""
    hidden = ramp((4, 3), 0.1, 1.0) * jnp.array([[1.0, 0.0, 2.0]])
    start = {"head": jnp.zeros((3, 2))}

    def loss(params: Tree) -> Array:
        return jnp.mean(jnp.square(hidden @ params["head"] - 1.0))

    def final(theta: Tree, params: Tree) -> Array:
        optimizer = row.learned.optimizer(theta, 10)

        def body(carry: Tree, _: None) -> tuple[Tree, None]:
            params, state = carry
            value, grads = jax.value_and_grad(loss)(params)
            updates, state = optimizer.update(grads, state, params, value=value)
            return (optax.apply_updates(params, updates), state), None

        (params, _), _ = jax.lax.scan(body, (params, optimizer.init(params)), length=4)
        return loss(params)

    theta, run = row.theta, quick_jit(jax.value_and_grad(final, argnums=(0, 1)))
    gradient = run(theta, start)[1]
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves(gradient))
    rng = np.random.default_rng(0)
    size = 1e-4 if row.name.startswith("celo2_auto") else 0.003  # kinks of its MLP lie between the two
    along = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), jnp.float32) * size, theta)
    ends = [run(jax.tree.map(lambda x, d, s=s: x + s * d, theta, along), start)[0] for s in (1.0, -1.0)]
    slope = sum(jnp.vdot(g, d) for g, d in zip(*map(jax.tree.leaves, (gradient[0], along)), strict=True))
    np.testing.assert_allclose(slope, (ends[0] - ends[1]) / 2.0, rtol=0.1, atol=3e-6)
