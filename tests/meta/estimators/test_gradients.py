"""Augmentations of the inner gradient: closed forms, and no change where nothing is chosen."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.meta.compile import jit
from celo.meta.estimators import gradients
from celo.meta.estimators.augmentation import Augmentation
from celo.meta.estimators.gradients import LONGEST_DELAY, GradientAugmentation
from celo.meta.estimators.horizons import Horizon
from celo.meta.estimators.problem import Thetas
from celo.meta.estimators.unroll import InnerTraining
from celo.meta.stage import Stage
from celo.meta.tasks import Quadratic, make
from tests.meta.learnable_sgd import LearnableSGD

ZERO = jnp.zeros((), jnp.int32)
NAMES = [field.name for field in dataclasses.fields(GradientAugmentation)]
NONE = dict.fromkeys(NAMES, 0.0)
PARAMS = {"a": jnp.array([0.3, -1.2, 0.7]), "b": jnp.array([[2.0, 1.1]])}
BATCH = {"x": jnp.linspace(0.5, 2.0, 8), "key": jax.random.key(1)}
KEY = jax.random.key(5)


def evaluate(params, batch):
    """The mean over examples x of ``x |p|^2 / 2 + x^2 sum(p)``, with its gradient."""

    def loss(params):
        leaves = jax.tree.leaves(params)
        squares = sum(jnp.sum(jnp.square(p)) for p in leaves)
        total = sum(jnp.sum(p) for p in leaves)
        return jnp.mean(batch["x"]) * squares / 2 + jnp.mean(jnp.square(batch["x"])) * total

    value, slope = jax.value_and_grad(loss)(params)
    return value, "state", slope


def flat(tree):
    return np.concatenate([np.ravel(x) for x in jax.tree.leaves(tree)])


def same(found, expected):
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(a, b)


def test_neutral_scalars_change_no_bit():
    past, yes, no = (
        jax.tree.map(lambda p: jnp.stack([-p] * LONGEST_DELAY), PARAMS),
        jnp.array(True),
        jnp.array(False),
    )
    changed = gradients.by_evolution(evaluate, jnp.int32(0), jnp.float32(0.1), KEY)
    changed = gradients.on_fewer_examples(changed, jnp.float32(1))
    changed = gradients.of_norm_one(gradients.in_bfloat16(changed, no), no)
    changed = gradients.along_directions(changed, jnp.int32(0), yes, KEY)
    changed = gradients.late(changed, past, jnp.int32(0), jnp.int32(3))
    (loss, _, gradient), (loss_0, _, gradient_0) = changed(PARAMS, {"x": BATCH["x"]}), evaluate(PARAMS, BATCH)
    same((loss, gradient), (loss_0, gradient_0))


@pytest.mark.parametrize("pairs", [1, 16])
def test_evolution_of_a_quadratic(pairs):
    """Odd terms alone survive an antithetic pair: each contributes ``e (e . g) / sigma^2`` exactly."""
    loss, _, found = gradients.by_evolution(evaluate, jnp.int32(pairs), jnp.float32(0.1), KEY)(PARAMS, BATCH)
    expected_loss, _, slope = evaluate(PARAMS, BATCH)
    keys = [jax.random.fold_in(KEY, i) for i in range(pairs)]
    e = 0.1 * np.stack([jax.random.normal(key, (5,), jnp.float32) for key in keys])
    np.testing.assert_allclose(
        flat(found), np.mean(e * (e @ flat(slope))[:, None], axis=0) / 0.01, rtol=1e-3, atol=2e-3
    )
    assert loss == expected_loss


@pytest.mark.parametrize(("fraction", "count"), [(0.5, 4), (0.3, 2), (0.01, 1), (1.0, 8)])
def test_fewer_examples(fraction, count):
    """Counts that divide the batch give the mean over the first examples; keys are left alone."""
    loss, _, gradient = gradients.on_fewer_examples(evaluate, jnp.float32(fraction))(PARAMS, BATCH)
    expected_loss, _, expected = evaluate(PARAMS, {"x": BATCH["x"][:count]})
    np.testing.assert_allclose(loss, expected_loss, rtol=1e-6)
    np.testing.assert_allclose(flat(gradient), flat(expected), rtol=1e-6)


def test_bfloat16():
    """Everything rounded: what comes out has bfloat16's values, and is that of rounded inputs."""
    loss, _, gradient = gradients.in_bfloat16(evaluate, jnp.array(True))(PARAMS, BATCH)
    short = jax.tree.map(lambda x: x.astype(jnp.bfloat16).astype(jnp.float32), (PARAMS, {"x": BATCH["x"]}))
    expected_loss, _, expected = evaluate(*short)
    same(
        (loss, gradient),
        jax.tree.map(lambda x: x.astype(jnp.bfloat16).astype(jnp.float32), (expected_loss, expected)),
    )
    assert not np.array_equal(flat(gradient), flat(evaluate(PARAMS, BATCH)[2]))


def test_norm_one():
    loss, _, gradient = gradients.of_norm_one(evaluate, jnp.array(True))(PARAMS, BATCH)
    expected_loss, _, slope = evaluate(PARAMS, BATCH)
    assert loss == expected_loss
    np.testing.assert_allclose(flat(gradient), flat(slope) / np.linalg.norm(flat(slope)), rtol=1e-5)
    none = gradients.of_norm_one(lambda p, b: (jnp.float32(0), (), {"a": jnp.zeros(2)}), jnp.array(True))
    same(none({}, {})[2], {"a": jnp.zeros(2)})


@pytest.mark.parametrize("signs", [False, True])
def test_directions(signs):
    """The gradient lies in the span of the directions, with the coefficients of the measurements."""
    changed = gradients.along_directions(evaluate, jnp.int32(2), jnp.array(signs), KEY)
    found, slope = flat(changed(PARAMS, BATCH)[2]), flat(evaluate(PARAMS, BATCH)[2])
    u = np.stack([jax.random.normal(jax.random.fold_in(KEY, i), (5,), jnp.float32) for i in range(2)])
    u /= np.linalg.norm(u, axis=1, keepdims=True)
    coefficients, residual, rank, _ = np.linalg.lstsq(u.T, found, rcond=None)
    assert rank == 2
    np.testing.assert_allclose(residual, 0, atol=1e-8)
    np.testing.assert_allclose(coefficients, np.sign(u @ slope) if signs else u @ slope, rtol=1e-3)


def test_draws():
    """How often each is chosen, and from which range."""
    draws = jax.device_get(jax.vmap(GradientAugmentation().draw)(jax.random.split(KEY, 20_000)))
    shares = {
        "evolution": draws.pairs > 0,
        "batch": draws.fraction < 1,
        "bfloat16": draws.bfloat16,
        "normalized": draws.normalized,
        "subspace": draws.directions > 0,
        "delay": draws.delay > 0,
    }
    for name, chosen in shares.items():
        assert np.mean(chosen) == pytest.approx(getattr(GradientAugmentation(), name), abs=0.01), name
    assert set(draws.pairs.tolist()) == {0, 1, 2, 4, 8, 16}
    assert np.all((draws.sigma > 0.999e-3) & (draws.sigma < 0.1001))
    assert np.median(np.log10(draws.sigma)) == pytest.approx(-2, abs=0.05)
    assert set(draws.delay.tolist()) == set(range(LONGEST_DELAY + 1))
    assert draws.directions.max() < 1024
    assert np.mean(draws.signs) == pytest.approx(0.5, abs=0.02)
    assert np.all(draws.fraction >= 0.01)


def unrolled(augmentation, task, steps=12):
    """The raw losses of three problems and two members, theta and 1.5 theta, (problems, steps, members)."""
    inner = InnerTraining(
        LearnableSGD(), Augmentation("global", 0.5, 2.0), Horizon(5, 9), gradients=augmentation
    )
    theta = LearnableSGD().init(jax.random.key(0))
    pair = Thetas(
        (jax.tree.map(lambda x: jnp.stack([x, 1.5 * x]), theta),), jax.tree.map(lambda _: None, theta)
    )

    def one(key):
        key_begin, key_run = jax.random.split(key)
        problem = inner.begin(pair, task, key_begin, ZERO, offset=False)
        problem, record = inner.unroll(pair, task, problem, inner.draw(task, key_run, steps, ZERO))
        return record.raw_loss, problem.gradient

    return jit(jax.vmap(one))(jax.random.split(KEY, 3))


def test_probability_zero_is_the_plain_path(tmp_path):
    """Bit for bit: probabilities of 0, and transforms that are computed and never chosen."""
    task = make("ImageMLP_Digits8_Relu16_bs64", cache_dir=tmp_path)
    plain, none = unrolled(None, task)
    assert none is None
    np.testing.assert_array_equal(plain, unrolled(GradientAugmentation(**NONE), task)[0])
    # Other compilations of one loss may round differently.
    rare = GradientAugmentation(**dict.fromkeys(NAMES, 1e-9))
    np.testing.assert_allclose(plain, unrolled(rare, task)[0], rtol=1e-5)


def test_late_gradients_in_a_training():
    """Gradient descent on a quadratic whose gradients are d steps old, against its recursion."""
    task = Quadratic.of([1.0, 0.3])
    inner = InnerTraining(
        LearnableSGD(),
        Augmentation("none"),
        Horizon(50, 50),
        gradients=GradientAugmentation(**NONE | {"delay": 1.0}),
    )
    theta = LearnableSGD().init(jax.random.key(0))
    single = Thetas((jax.tree.map(lambda x: x[None], theta),), jax.tree.map(lambda _: None, theta))

    def one(key):
        problem = inner.begin(single, task, key, ZERO, offset=False)
        first = problem.members.params
        problem, _ = inner.unroll(single, task, problem, inner.draw(task, key, 20, ZERO))
        return first, problem.members.params, problem.gradient.delay

    first, last, delays = jit(jax.vmap(one))(jax.random.split(KEY, 12))
    assert len(set(delays.tolist())) > 2
    learned = LearnableSGD().optimizer(theta, 50)
    for number, delay in enumerate(delays.tolist()):
        params = jax.tree.map(lambda x, i=number: x[i, 0], first)
        history, state = [params], learned.init(params)
        for step in range(20):
            slope = jax.grad(lambda p: task.loss(p, (), KEY, task.batch(KEY, "train"))[0])(
                history[max(0, step - delay)]
            )
            updates, state = learned.update(slope, state, history[-1])
            history.append(jax.tree.map(jnp.add, history[-1], updates))
        expected = jax.tree.map(lambda x, i=number: x[i, 0], last)
        np.testing.assert_allclose(flat(history[-1]), flat(expected), rtol=1e-4)


def test_bad_probability():
    with pytest.raises(ValueError, match=r"delay is 1.5; expected a probability"):
        GradientAugmentation(delay=1.5)
    with pytest.raises(ValueError, match="gradient augmentation"):
        Stage(gradient_augmentation="some")  # type: ignore[arg-type]
    assert Stage().gradient_estimator(LearnableSGD(), None).inner.gradients is None
    assert Stage(gradient_augmentation="velo").gradient_estimator(LearnableSGD(), None).inner.gradients
