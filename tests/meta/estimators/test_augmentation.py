"""Augmentation: the function at initialisation stays, scales are log-uniform, levels share what they say."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.meta.compile import jit
from celo.meta.estimators.augmentation import LEVELS, MIXED_LEVELS, MIXED_RANGES, Augmentation, scale, unscale
from celo.meta.tasks import make

DRAWS = 2000
PARAMS = {"w": jnp.ones((3, 2)), "b": jnp.zeros(2), "scalar": jnp.ones(())}


def draws(augmentation, count=DRAWS):
    """Scales of many problems, broadcast to the parameters: leaves (count, ...)."""

    def one(key):
        tau = augmentation.sample(key, PARAMS)
        return jax.tree.map(lambda t, p: jnp.broadcast_to(t, p.shape), tau, PARAMS)

    return jax.device_get(jit(jax.vmap(one))(jax.random.split(jax.random.key(0), count)))


def flat(tau):
    """All nine scales of each problem, (count, 9)."""
    return np.concatenate([x.reshape(len(x), -1) for x in jax.tree.leaves(tau)], axis=1)


def assert_log_uniform(values, low, high):
    """Kolmogorov-Smirnov at about 1 in 1000, on independent values."""
    positions = np.sort(np.log(values / low) / math.log(high / low))
    assert positions[0] >= -1e-6
    assert positions[-1] <= 1 + 1e-6
    steps = np.arange(len(positions) + 1) / len(positions)
    distance = max(np.max(steps[1:] - positions), np.max(positions - steps[:-1]))
    assert distance < 1.95 / math.sqrt(len(positions))


@pytest.fixture(scope="module")
def perceptrons():
    """Twenty initial parameters, and a function from parameters of their shapes to twenty losses."""
    task = make("ImageMLP_Digits8_Relu16_bs64")
    keys = jax.random.split(jax.random.key(1), 20)
    params = jit(jax.vmap(lambda key: task.init(key)[0]))(keys)
    batch = task.batch(jax.random.key(2), "train")
    return params, jit(jax.vmap(lambda p: task.loss(p, (), jax.random.key(3), batch)[0]))


@pytest.mark.parametrize("level", LEVELS)
def test_the_function_at_initialisation_is_unchanged(perceptrons, level):
    params, losses = perceptrons
    augmentation = Augmentation(level)

    def through(params, key):
        tau = augmentation.sample(key, params)
        seen = unscale(tau, params)
        return seen, scale(tau, seen)

    seen, back = jit(jax.vmap(through))(params, jax.random.split(jax.random.key(4), 20))
    np.testing.assert_allclose(losses(back), losses(params), rtol=1e-5)
    same = [np.array_equal(a, b) for a, b in zip(jax.tree.leaves(seen), jax.tree.leaves(params), strict=True)]
    assert all(same) == (level == "none"), "the optimizer should see other parameters"


def test_global_is_one_scale_for_all():
    tau = flat(draws(Augmentation("global", 0.01, 10.0)))
    assert np.all(tau == tau[:, :1])
    assert_log_uniform(tau[:, 0], 0.01, 10.0)


def test_tensor_is_one_scale_for_each_tensor():
    tau = draws(Augmentation("tensor", 0.01, 10.0))
    firsts = np.stack([x.reshape(DRAWS, -1)[:, 0] for x in jax.tree.leaves(tau)], axis=1)
    for x, first in zip(jax.tree.leaves(tau), firsts.T, strict=True):
        assert np.all(x.reshape(DRAWS, -1) == first[:, None])
    assert np.max(np.abs(np.corrcoef(np.log(firsts.T)) - np.eye(3))) < 0.1
    assert_log_uniform(firsts.ravel(), 0.01, 10.0)


def test_parameter_is_one_scale_for_each_number():
    tau = flat(draws(Augmentation("parameter", 0.01, 10.0)))
    assert np.max(np.abs(np.corrcoef(np.log(tau.T)) - np.eye(9))) < 0.1
    assert_log_uniform(tau.ravel(), 0.01, 10.0)


@pytest.mark.slow
def test_mixed_draws_level_and_range():
    """2 in 7 none, 2 global, 2 tensor, 1 parameter; each of the three ranges as often as the others."""
    tau = draws(Augmentation("mixed"))
    values = flat(tau)
    tensors = [len(set(x.ravel().tolist())) == 1 for problem in _problems(tau) for x in problem]
    by_tensor = np.reshape(tensors, (DRAWS, 3)).all(axis=1)
    one = (values == values[:, :1]).all(axis=1)
    plain = (values == 1).all(axis=1)
    shares = [plain.mean(), (one & ~plain).mean(), (by_tensor & ~one).mean(), (~by_tensor).mean()]
    counts = [sum(level == name for level in MIXED_LEVELS) for name in ("none", "global", "tensor")]
    np.testing.assert_allclose(shares, [*np.divide(counts, 7), 1 / 7], atol=4 * math.sqrt(0.25 / DRAWS))
    logs = np.abs(np.log10(values[one & ~plain, 0]))
    assert logs.max() <= 3 + 1e-5
    # Of a third each on +-1, +-2 and +-3 decades: 1/3 + 1/6 + 1/9 are within one.
    assert [high for _, high in MIXED_RANGES] == [1e3, 1e2, 1e1]
    np.testing.assert_allclose(np.mean(logs < 1), 11 / 18, atol=4 * math.sqrt(0.25 / len(logs)))


def _problems(tau):
    return zip(*jax.tree.leaves(tau), strict=True)


def test_dtype_of_the_parameters_is_kept():
    params = {"x": jnp.ones(3, jnp.bfloat16)}
    tau = Augmentation("tensor").sample(jax.random.key(0), params)
    assert tau["x"].dtype == jnp.float32
    assert scale(tau, params)["x"].dtype == unscale(tau, params)["x"].dtype == jnp.bfloat16


def test_nothing_to_scale():
    assert Augmentation("tensor").sample(jax.random.key(0), {}) == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("globl",), "Unknown augmentation level 'globl'. Did you mean 'global'"),
        (("global", 0.0, 1.0), "0 < low <= high < inf"),
        (("global", -1.0, 1.0), r"\[-1.0, 1.0\]"),
        (("tensor", 2.0, 1.0), r"\[2.0, 1.0\]"),
        (("tensor", 1.0, math.inf), "inf"),
        (("tensor", math.nan, 1.0), "nan"),
    ],
)
def test_bad_input(arguments, message):
    with pytest.raises(ValueError, match=message):
        Augmentation(*arguments)
