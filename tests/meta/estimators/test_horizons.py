"""Horizons: in range, log-uniform, and growing with a curriculum."""

import math

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from celo.meta.estimators.horizons import Horizon, _log_uniform

KEYS = jax.random.split(jax.random.key(0), 2000)
LIMITS = st.tuples(st.integers(1, 5000), st.integers(0, 5000)).map(lambda x: (x[0], x[0] + x[1]))


@jax.jit
def log_uniform_of(low, high):
    """Many draws; the limits are arguments of the compiled call, as the bound of a curriculum is."""
    return jax.vmap(lambda key: _log_uniform(key, low, high))(KEYS)


def sampled(horizon, iteration=0):
    return np.asarray(jax.vmap(lambda key: horizon.sample(key, jnp.int32(iteration)))(KEYS))


@hypothesis.given(LIMITS)
def test_log_uniform_stays_in_range(limits):
    low, high = limits
    found = np.asarray(log_uniform_of(float(low), float(high)))
    assert found.dtype == np.int32
    assert low <= found.min() <= found.max() <= high


def test_log_uniform_is_log_uniform():
    """Whole numbers of a floored continuous draw: P(T <= n) = log((n + 1) / low) / log(high / low)."""
    low, high = 100, 2000
    found = sampled(Horizon(low, high))
    below = [(found <= n).mean() for n in range(low, high)]
    expected = [math.log((n + 1) / low) / math.log(high / low) for n in range(low, high)]
    assert np.max(np.abs(np.subtract(below, expected))) < 1.95 / math.sqrt(len(found))


def test_curriculum_grows_from_start_to_high():
    """The bound is log-linear in the meta-iteration; no horizon of a key ever shrinks."""
    horizon = Horizon(10, 2000, start=20, over=100)
    found = np.stack([sampled(horizon, i) for i in (0, 10, 50, 90, 100, 1000)])
    assert np.all(np.diff(found, axis=0) >= 0)
    bounds = [20 * 100 ** (i / 100) for i in (0, 10, 50, 90, 100, 100)]
    assert np.all(found.max(axis=1) <= np.multiply(bounds, 1 + 1e-5))
    np.testing.assert_allclose(found.max(axis=1), bounds, rtol=0.06)
    assert found.min() == horizon.low == 10
    np.testing.assert_array_equal(found[4], found[5])
    np.testing.assert_array_equal(found[5], sampled(Horizon(10, 2000)))
    assert horizon.high == 2000


def test_piecewise_linear_curriculum():
    """The bound goes along straight lines through its knots."""
    horizon = Horizon(10, 1000, knots=((0, 20), (10, 100), (40, 1000)))
    found = np.stack([sampled(horizon, i) for i in (0, 5, 10, 25, 40, 99)])
    bounds = [20, 60, 100, 550, 1000, 1000]
    assert np.all(found.max(axis=1) <= np.multiply(bounds, 1 + 1e-5))
    np.testing.assert_allclose(found.max(axis=1), bounds, rtol=0.06)
    np.testing.assert_array_equal(found[-1], sampled(Horizon(10, 1000)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Horizon(0, 5), r"\[0, 5\]; expected 1 <= low <= high"),
        (lambda: Horizon(6, 5), r"\[6, 5\]"),
        (lambda: Horizon(0, 0), r"\[0, 0\]"),
        (lambda: Horizon(5, 40, start=4, over=1), "starts at 4; expected a bound from 5 to 40"),
        (lambda: Horizon(5, 40, start=50, over=1), "starts at 50; expected a bound from 5 to 40"),
        (lambda: Horizon(5, 40, knots=((3, 10), (3, 20))), r"\(\(3, 10\), \(3, 20\)\); expected rising"),
        (lambda: Horizon(5, 40, knots=((0, 10), (3, 50))), "bounds from 5 to 40"),
        (lambda: Horizon(over=-1), "-1 meta-iterations; expected at least 0"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
