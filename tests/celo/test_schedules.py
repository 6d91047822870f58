"""Schedules of the published baselines against their formulas, one step at a time."""

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.schedules import (
    SCHEDULES,
    cosine_learning_rate,
    exponential_decay,
    linear_rampup_sqrt_decay,
    warmup_cosine,
    warmup_stable_decay,
)

fractions = st.floats(0.0, 1.0, width=32)


def published_cosine(
    step: int, total: int, rate: float, mult: float, constant: float, warmup: float
) -> float:
    """The schedule in plain Python, quirk included: warm-up swallows the constant phase."""
    step = min(step, total)
    if warmup > 0 and step < max(warmup, constant) * total:
        return rate * step / (max(warmup, constant) * total)
    if step <= constant * total:
        return rate
    angle = np.pi * (step - constant * total) / (total - constant * total)
    return rate * (mult + (1 - mult) * (0.5 + 0.5 * np.cos(angle)))


@hypothesis.given(fractions, fractions, fractions, st.integers(1, 50), st.integers(0, 60))
def test_cosine_is_the_published_one(mult: float, constant: float, warmup: float, total: int, step: int):
    hypothesis.assume(abs(step - constant * total) > 1e-3)  # on the corners float32 may fall to either side
    hypothesis.assume(abs(step - max(warmup, constant) * total) > 1e-3)
    ours = cosine_learning_rate(0.5, total, mult, constant, warmup)(step)
    np.testing.assert_allclose(ours, published_cosine(step, total, 0.5, mult, constant, warmup), atol=1e-4)


def test_cosine_has_three_phases_without_warmup_and_two_with():
    """Also with traced numbers."""
    for warmup, expected in ((0.0, [1.0, 1.0, 1.0, 0.55, 0.1, 0.1]), (0.01, [0.0, 0.5, 1.0, 0.55, 0.1, 0.1])):
        schedule = jax.vmap(lambda w, step: cosine_learning_rate(1.0, 100, 0.1, 0.5, w)(step), (None, 0))
        found = schedule(jnp.float32(warmup), jnp.array([0, 25, 50, 75, 100, 200]))
        np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_square_root_decay_meets_its_warmup_at_the_peak():
    rates = jax.vmap(linear_rampup_sqrt_decay(0.1, 100))(jnp.array([0, 1, 50, 100, 400]))
    np.testing.assert_allclose(rates, [0.001, 0.001, 0.05, 0.1, 0.05], rtol=1e-5)


def test_exponential_decay_loses_the_same_part_every_step():
    schedule = exponential_decay(0.1)
    np.testing.assert_allclose(schedule(0), 0.1)
    np.testing.assert_allclose(schedule(1), 0.1 * (1 - 7e-5), rtol=1e-6)
    np.testing.assert_allclose(schedule(100_000), 0.1 * (1 - 7e-5) ** 100_000, rtol=1e-5)


def test_warmup_rises_from_the_first_step_and_meets_the_decay_at_the_peak():
    """Also with traced numbers."""
    steps = jnp.array([0, 9, 19, 20, 60, 100, 200])
    shapes = {
        "constant": [0.05, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0],
        "cosine": [0.05, 0.5, 1.0, 1.0, 0.55, 0.1, 0.1],
        "wsd": [0.05, 0.5, 1.0, 1.0, 0.82, 0.1, 0.1],
    }
    for name, expected in shapes.items():
        options = {"constant": {}, "cosine": {"last": 0.1}, "wsd": {"last": 0.1, "cooldown": 0.5}}[name]

        def rates(lr, total, warmup, name=name, options=options):
            return jax.vmap(SCHEDULES[name](lr, total, warmup=warmup, **options))(steps)

        np.testing.assert_allclose(rates(2.0, 100, 0.2), 2.0 * np.array(expected), rtol=1e-5)
        traced = jax.jit(rates)(jnp.float32(2.0), jnp.float32(100), jnp.float32(0.2))
        np.testing.assert_allclose(traced, 2.0 * np.array(expected), rtol=1e-5)


@pytest.mark.parametrize("name", SCHEDULES)
def test_every_schedule_is_finite_without_warmup_and_in_one_step(name: str):
    for total in (1, 3):
        rates = np.asarray(jax.vmap(SCHEDULES[name](0.5, total))(jnp.arange(5)))
        assert np.isfinite(rates).all()
        assert 0 <= rates.min() <= rates.max() <= 0.5
        assert rates[0] > 0
    assert warmup_cosine(0.5, 1)(0) == warmup_stable_decay(0.5, 1)(0) == 0.5


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: cosine_learning_rate(0.1, 0), r"num_steps is 0; expected a number in \[1"),
        (lambda: cosine_learning_rate(float("nan"), 10), "learning_rate is nan"),
        (lambda: cosine_learning_rate(0.1, 10, constant_fraction=1.5), "constant_fraction is 1.5"),
        (lambda: linear_rampup_sqrt_decay(0.1, 0), "warmup_steps is 0"),
        (lambda: linear_rampup_sqrt_decay(-0.1), "peak is -0.1"),
        (lambda: exponential_decay(0.1, 2.0), r"decay_amount is 2.0; expected a number in \[0.0, 1.0\]"),
        (lambda: exponential_decay(float("inf")), "base is inf"),
        (lambda: warmup_cosine(0.1, 0), "num_steps is 0"),
        (lambda: warmup_cosine(0.1, 9, warmup=-0.1), "warmup is -0.1"),
        (lambda: warmup_cosine(0.1, 9, last=2.0), "last is 2.0"),
        (lambda: warmup_stable_decay(0.1, 9, cooldown=1.5), "cooldown is 1.5"),
    ],
)
def test_impossible_schedules_are_refused(build, message: str):
    with pytest.raises(ValueError, match=message):
        build()
