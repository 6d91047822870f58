"""Meta-parameters on the same problems: equal ones differ by nothing, better ones by what they gain."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo import learned_optimizer
from celo.meta.estimators.problem import Steps
from celo.meta.stage import Stage
from celo.meta.tasks import Quadratic
from celo.scripts.studies.meta_losses import mean_of_first_training, meta_losses

STAGE = Stage(horizon_low=3, horizon_high=6, augmentation="none")
TASK = Quadratic.of([1.0, 2.0])
SGD = learned_optimizer("learnable_sgd")


def theta(rate):
    return {"log_learning_rate": jnp.log(jnp.float32(rate))}


def losses(thetas, stage=STAGE, problems=4, task=TASK):
    return meta_losses(SGD, stage, thetas, task, jax.random.key(0), problems)


def test_equal_parameters_have_equal_losses():
    found = losses([theta(0.1), theta(0.1), theta(0.2)])
    assert found.shape == (4, 3)
    np.testing.assert_array_equal(found[:, 0], found[:, 1])
    assert len(np.unique(found[:, 0])) == 4  # problems differ
    assert np.all(found[:, 2] < found[:, 0])  # on a quadratic, with rates below 1 / curvature


def test_it_is_the_loss_of_whole_trainings():
    """Gradient descent on x^2 / 2: the loss before step t is (1 - rate)^(2 t) of that at rest."""
    stage = dataclasses.replace(STAGE, horizon="constant")
    found = losses([theta(0.1), theta(1e-30)], stage, problems=3, task=Quadratic.of([1.0]))
    np.testing.assert_allclose(found[:, 0], found[:, 1] * np.mean(0.9 ** (2 * np.arange(6))), rtol=1e-5)


def test_only_the_first_training_counts():
    loss = jnp.array([[1.0, 2.0], [3.0, 4.0], [0.0, 0.0], [100.0, 100.0], [100.0, 100.0]])
    done = jnp.array([False, True, False, False, True])
    mask = jnp.array([True, True, False, True, True])
    two = jnp.full((5,), 2)
    steps = Steps(loss, loss, mask, done, loss, two, two, loss)
    np.testing.assert_allclose(mean_of_first_training(steps), [2.0, 3.0])


def test_parameters_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match="theta does not fit"):
        losses([theta(0.1), {"log_learning_rate": jnp.zeros((2,))}])
    with pytest.raises(ValueError, match="problems is 0; expected at least 1"):
        losses([theta(0.1)], problems=0)
