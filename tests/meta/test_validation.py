"""Meta-validation against trainings done one by one; one compilation; what it refuses."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from celo.learned.celo import Celo
from celo.meta.compile import jit
from celo.meta.full_training import train
from celo.meta.tasks import Quadratic
from celo.meta.validation import Validation, _program

LEARNED = Celo(stage=1)
STEPS = 30
TASKS = (
    Quadratic.of([0.5, 2.0], target=2.0, name="pair"),
    Quadratic.of([0.1, 1.0, 3.0], target=2.0, name="triple"),
    Quadratic.of([4.0, 1.0], target=-1.0, name="another pair"),
)


@pytest.fixture(scope="module")
def theta():
    return LEARNED.init(jax.random.key(3))


@pytest.fixture(scope="module")
def validation():
    return Validation(TASKS, STEPS, seeds=2)


def test_values_are_those_of_trainings_done_one_by_one(validation, theta, key):
    """Names keep their values although tasks of equal shape are stacked out of order."""
    score, by_name = validation.validate(LEARNED, theta, key)
    curve = jit(lambda task, k: train(task, LEARNED.optimizer(theta, STEPS), k, STEPS).loss)
    expected = {}
    for i, task in enumerate(TASKS):
        keys = jax.random.split(jax.random.fold_in(key, i), 2)
        expected[task.name] = np.mean([curve(task, k)[-3:] for k in keys])
    assert list(by_name) == [task.name for task in TASKS]
    np.testing.assert_allclose(list(by_name.values()), list(expected.values()), rtol=1e-5)
    np.testing.assert_allclose(score, np.mean(list(expected.values())), rtol=1e-5)


def test_it_compiles_once(validation, theta, key):
    validation.validate(LEARNED, theta, key)
    program = _program(LEARNED, STEPS)
    before = program._cache_size()
    other = jax.tree.map(lambda x: x + 0.1, theta)
    scores = [validation.validate(LEARNED, t, k)[0] for t in (theta, other) for k in jax.random.split(key)]
    assert len(set(scores)) == 4
    other_data = tuple(dataclasses.replace(task, target=task.target + 1) for task in TASKS)
    assert Validation(other_data, STEPS, seeds=2).validate(LEARNED, theta, key)[0] not in scores
    assert program._cache_size() == before


def test_theta_may_lie_on_many_devices(validation, theta, key):
    mesh = Mesh(jax.devices()[:2], ("problems",))
    copied = jax.device_put(theta, NamedSharding(mesh, PartitionSpec()))
    assert validation.validate(LEARNED, copied, key) == validation.validate(LEARNED, theta, key)


def test_a_diverged_training_counts_as_the_ceiling(theta, key):
    task = dataclasses.replace(TASKS[0], ceiling=7.0)
    broken = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan), theta)
    assert Validation([task], STEPS, seeds=2).validate(LEARNED, broken, key) == (7.0, {"pair": 7.0})


def test_a_theta_of_another_configuration_is_refused(validation, theta, key):
    with pytest.raises(ValueError, match="theta does not fit"):
        validation.validate(LEARNED, {"mlp": theta["mlp"]}, key)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"tasks": ()}, ValueError, "needs at least one task, got none"),
        ({"tasks": (TASKS[0], TASKS[0])}, ValueError, "need different names, got pair, pair"),
        ({"num_steps": 0}, ValueError, "num_steps is 0; expected at least 1"),
        ({"num_steps": 1.5}, TypeError, "num_steps is 1.5"),
        ({"seeds": 0}, ValueError, "seeds is 0; expected a whole number"),
        ({"seeds": True}, ValueError, "seeds is True"),
    ],
)
def test_bad_problems_are_refused_at_construction(arguments, error, message):
    with pytest.raises(error, match=message):
        Validation(**({"tasks": TASKS, "num_steps": STEPS} | arguments))
