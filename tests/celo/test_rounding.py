"""Averages in bfloat16: rounding at random has the right mean, and steps follow those of float32."""

import functools
import inspect
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import celo
from celo import wrappers
from celo._core.rounding import SMALLEST, round_at_random
from celo.baselines import hand_designed
from tests.celo.contract import quick_jit

SHAPE = (64, 65)
ROUNDED = [
    name for name in celo.LEARNED if "state_dtype" in inspect.signature(getattr(celo, name)).parameters
]


def roundings(x: Any, draws: int) -> np.ndarray:
    """(draws, ...) roundings of an array with different seeds, in float32."""
    seeds = jax.random.bits(jax.random.key(1), (draws,), jnp.uint32)
    found = jax.jit(jax.vmap(functools.partial(round_at_random, x)))(seeds)
    assert found.dtype == jnp.bfloat16
    return np.asarray(found, np.float32)


def test_the_mean_of_roundings_is_the_value():
    """Within five standard errors, for numbers of every sign and size, and whatever the position."""
    key_sign, key_size = jax.random.split(jax.random.key(0))
    sign = jax.random.rademacher(key_sign, (3, 40), jnp.float32)
    x = sign * 10.0 ** jax.random.uniform(key_size, (3, 40), minval=-30, maxval=30)
    draws = 4000
    found = roundings(x, draws)
    x = np.asarray(x)
    gap = np.abs(x) * 2.0**-7
    assert np.all(np.abs(found - x) <= gap)
    assert max(len(np.unique(column)) for column in found.reshape(draws, -1).T) == 2
    assert np.all(np.abs(found.mean(0) - x) < 5 * gap / draws**0.5)


def test_neighbouring_positions_round_independently():
    found = roundings(jnp.full((64, 64), 1.0 + 2.0**-8), 1)[0] > 1.0
    share = found.mean()
    assert abs(share - 0.5) < 5 * 0.5 / 64
    for other in (np.roll(found, 1, axis=0), np.roll(found, 1, axis=1)):
        assert abs(np.mean(found == other) - 0.5) < 5 * 0.5 / 64


@pytest.mark.parametrize("value", [0.0, -0.0, 1.0, -1.5, np.inf, -np.inf])
def test_what_bfloat16_holds_stays(value):
    np.testing.assert_array_equal(roundings(jnp.float32(value), 20), np.float32(value))


def test_nan_stays_nan():
    odd = jax.lax.bitcast_convert_type(jnp.uint32(0x7FFFFFFF), jnp.float32)
    assert np.all(np.isnan(roundings(odd, 20)))


def test_an_average_reaches_its_value_where_rounding_to_the_nearest_stands_still():
    decay, target = jnp.float32(0.999), 1.0
    start = jnp.full((4096,), 0.9, jnp.bfloat16)

    def step(i: Any, both: Any) -> Any:
        nearest, at_random = (decay * x.astype(jnp.float32) + (1 - decay) * target for x in both)
        return nearest.astype(jnp.bfloat16), round_at_random(at_random, i.astype(jnp.uint32))

    nearest, at_random = jax.jit(lambda: jax.lax.fori_loop(0, 4000, step, (start, start)))()
    expected = 1.0 - 0.1 * 0.999**4000
    np.testing.assert_array_equal(nearest, start)
    assert abs(float(jnp.mean(at_random.astype(jnp.float32))) - expected) < 2e-3


def trained(optimizer: Any, steps: int = 5) -> tuple[Any, Any]:
    params = {"w": jnp.full(SHAPE, 0.5), "b": jnp.ones(3)}
    target = jax.random.normal(jax.random.key(2), SHAPE)

    @quick_jit
    def step(params: Any, state: Any) -> Any:
        value, grads = jax.value_and_grad(
            lambda p: jnp.mean(jnp.square(p["w"] - target)) + jnp.sum(jnp.square(p["b"]))
        )(params)
        updates, state = optimizer.update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(steps):
        params, state = step(params, state)
    return params, state


def build(name: str, **options: Any) -> Any:
    arguments = {"learning_rate": 1e-2} if name in ("celo2", "celo2_base") else {}
    if name.startswith("velo"):  # its mean over a bank of random networks hardly moves anything
        arguments = {"ff_mult": 50.0}
    theta = celo.learned_optimizer(name).init(jax.random.key(0))
    return getattr(celo, name)(num_steps=10, theta=theta, **arguments, **options)


@pytest.mark.parametrize(
    "name", [n if n == "celo" else pytest.param(n, marks=pytest.mark.slow) for n in ROUNDED]
)
@pytest.mark.filterwarnings("ignore:celo2 recognises no embedding")
def test_averages_are_stored_in_half_the_memory_and_steps_stay_close(name):
    (expected, wide), (found, state) = trained(build(name)), trained(build(name, state_dtype="bfloat16"))
    assert int(state.count) == 5
    large = [x for x in jax.tree.leaves(state) if x.shape == SHAPE]
    assert len(large) >= 2
    assert all(x.dtype == jnp.bfloat16 for x in large)
    assert not [x for x in jax.tree.leaves(state) if x.dtype == jnp.bfloat16 and x.size < SMALLEST]
    structures = [[x.shape for x in jax.tree.leaves(tree)] for tree in (wide, state.inner)]
    assert structures[0] == structures[1]
    moved = np.abs(np.asarray(expected["w"]) - 0.5).mean()
    assert np.abs(np.asarray(found["w"] - expected["w"])).mean() < 0.05 * moved


def test_celo_stores_eight_bytes_per_parameter():
    params = jnp.zeros((1024, 1024))
    optimizer = build("celo", state_dtype="bfloat16")
    state = jax.eval_shape(optimizer.init, params)
    total = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(state))
    assert total / params.size == pytest.approx(8.0, rel=0.01)


def test_the_step_size_is_read_through_it():
    _, state = trained(build("celo", state_dtype="bfloat16"), 1)
    assert float(celo.step_size(state)) == float(state.inner.eta)


def test_the_same_random_numbers_every_time_and_others_at_every_step():
    optimizer = wrappers.rounded_state(hand_designed("adam", 1e-2))
    (_, first), (_, again) = trained(optimizer, 1), trained(optimizer, 1)
    jax.tree.map(np.testing.assert_array_equal, first, again)


@pytest.mark.parametrize("dtype", ["float16", "bf16"])
def test_another_type_is_refused(dtype):
    with pytest.raises(ValueError, match=r"state_dtype is .* expected 'float32' or 'bfloat16'"):
        build("celo", state_dtype=dtype)
