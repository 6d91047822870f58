"""Horizons: in range, log-uniform, and growing with a curriculum."""

import math

import hypothesis
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import strategies as st

from celo.meta.estimators.horizons import Constant, Curriculum, LogUniform, _log_uniform

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
    found = sampled(LogUniform(low, high))
    below = [(found <= n).mean() for n in range(low, high)]
    expected = [math.log((n + 1) / low) / math.log(high / low) for n in range(low, high)]
    assert np.max(np.abs(np.subtract(below, expected))) < 1.95 / math.sqrt(len(found))


def test_constant():
    assert np.all(sampled(Constant(7)) == 7)
    assert (Constant(7).minimum, Constant(7).maximum) == (7, 7)


def test_curriculum_grows_from_start_to_high():
    """The bound is log-linear in the meta-iteration; no horizon of a key ever shrinks."""
    horizon = Curriculum(low=10, start=20, high=2000, over=100)
    found = np.stack([sampled(horizon, i) for i in (0, 10, 50, 90, 100, 1000)])
    assert np.all(np.diff(found, axis=0) >= 0)
    bounds = [20 * 100 ** (i / 100) for i in (0, 10, 50, 90, 100, 100)]
    assert np.all(found.max(axis=1) <= np.multiply(bounds, 1 + 1e-5))
    np.testing.assert_allclose(found.max(axis=1), bounds, rtol=0.06)
    assert found.min() == horizon.minimum == 10
    np.testing.assert_array_equal(found[4], found[5])
    np.testing.assert_array_equal(found[5], sampled(LogUniform(10, 2000)))
    assert horizon.maximum == 2000


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: LogUniform(0, 5), r"\[0, 5\]; expected 1 <= low <= high"),
        (lambda: LogUniform(6, 5), r"\[6, 5\]"),
        (lambda: Constant(0), r"\[0, 0\]"),
        (lambda: Curriculum(low=5, start=4), r"\[5, 4\]"),
        (lambda: Curriculum(low=5, start=50, high=40), r"\[50, 40\]"),
        (lambda: Curriculum(over=0), "0 meta-iterations; expected at least 1"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
