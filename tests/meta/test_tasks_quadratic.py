"""The quadratic against its closed form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celo.meta.tasks import Quadratic

NUMBERS = st.floats(-10, 10, width=32)


@given(x=st.tuples(NUMBERS, NUMBERS), y=st.tuples(NUMBERS, NUMBERS), e=st.tuples(NUMBERS, NUMBERS))
def test_loss_and_gradient(x, y, e):
    task = Quadratic.of([0.5, 3.0], y)
    batch = {"noise": jnp.array(e)}
    loss, grad = jax.value_and_grad(lambda p: task.loss(p, (), jax.random.key(0), batch)[0])(
        {"x": jnp.array(x)}
    )
    error = np.array(x) - np.array(y) - np.array(e)
    np.testing.assert_allclose(loss, 0.5 * np.sum([0.5, 3.0] * error**2), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(grad["x"], [0.5, 3.0] * error, rtol=1e-5, atol=1e-5)


def test_expected_loss_at_the_target(key):
    task = Quadratic.of([0.5, 3.0], target=2.0, noise=0.3)
    keys = jax.random.split(key, 4000)
    losses = jax.vmap(lambda k: task.loss({"x": task.target}, (), k, task.batch(k, "train"))[0])(keys)
    error = np.std(losses) / np.sqrt(len(losses))
    np.testing.assert_allclose(np.mean(losses), 0.3**2 * 3.5 / 2, atol=4 * error)


def test_normalizer():
    losses = jnp.array([-1.0, 3.0, 11.0, jnp.inf, jnp.nan])
    normalized = Quadratic.of([1.0], ceiling=10.0).normalizer(losses)
    np.testing.assert_array_equal(normalized, [0, 3, 10, 10, 10])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"curvature": []}, "curvature must be positive finite"),
        ({"curvature": [1.0, -1.0]}, "curvature must be positive finite"),
        ({"curvature": [np.nan]}, "curvature must be positive finite"),
        ({"curvature": 1.0}, "curvature must be positive finite numbers in one axis, got 1.0"),
        ({"curvature": [1.0, 2.0], "target": [1.0, 2.0, 3.0]}, r"target must have the shape \(2,\)"),
        ({"curvature": [1.0], "noise": -1.0}, "noise must be .* got -1.0"),
        ({"curvature": [1.0], "noise": np.inf}, "noise must be a finite"),
        ({"curvature": [1.0], "ceiling": 0.0}, "ceiling must be above 0, got 0.0"),
        ({"curvature": [1.0], "ceiling": np.nan}, "ceiling must be above 0, got nan"),
    ],
)
def test_bad_configuration(arguments, message):
    with pytest.raises(ValueError, match=message):
        Quadratic.of(**arguments)
