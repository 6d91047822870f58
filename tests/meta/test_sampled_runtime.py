"""Sampled tasks by time: budgets, the predictor on times of known form, and rejection."""

import jax
import numpy as np
import pytest

from celo.meta.tasks import check_name
from celo.meta.tasks.sampled.names import FAMILIES, configuration_of, find_sampled
from celo.meta.tasks.sampled.runtime import (
    PHASE_ONE,
    PHASE_TWO,
    Budgets,
    RuntimePredictor,
    draw_name,
    measure_seconds,
    name_within,
)

COUNT = 160


def seconds(configuration):
    """A time of known form: proportional to the batch and the pixels."""
    return 1e-8 * configuration["batch_size"] * configuration["image_size"] ** 2


@pytest.fixture(scope="module")
def configurations():
    return [FAMILIES["image_mlp"].configure(key) for key in jax.random.split(jax.random.key(0), COUNT)]


@pytest.fixture(scope="module")
def predictor(configurations):
    fitted = configurations[: COUNT // 2]
    return RuntimePredictor.fit(fitted, [seconds(c) for c in fitted])


def test_predictor(configurations, predictor):
    """On held-out configurations it explains most of the variance of the logarithm of the time."""
    held_out = configurations[COUNT // 2 :]
    times = [seconds(c) for c in held_out]
    error = predictor.log_error(held_out, times)
    assert error < 0.1 * np.var(np.log(times))
    assert error == pytest.approx(np.mean((np.log(predictor.predict(held_out)) - np.log(times)) ** 2))


def test_rejection(predictor):
    """A name is one that a recipe takes, and its time is predicted to be below the budget."""
    name = name_within("image_mlp", jax.random.key(1), 5e-6, predictor, "digits")
    check_name(name)
    assert predictor.predict([configuration_of(name)])[0] < 5e-6
    with pytest.raises(ValueError, match="none of 512 tasks of 'image_mlp'"):
        name_within("image_mlp", jax.random.key(1), 1e-12, predictor)


def test_budgets(predictor):
    np.testing.assert_allclose(PHASE_ONE.probabilities(), np.array([0.65, 0.3, 0.1, 0.05]) / 1.1)
    assert PHASE_TWO.probabilities().sum() == pytest.approx(1)
    assert draw_name(jax.random.key(2), PHASE_ONE, {"image_mlp": predictor}).startswith("sampled:image_mlp/")
    with pytest.raises(ValueError, match="no predictor"):
        draw_name(jax.random.key(2), Budgets((2e-5,), (1.0,)), {"lopt": predictor})
    with pytest.raises(ValueError, match="positive"):
        Budgets((1.0,), (0.0,))
    with pytest.raises(ValueError, match="positive times"):
        RuntimePredictor.fit([{}, {}], [1.0, float("nan")])


def test_measured_time(tmp_path):
    """A step has a time, of this machine's order."""
    task = find_sampled("sampled:image_mlp/0@digits").make("", {"cache_dir": tmp_path})
    assert 1e-8 < measure_seconds(task, jax.random.key(0), tasks=2, steps=3, repeats=2) < 1.0
