"""Whole trainings against closed forms, against plain loops, and under vmap."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from celo.baselines import eval_params, hand_designed
from celo.learned.celo import Celo, CeloState
from celo.meta.compile import jit
from celo.meta.full_training import evaluate, evaluate_end, smooth, step_size, train
from celo.meta.tasks import Quadratic, make

BOWL = Quadratic.of([0.5, 2.0], target=[3.0, -3.0])
NOISY = Quadratic.of([0.5, 2.0], target=[3.0, -3.0], noise=0.1)


@pytest.fixture(scope="module")
def digits():
    return make("ImageMLP_Digits8_Relu16_bs64")


def start(task, key):
    """The parameters a training with this key starts from."""
    return task.init(jax.random.split(key, 3)[0])[0]


def test_sgd_on_a_quadratic_follows_its_closed_form(key):
    """x_t - y = (1 - lr c)^t (x_0 - y), so L_t = 1/2 sum c (1 - lr c)^2t (x_0 - y)^2."""
    curve = train(BOWL, hand_designed("sgd", 0.3), key, 12)
    error = np.asarray(start(BOWL, key)["x"]) - np.asarray(BOWL.target)
    decay = (1 - 0.3 * np.asarray(BOWL.curvature)[None]) ** np.arange(13)[:, None]
    expected = 0.5 * np.sum(np.asarray(BOWL.curvature) * (decay * error) ** 2, axis=1)
    np.testing.assert_allclose(curve.loss, expected[:12], rtol=1e-4)
    np.testing.assert_allclose(curve.params["x"], BOWL.target + decay[12] * error, rtol=1e-6)
    np.testing.assert_allclose(evaluate_end(BOWL, curve, key)[0], expected[12], rtol=1e-3)
    np.testing.assert_array_equal(curve.eta, np.ones(12))


def test_one_rate_is_a_row_of_many(key):
    """Every optimizer meets the same problem: at rate 0 the curves are the same, noise included."""
    adam, sgd = (train(NOISY, hand_designed(name, 0.0), key, 5).loss for name in ("adam", "sgd"))
    np.testing.assert_array_equal(adam, sgd)
    assert len(set(np.asarray(adam).tolist())) == 5
    rates = jnp.array([1e-3, 1e-2, 1e-1])

    def losses(rate, key):
        return train(NOISY, hand_designed("adam", rate), key, 8).loss

    keys = jax.random.split(key, 2)
    grid = jit(jax.vmap(jax.vmap(losses, (None, 0)), (0, None)))(rates, keys)
    assert grid.shape == (3, 2, 8)
    for i, rate in enumerate(rates):
        for j in range(2):
            np.testing.assert_allclose(grid[i, j], losses(float(rate), keys[j]), rtol=1e-5)


def test_a_step_at_a_time_gives_the_same_training(digits, key):
    """The scan against a loop over the task's own batches, with Adam from optax."""
    optimizer = optax.adam(1e-2, eps_root=1e-8)
    curve = jit(lambda task: train(task, hand_designed("adam", 1e-2), key, 6))(digits)
    key_init, key_batch, key_loss = jax.random.split(key, 3)
    params, model_state = digits.init(key_init)
    state = optimizer.init(params)
    losses = []

    @jit
    def step(params, state, key_batch, key_loss):
        batch = digits.batch(key_batch, "train")
        loss, grads = jax.value_and_grad(lambda p: digits.loss(p, model_state, key_loss, batch)[0])(params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    with jax.numpy_dtype_promotion("standard"):
        for drawn in zip(jax.random.split(key_batch, 6), jax.random.split(key_loss, 6), strict=True):
            params, state, loss = step(params, state, *drawn)
            losses.append(loss)
    np.testing.assert_allclose(curve.loss, losses, rtol=1e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), curve.params, params)


def test_one_step_size_is_the_geometric_mean_over_tensors(key):
    """Found at any depth; 1 where there is none, or more than one."""
    learned = Celo(tensor_features=True)
    state = learned.optimizer(learned.init(key), 4).init({"a": jnp.ones(2), "b": jnp.ones((2, 3))})
    assert isinstance(state, CeloState)
    assert state.eta.shape == (2,)
    with_eta = state._replace(eta=jnp.array([0.01, 1.0]))
    np.testing.assert_allclose(step_size(with_eta), 0.1, rtol=1e-6)
    assert step_size((optax.EmptyState(), (with_eta,))) == step_size(with_eta)
    assert step_size((state, state)) == step_size(optax.sgd(0.1).init({"x": jnp.ones(2)})) == 1
    assert step_size(state._replace(eta=jnp.array([0.0, 1.0]))) == 0
    assert step_size(state._replace(eta=jnp.array([-0.25]))) == 0.25


def test_schedule_free_is_judged_at_its_average(key):
    optimizer = hand_designed("schedule_free_adamw", 0.3)
    curve = train(BOWL, optimizer, key, 10)
    averaged = eval_params(curve.opt_state, curve.params)
    assert not np.allclose(averaged["x"], curve.params["x"])
    at_average = evaluate_end(BOWL, curve, key)[0]
    np.testing.assert_allclose(at_average, evaluate(BOWL, averaged, (), key)[0])
    assert not np.allclose(at_average, evaluate(BOWL, curve.params, (), key)[0])


def test_evaluation_is_the_mean_over_batches_of_the_split(digits, key):
    params, state = digits.init(key)
    loss, aux = evaluate(digits, params, state, key, split="outer_valid", batches=4)
    keys = jax.random.split(jax.random.split(key)[0], 4)
    each = [digits.loss(params, state, key, digits.batch(k, "outer_valid")) for k in keys]
    np.testing.assert_allclose(loss, np.mean([one[0] for one in each]), rtol=1e-6)
    np.testing.assert_allclose(aux["accuracy"], np.mean([one[2]["accuracy"] for one in each]), rtol=1e-6)


def test_a_diverged_training_stays_diverged(key):
    curve = train(BOWL, hand_designed("sgd", 1e20), key, 5)
    assert np.isfinite(curve.loss[0])
    assert not np.isfinite(curve.loss[-1])
    assert not np.isfinite(evaluate_end(BOWL, curve, key)[0])
    assert np.all(~np.isfinite(smooth(curve.loss)[3:]))


def test_smoothing_has_its_closed_form():
    """A step from 1 to 0 decays as a^t; a constant stays; rows are independent."""
    np.testing.assert_allclose(smooth([1.0] + [0.0] * 9), 0.9 ** np.arange(10))
    np.testing.assert_allclose(smooth(np.full((2, 5), 3.0)), 3.0)
    rows = np.random.default_rng(0).normal(size=(3, 7)).astype(np.float32)
    np.testing.assert_array_equal(smooth(rows)[1], smooth(rows[1]))
    weights = [0.5**3, 0.5 * 0.5**2, 0.5 * 0.5, 0.5]
    np.testing.assert_allclose(smooth(rows[0, :4], 0.5)[-1], np.dot(weights, rows[0, :4]), rtol=1e-6)
    np.testing.assert_array_equal(smooth(rows, 0.0), rows)


@pytest.mark.parametrize(
    ("num_steps", "error", "message"),
    [
        (0, ValueError, "num_steps is 0; expected at least 1"),
        (-3, ValueError, "num_steps is -3"),
        (2.0, TypeError, "num_steps is 2.0; expected a whole number"),
        (True, TypeError, "num_steps is True"),
        ("10", TypeError, "num_steps is '10'"),
    ],
)
def test_a_bad_number_of_steps_is_refused_before_anything_is_traced(num_steps, error, message):
    with pytest.raises(error, match=message):
        train(object(), optax.sgd(0.1), jax.random.key(0), num_steps)  # pyright: ignore[reportArgumentType]


def test_bad_evaluations_are_refused(key):
    for bad in (-0.1, 1.0, float("nan")):
        with pytest.raises(ValueError, match="expected 0 <= coefficient < 1"):
            smooth([1.0], bad)
    for losses in (1.0, np.zeros((3, 0))):
        with pytest.raises(ValueError, match="expected at least one step"):
            smooth(losses, 0.5)
    with pytest.raises(ValueError, match="batches is 0; expected at least 1"):
        evaluate(BOWL, {"x": jnp.ones(2)}, (), key, batches=0)
    with pytest.raises(ValueError, match="split must be one of"):
        evaluate(BOWL, {"x": jnp.ones(2)}, (), key, split="valid")
