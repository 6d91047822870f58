"""Celo among optax's transformations: chained, wrapped, injected, and its state read through them."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

import celo
from tests.celo.celo_steps import LOSSES, THETA, assert_same, grads, optimizer, params, steps


def test_chain_is_one_after_the_other():
    chained = optax.chain(optax.clip_by_global_norm(0.5), optimizer(), optax.scale(2.0))
    clipped, _ = optax.clip_by_global_norm(0.5).update(grads(), optax.EmptyState())
    alone, _ = steps(optimizer(), clipped, params())
    expected = jax.tree.map(lambda u: 2.0 * u, alone)
    assert_same(steps(chained, grads(), params())[0], expected)


def test_multi_transform_gives_each_group_its_own():
    parted = optax.multi_transform({"celo": optimizer(), "sgd": optax.sgd(0.1)}, {"w": "celo", "b": "sgd"})
    alone, _ = steps(optimizer(), {"w": grads()["w"]}, {"w": params()["w"]})
    expected = [{**update, "b": -0.1 * grads()["b"]} for update in alone]
    assert_same(steps(parted, grads(), params())[0], expected)


def test_injected_horizon_is_the_horizon_and_readable():
    injected = optax.inject_hyperparams(celo.celo)(num_steps=100.0, theta=THETA)
    updates, state = steps(injected, grads(), params())
    assert_same(updates, steps(optimizer(), grads(), params())[0])
    assert optax.tree.get(state, "hyperparams")["num_steps"] == 100.0


def test_apply_if_finite_passes_over_a_gradient_that_is_not():
    wrapped: Any = optax.apply_if_finite(optimizer(), max_consecutive_errors=3)
    update = jax.jit(functools.partial(wrapped.update, value=jnp.float32(1.0)))
    start = wrapped.init(params())
    skipped, state = update(jax.tree.map(lambda g: g * jnp.nan, grads()), start, params())
    assert_same(skipped, jax.tree.map(jnp.zeros_like, params()))
    assert_same(state.inner_state, start.inner_state)
    assert_same(update(grads(), state, params())[0], update(grads(), start, params())[0])


def test_step_size_is_read_from_anywhere_in_a_state():
    chained: Any = optax.chain(optax.clip_by_global_norm(1e9), optimizer())
    without, _ = steps(optimizer(stage=1), grads(), params())
    state = chained.init(params())
    assert optax.tree.get(state, "eta") == 1.0
    for loss, bare in zip(LOSSES, without, strict=True):
        updates, state = chained.update(grads(), state, params(), value=jnp.float32(loss))
        eta = optax.tree.get(state, "eta")
        assert 0.0 < eta != 1.0
        assert_same(updates, jax.tree.map(lambda u, eta=eta: eta * u, bare))
    assert optax.tree.get(state, "num_steps") == 100.0


def test_optax_finds_what_is_shaped_like_the_parameters():
    chosen = optimizer()
    _, state = steps(chosen, grads(), params())
    marked: Any = optax.tree.map_params(
        chosen, lambda x: "param", state, transform_non_params=lambda x: "other"
    )
    assert set(jax.tree.leaves(marked.statistics)) == {"param"}
    assert set(jax.tree.leaves((marked.count, marked.eta, marked.num_steps, marked.scheduler))) == {"other"}
