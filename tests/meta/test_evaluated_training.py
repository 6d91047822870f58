"""Trainings evaluated along the way: the same training as without, in any number of calls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.baselines import eval_params, hand_designed
from celo.meta.compile import jit
from celo.meta.evaluated_training import SPLITS, EvaluatedTraining
from celo.meta.full_training import draw_samples, evaluate, evaluate_end, train
from celo.meta.tasks import Quadratic, make

NOISY = Quadratic.of([0.5, 2.0], target=[3.0, -3.0], noise=0.1)


@pytest.fixture(scope="module")
def digits():
    return make("ImageMLP_Digits8_Relu16_bs64")


def whole(plan, task, optimizer, key):
    begun = plan.begin(task, optimizer, key)
    progress = plan.advance(task, optimizer, key, begun, 0, plan.evaluations)
    return progress, plan.final_loss(task, key, progress)


@pytest.mark.parametrize("name", ["adam", "schedule_free_adamw"])
def test_evaluations_leave_the_training_as_it_is(digits, key, name):
    """The same curve, parameters and final loss, whether evaluated every 3 steps or never."""
    plan, optimizer = EvaluatedTraining(7, every=3, batches=2), hand_designed(name, 1e-2)
    progress, final = jit(lambda task: whole(plan, task, optimizer, key))(digits)
    key_train, key_end = jax.random.split(key)
    curve = jit(lambda task: train(task, optimizer, key_train, 7))(digits)
    np.testing.assert_allclose(progress.loss, curve.loss, rtol=1e-5)
    np.testing.assert_allclose(final, evaluate_end(digits, curve, key_end)[0], rtol=1e-5)
    np.testing.assert_array_equal(plan.steps, [0, 3, 6, 7])
    np.testing.assert_array_equal(progress.eta, curve.eta)


def test_an_evaluation_is_the_mean_over_batches_of_each_split(digits, key):
    """At the evaluation iterate of a schedule-free method, with parameters and state fixed."""
    plan, optimizer = EvaluatedTraining(4, every=4, batches=3), hand_designed("schedule_free_adamw", 1e-2)
    progress, _ = jit(lambda task: whole(plan, task, optimizer, key))(digits)
    params = eval_params(progress.position.opt_state, progress.position.params)
    own = jax.random.fold_in(jax.random.fold_in(key, 2), 1)
    for split, split_key in zip(SPLITS, jax.random.split(own, 3), strict=True):
        loss, aux = evaluate(digits, params, (), split_key, split, 3)
        np.testing.assert_allclose(progress.evaluations[f"{split}_loss"][1], loss, rtol=1e-5)
        np.testing.assert_allclose(progress.evaluations[f"{split}_accuracy"][1], aux["accuracy"], rtol=1e-5)


def test_a_task_without_accuracy_has_none(key):
    plan = EvaluatedTraining(2, every=1)
    progress = plan.begin(NOISY, hand_designed("sgd", 0.1), key)
    assert set(progress.evaluations) == {f"{split}_loss" for split in SPLITS}


def test_calls_of_any_length_give_the_same_and_compile_once(key):
    plan, optimizer = EvaluatedTraining(9, every=2, batches=1), hand_designed("adam", 0.1)
    traced = []

    @jit
    def advance(progress, first, last):
        traced.append(1)
        return plan.advance(NOISY, optimizer, key, progress, first, last)

    begun = plan.begin(NOISY, optimizer, key)
    at_once = advance(begun, 0, plan.evaluations)
    progress = begun
    for first, last in ((0, 1), (1, 4), (4, 6)):
        progress = advance(progress, first, last)
    jax.tree.map(np.testing.assert_array_equal, progress, at_once)
    assert len(traced) == 1


def test_divergence_stops_nothing(key):
    plan, optimizer = EvaluatedTraining(30, every=10, batches=1), hand_designed("sgd", 1e30)
    progress, final = whole(plan, NOISY, optimizer, key)
    assert np.isfinite(progress.loss[0])
    assert not np.isfinite(progress.loss[-1])
    assert not np.isfinite(final)
    assert not jnp.isfinite(progress.evaluations["train_loss"][-1])


@pytest.mark.parametrize(
    "numbers", [{"num_steps": 0}, {"num_steps": 5, "every": 0}, {"num_steps": 5, "batches": 0}]
)
def test_numbers_below_one_are_refused(numbers):
    with pytest.raises(ValueError, match="expected"):
        EvaluatedTraining(**numbers)


def test_samples_are_those_of_the_keys(digits, key):
    keys = jax.random.split(key, 3)
    np.testing.assert_array_equal(draw_samples(digits, key, "train", 3)[1], digits.sample(keys[1], "train"))
