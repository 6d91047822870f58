"""Tasks made of tasks, in closed form: gradients by evolution strategies, training learned optimizers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.learned import learned_optimizer
from celo.meta.tasks import ESWrapped, LearnedOptimizerTraining, PESTraining, Quadratic, QuadraticForm
from celo.meta.tasks.es_wrapped import with_gradient

SGD = learned_optimizer("learnable_sgd")
CURVATURE = np.array([1.0, 4.0], np.float32)


@jax.jit
def gradient(task, params, state, key, batch):
    return jax.value_and_grad(lambda p: task.loss(p, state, key, batch)[0])(params)


def test_es_gradient_of_a_quadratic_is_its_closed_form(key):
    """Antithetic differences of a quadratic are exact: the estimate is `mean_i e_i e_i' g / sigma²`."""
    inner = Quadratic.of(CURVATURE, target=1.0)
    task = ESWrapped.of(inner, pairs=5, sigma=0.1)
    params, state = task.init(key)
    batch = task.batch(key, "train")
    loss, estimate = gradient(task, params, state, key, batch)
    assert loss == inner.loss(params, state, key, batch)[0]
    exact = CURVATURE * (np.asarray(params["x"]) - 1.0)
    keys = jax.random.split(jax.random.split(key)[1], 5)
    e = 0.1 * np.stack([jax.random.normal(k, (2,)) for k in keys])
    np.testing.assert_allclose(estimate["x"], (e @ exact) @ e / 5 / 0.1**2, rtol=1e-4)


def test_a_given_gradient_survives_parameters_that_are_not_finite():
    params = {"x": jnp.array([jnp.inf, 1.0])}
    given = {"x": jnp.array([2.0, 3.0])}
    loss, grads = jax.value_and_grad(lambda p: 2.0 * with_gradient(jnp.float32(7.0), p, given))(params)
    assert loss == 14.0
    np.testing.assert_array_equal(grads["x"], [4.0, 6.0])


def sgd_losses(start, rate, steps):
    """Losses of gradient descent on the quadratic around zero, `1/2 c x²` with `x <- (1 - rate c) x`."""
    factors = (1 - rate * CURVATURE[None]) ** np.arange(steps)[:, None]
    return 0.5 * np.sum(CURVATURE * (factors * np.asarray(start)[None]) ** 2, axis=1)


def test_training_an_optimizer_is_differentiated_through_all_steps(key):
    """Gradient descent on a quadratic: loss and derivative are polynomials in the learning rate."""
    task = LearnedOptimizerTraining.of(Quadratic.of(CURVATURE), SGD, steps=6)
    params = {"log_learning_rate": jnp.log(0.05)}
    loss, grads = gradient(task, params, (), key, task.batch(key, "train"))
    start = task.task.init(jax.random.split(key)[0])[0]["x"]

    def expected(log_rate):
        return sgd_losses(start, np.exp(log_rate), 6).mean()

    np.testing.assert_allclose(loss, expected(np.log(0.05)), rtol=1e-5)
    slope = (expected(np.log(0.05) + 1e-4) - expected(np.log(0.05) - 1e-4)) / 2e-4
    np.testing.assert_allclose(grads["log_learning_rate"], slope, rtol=1e-3)


def test_training_an_optimizer_normalises_every_inner_loss(key):
    """Losses above the ceiling count as the ceiling, one by one."""
    inner = Quadratic.of(CURVATURE, ceiling=0.1)
    task = LearnedOptimizerTraining.of(inner, SGD, steps=8)
    params = {"log_learning_rate": jnp.log(0.2)}
    loss, _ = gradient(task, params, (), key, task.batch(key, "train"))
    losses = sgd_losses(inner.init(jax.random.split(key)[0])[0]["x"], 0.2, 8)
    assert losses.min() < 0.1 < losses.max()
    np.testing.assert_allclose(loss, np.minimum(losses, 0.1).mean(), rtol=1e-5)


def test_training_an_optimizer_uses_each_batch_once_in_order(key):
    """The noise of step t moves the loss of step t and what comes after it."""
    task = LearnedOptimizerTraining.of(Quadratic.of([1.0], noise=1.0), SGD, steps=3)
    batch = {"noise": jnp.array([[0.0], [0.0], [2.0]])}
    params = {"log_learning_rate": jnp.log(0.5)}
    loss, _ = gradient(task, params, (), key, batch)
    x = float(task.task.init(jax.random.split(key)[0])[0]["x"][0])
    np.testing.assert_allclose(loss, (x**2 + (x / 2) ** 2 + (x / 4 - 2.0) ** 2) / 6, rtol=1e-5)
    assert task.batch(key, "test")["noise"].shape == (3, 1)


def test_pes_gradient_of_a_fresh_problem(key):
    """With one number to learn and no past: `e² / sigma²` times the derivative of the truncation's loss."""
    pes = PESTraining.of(Quadratic.of(CURVATURE), SGD, problems=3, horizon=1000, length=4)
    _, state = jax.jit(pes.init)(key)
    assert state["problems"].step.max() + 4 < 1000  # none of the problems of this key ends
    params = {"log_learning_rate": jnp.log(0.05)}
    loss, grads = gradient(pes, params, state, key, pes.batch(key, "train"))
    starts = np.asarray(state["problems"].members.params["x"])[:, 0]
    keys = [jax.random.split(k, 3)[0] for k in jax.random.split(key, 3)]
    ratios = [(float(jax.random.normal(k, (1,))[0])) ** 2 for k in keys]

    def mean_loss(start, log_rate):
        return sgd_losses(start, np.exp(log_rate), 4).mean()

    at = np.log(0.05)
    slopes = [(mean_loss(x, at + 1e-3) - mean_loss(x, at - 1e-3)) / 2e-3 for x in starts]
    np.testing.assert_allclose(loss, np.mean([mean_loss(x, at) for x in starts]), rtol=1e-2)
    np.testing.assert_allclose(grads["log_learning_rate"], np.dot(ratios, slopes) / 3, rtol=2e-2)


def test_pes_goes_on_where_it_was(key):
    """Problems age by the truncation, are drawn anew at the horizon, and remember their perturbations."""
    pes = PESTraining.of(Quadratic.of(CURVATURE), SGD, problems=3, horizon=20, length=4)
    step = jax.jit(lambda params, state, key: pes.loss(params, state, key, pes.batch(key, "train"))[1])
    params, state = jax.jit(pes.init)(key)
    ages, past = [np.asarray(state["problems"].step)], []
    for i in range(6):
        state = step(params, state, jax.random.fold_in(key, i))
        ages.append(np.asarray(state["problems"].step))
        past.append(np.asarray(state["accumulators"]))
    moved = np.diff(ages, axis=0)
    assert ((moved == 4) | (moved < 0)).all()
    assert (moved < 0).any(axis=0).all()  # 24 steps are more than the horizon of 20
    assert np.max(ages) <= 20
    assert len({array.tobytes() for array in past}) == 6


def test_pes_reads_the_batch_it_is_given():
    """Noise in the batch is all the loss there is for a parameter at the minimum that does not move."""
    pes = PESTraining.of(Quadratic.of([1.0], noise=1.0), SGD, problems=2, horizon=50, length=2)
    key = jax.random.key(1)
    _, state = jax.jit(pes.init)(key)
    assert state["problems"].step.max() + 2 < 50
    members = state["problems"].members
    still = members._replace(params={"x": jnp.zeros_like(members.params["x"])})
    state = {**state, "problems": state["problems"]._replace(members=still)}
    params = {"log_learning_rate": jnp.float32(-30.0)}
    noise = jnp.array([[[1.0], [2.0]], [[3.0], [4.0]]])
    loss, _ = gradient(pes, params, state, key, {"noise": noise})
    np.testing.assert_allclose(loss, (1 + 4 + 9 + 16) / 8, rtol=1e-5)


@pytest.mark.parametrize(
    ("config", "params", "noise", "expected"),
    [
        ({}, {"x0": [1.0, 2.0]}, 0.0, 5.0),
        ({"vectors": 2}, {"x0": [1.0, 2.0], "x1": [1.0, -2.0]}, 0.0, 4.0),
        ({"logarithm": True}, {"x0": [1.0, 2.0]}, 0.0, np.log(5.0)),
        ({"noise": "added"}, {"x0": [1.0, 2.0]}, 3.0, 8.0),
        ({"noise": "mean"}, {"x0": [1.0, 2.0]}, [1.0, 1.0], 1.0),
    ],
)
def test_quadratic_forms(config, params, noise, expected, key):
    task = QuadraticForm.of(np.eye(2), "form", **config)
    assert jax.tree.map(jnp.shape, task.init(key)[0]) == dict.fromkeys(params, (2,))
    arrays = {name: jnp.array(values) for name, values in params.items()}
    loss, _, _ = task.loss(arrays, (), key, {"noise": jnp.array(noise)})
    np.testing.assert_allclose(loss, expected, rtol=1e-6)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ESWrapped.of(Quadratic.of([1.0]), pairs=0), "pairs must be .* got 0"),
        (lambda: ESWrapped.of(Quadratic.of([1.0]), sigma=0.0), "sigma must be .* got 0.0"),
        (lambda: LearnedOptimizerTraining.of(Quadratic.of([1.0]), SGD, steps=0), "steps must be .* got 0"),
        (lambda: PESTraining.of(Quadratic.of([1.0]), SGD, 0, 5, 5), "problems must be .* got 0"),
        (lambda: QuadraticForm.of(np.ones((2, 3)), "form"), r"matrix must be square, got the shape \(2, 3\)"),
        (lambda: QuadraticForm.of(np.eye(2), "form", noise="nosie"), "noise must be mean"),
    ],
)
def test_bad_input(make, message):
    with pytest.raises(ValueError, match=message):
        make()
