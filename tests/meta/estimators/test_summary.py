"""Signal to noise of the meta-gradient and of loss differences, against numpy on given numbers."""

import jax
import jax.numpy as jnp
import numpy as np

from celo.meta.estimators.summary import difference_snr, gradient_snr
from celo.meta.estimators.terms import Terms


def group(key, problems):
    """Weights and vectors of two families, and the gradients of their problems, (2 problems, 5)."""
    keys = jax.random.split(jax.random.key(key), 4)
    past, new = (jax.random.normal(k, (2, problems)) for k in keys[:2])
    weights = Terms(past, new, jnp.zeros((2, problems)))
    xi, e = (1.0 + jax.random.normal(k, (2, problems, 5)) for k in keys[2:])
    vectors = Terms(xi, e)
    gradients = weights.past[..., None] * vectors.past + weights.new[..., None] * vectors.new
    return (weights, vectors), np.reshape(gradients, (-1, 5))


def test_gradient_snr_is_the_norm_over_the_variance_of_the_mean():
    (first, g), (second, h) = group(0, 3), group(1, 4)
    each = np.concatenate([g, h])
    mean = each.mean(axis=0)
    variance = np.sum(np.var(each, axis=0, ddof=1)) / len(each)
    found = gradient_snr(jnp.asarray(mean), [first, second], len(each))
    np.testing.assert_allclose(found, np.sum(mean**2) / variance, rtol=1e-4)


def test_gradient_snr_of_noise_is_one_and_of_one_problem_unknown():
    vectors = Terms(None, jax.random.normal(jax.random.key(0), (1, 200, 50)), None)
    weights = Terms(jnp.zeros((1, 200)), jnp.ones((1, 200)), jnp.zeros((1, 200)))
    found = gradient_snr(jnp.mean(vectors.new, axis=(0, 1)), [(weights, vectors)], 200)
    assert 0.5 < found < 1.6
    assert np.isnan(gradient_snr(jnp.ones(5), [], 1))


def test_difference_snr_is_the_mean_of_families():
    delta = jax.random.normal(jax.random.key(2), (2, 3, 7))
    mask = jnp.ones((2, 3, 7), bool).at[0, 1, 2:5].set(False)
    ratios = [
        np.mean(np.abs(d[m])) / np.std(d[m]) for d, m in zip(np.array(delta), np.array(mask), strict=True)
    ]
    np.testing.assert_allclose(difference_snr([delta], [mask]), np.mean(ratios), rtol=1e-5)
    found = difference_snr([delta, jnp.zeros((1, 3, 7))], [mask, jnp.ones((1, 3, 7), bool)])
    np.testing.assert_allclose(found, np.sum(ratios) / 3, rtol=1e-5)  # no differences, no signal
