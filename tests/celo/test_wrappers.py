"""Weight decay through the loss against a loss with the penalty in it, and the ways past the horizon."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from celo import hand_designed, learned_optimizer, wrappers
from tests.celo.contract import quick_jit
from tests.celo.parameter_builds import learned

Tree = Any

PARAMS = {"w": jnp.asarray(np.linspace(-1.0, 2.0, 12, dtype=np.float32).reshape(4, 3)), "b": jnp.ones(3)}


def loss(params: Tree) -> Array:
    return jnp.sum(jnp.square(params["w"] - 0.5)) + jnp.sum(jnp.cos(params["b"]))


def build(name: str, num_steps: float = 10) -> Any:
    configured = learned_optimizer(name)
    return configured.optimizer(configured.init(jax.random.key(0)), num_steps)


def train(optimizer: Any, state: Tree, params: Tree, steps: int = 4) -> Tree:
    """Parameters and state after some steps."""

    @quick_jit
    def step(params: Tree, state: Tree) -> Tree:
        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), state

    for _ in range(steps):
        params, state = step(params, state)
    return params, state


@functools.cache  # states are immutable
def trained(name: str) -> tuple[Any, Tree, Tree]:
    optimizer = build(name)
    return optimizer, *train(optimizer, optimizer.init(PARAMS), PARAMS)


def assert_trees(check: Any, found: Tree, expected: Tree) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        check(a, b)


def test_decay_through_the_loss_is_a_penalty_in_the_loss():
    decay, optimizer = 0.3, build("celo")

    def penalised(params: Tree) -> Array:
        return loss(params) + 0.5 * decay * optax.tree.norm(params, squared=True)

    value, grads = jax.value_and_grad(penalised)(PARAMS)
    update = quick_jit(optimizer.update)
    expected, expected_state = update(grads, optimizer.init(PARAMS), PARAMS, value=value)
    wrapped = wrappers.loss_weight_decay(optimizer, decay)
    value, grads = jax.value_and_grad(loss)(PARAMS)
    found, state = quick_jit(wrapped.update)(grads, wrapped.init(PARAMS), PARAMS, value=value)
    close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-8)
    assert_trees(close, (found, state), (expected, expected_state))


def test_decay_reaches_optimizers_that_read_no_loss():
    wrapped = wrappers.loss_weight_decay(hand_designed("sgd", 1.0), 0.1)
    zeros = jax.tree.map(jnp.zeros_like, PARAMS)
    updates, _ = wrapped.update(zeros, wrapped.init(PARAMS), PARAMS)
    assert_trees(np.testing.assert_allclose, updates, jax.tree.map(lambda p: -0.1 * p, PARAMS))


def test_small_decay_of_half_precision_parameters_is_not_rounded_away():
    params = {"w": jnp.full((2,), 256.0, jnp.bfloat16)}
    seen = []

    def update(updates: Tree, state: Tree, params: Tree = None, **extra: Any) -> tuple[Tree, Tree]:
        del params
        seen.append((updates, extra["value"]))
        return updates, state

    spy = optax.GradientTransformationExtraArgs(lambda params: (), update)
    wrapped = wrappers.loss_weight_decay(spy, 1e-6)
    wrapped.update({"w": jnp.ones(2, jnp.bfloat16)}, wrapped.init(params), params, value=jnp.bfloat16(2.0))
    grads, value = seen[0]
    np.testing.assert_allclose(grads["w"], 1.000256, rtol=1e-6)
    np.testing.assert_allclose(value, 2.0 + 0.5e-6 * 2 * 256.0**2, rtol=1e-6)


@pytest.mark.parametrize("decay", [-1.0, float("nan"), float("inf")])
def test_bad_decays_are_refused(decay: float):
    with pytest.raises(ValueError, match=rf"weight_decay is {decay}; expected a number of at least 0"):
        wrappers.loss_weight_decay(hand_designed("sgd", 1.0), decay)


@pytest.mark.parametrize("name", ["celo", "celo_adam", "celo2_auto", "velo_s"])
def test_counting_anew_changes_only_the_count(name: str):
    _, _, state = trained(name)
    again = wrappers.reset_steps(state)
    assert (state.count, again.count) == (4, 0)
    assert_trees(np.testing.assert_array_equal, again._replace(count=state.count), state)


def test_counting_anew_leaves_the_bias_correction_of_celo_adam():
    _, params, state = trained("celo_adam")
    head = jax.tree.map(jnp.zeros_like, learned_optimizer("celo_adam").init(jax.random.key(0)))
    constant = learned_optimizer("celo_adam").optimizer(head, 10)  # a step size of 0.1 whatever the progress
    found, _ = train(constant, wrappers.reset_steps(state), params, steps=1)
    expected, _ = train(constant, state, params, steps=1)
    assert_trees(np.testing.assert_array_equal, found, expected)


@pytest.mark.parametrize("name", ["celo", "celo_adam"])  # VeLO-S with random weights hardly moves
def test_moving_the_horizon_is_having_had_it_but_for_the_averages_of_the_loss(name: str):
    _, params, state = trained(name)
    moved = wrappers.increase_steps(state, 50)
    assert (state.num_steps, moved.num_steps, moved.count) == (10, 50, 4)
    assert_trees(np.testing.assert_array_equal, moved._replace(num_steps=state.num_steps), state)
    # The horizon in the state is what counts, not the one that the optimizer was built for.
    (found, _), (expected, _), (before, _) = (
        train(build(name, horizon), start, params, steps=1)
        for horizon, start in ((10, moved), (50, moved), (10, state))
    )
    assert_trees(np.testing.assert_array_equal, found, expected)
    assert np.any(found["w"] != before["w"])


def test_horizons_are_found_within_optax_transformations_and_of_many_trainings():
    optimizer = optax.MultiSteps(optax.chain(optax.clip(1.0), build("celo")), 1)
    state = optimizer.init(PARAMS)
    inner = wrappers.increase_steps(state, 77).inner_opt_state[1]
    assert inner.num_steps == 77
    assert jax.tree.structure(wrappers.reset_steps(state)) == jax.tree.structure(state)
    states = jax.vmap(lambda _: optimizer.init(PARAMS))(jnp.arange(3))
    moved: Any = jax.jit(wrappers.increase_steps)(states, 40.0)
    np.testing.assert_array_equal(moved.inner_opt_state[1].num_steps, [40, 40, 40])


def test_starting_over_is_starting():
    optimizer, params, state = trained("celo")
    again = wrappers.full_reset(state, build("celo", 20), params)
    assert_trees(np.testing.assert_array_equal, again, build("celo", 20).init(params))
    with pytest.raises(ValueError, match="the optimizer's state is"):
        wrappers.full_reset(state, build("velo_s"), params)
    assert optimizer.init(params).num_steps == 10


@pytest.mark.parametrize("name", ["adafac_mlp", "rnn_mlp", "learnable_adam"])
def test_what_follows_no_horizon_has_none_to_move(name: str):
    state = learned(name).init(PARAMS)
    for change in (wrappers.reset_steps, lambda state: wrappers.increase_steps(state, 20)):
        with pytest.raises(ValueError, match="nothing in this state follows a horizon"):
            change(state)


@pytest.mark.parametrize(("num_steps", "message"), [(10, "expected more than the 10.0"), (0, "at least 1")])
def test_horizons_only_grow(num_steps: int, message: str):
    with pytest.raises(ValueError, match=message):
        wrappers.increase_steps(build("celo").init(PARAMS), num_steps)
