"""A stage as a compiled program: compiled once, split into any calls, on any devices, half of it frozen."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh

from celo.learned.celo import Celo
from celo.meta.estimators import sharding
from celo.meta.program import StageProgram, group_tasks, result_theta
from celo.meta.stage import Stage
from celo.meta.tasks import Quadratic, Task, pytree, static
from tests.meta.learnable_sgd import TASKS, LearnableSGD

pytestmark = pytest.mark.lenient(reason="optax raises a Python float to the power of an int32 count")

STAGE = Stage(
    "rule",
    iterations=50,
    learning_rate=0.01,
    schedule="cosine",
    clip_norm=1.0,
    problems=4,
    truncation=5,
    horizon_low=3,
    horizon_high=9,
    augmentation_low=0.5,
    augmentation_high=2.0,
)
THETA = LearnableSGD().init(jax.random.key(3))


def program(stage=STAGE, tasks=TASKS, most=13, learned=None):
    return StageProgram(
        stage,
        learned or LearnableSGD(1 if stage.trains == "rule" else 2),
        tasks,
        jax.random.key(7),
        most_iterations=most,
    )


def trained(made, *calls):
    """The state after some calls, on the host, and the measures of each."""
    state, measures = made.begin(THETA), []
    for iterations in calls:
        state, measured = made.run(state, iterations)
        measures.append(measured)
    return jax.device_get(state), measures


def join(measures):
    return jax.tree.map(lambda *x: np.concatenate(x), *measures)


def assert_same(a, b):
    jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.fixture(scope="module")
def on_two_devices():
    """A program that has done 20 meta-iterations in calls of 13 and 7, and what came of it."""
    made = program()
    assert made.mesh.size == 2
    return made, *trained(made, 13, 7)


def test_any_split_into_calls_is_the_same_bit_for_bit(on_two_devices):
    made, state, measures = on_two_devices
    other, others = trained(made, 1, 12, 5, 2)
    assert int(state.iteration) == int(other.iteration) == 20
    assert_same(other, state)
    assert_same(join(others), join(measures))
    assert join(measures).gradient_norm.shape == (20,)
    assert state.theta["rule"]["log_rate"] != THETA["rule"]["log_rate"]
    assert_same(state.theta["scheduler"], THETA["scheduler"])  # frozen


@pytest.mark.slow
def test_one_device_gives_what_two_give(on_two_devices, monkeypatch):
    _, state, measures = on_two_devices
    one = Mesh(jax.devices()[:1], (sharding.AXIS,), axis_types=(jax.sharding.AxisType.Auto,))
    monkeypatch.setattr(sharding, "problem_mesh", lambda problems: one)
    made = program()
    assert made.mesh.size == 1
    theta = sharding.replicate(jax.tree.map(jnp.array, THETA), one)
    made.run(made.begin(theta), 1)
    assert_same(theta, THETA)  # it outlives the run, although placing it here makes no copy
    single, singles = trained(made, 13, 7)
    for found, expected in ((single, state), (join(singles), join(measures))):
        jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), found, expected)


def test_states_are_donated_and_theta_is_not(on_two_devices):
    made, _, _ = on_two_devices
    theta = jax.tree.map(jnp.array, THETA)
    before = made.begin(theta)
    after, _ = made.run(before, 1)
    kept = [leaf for leaf in jax.tree.leaves(before) if not leaf.is_deleted()]
    assert not kept, "buffers that were not given up are held twice"
    assert not any(leaf.is_deleted() for leaf in jax.tree.leaves((after, theta)))


def test_meta_training_lowers_the_meta_loss():
    """One family, a rate far too small: it grows."""
    theta = {"rule": {"log_rate": jnp.log(jnp.float32(0.01))}, "scheduler": THETA["scheduler"]}
    stage = dataclasses.replace(STAGE, learning_rate=0.1, schedule="constant", augmentation="none")
    made = program(stage, [Quadratic.of([0.5, 2.0], target=1.0)], 50)
    state, _ = made.run(made.begin(theta), 50)
    assert np.exp(state.theta["rule"]["log_rate"]) > 0.1


def test_the_average_is_the_mean_of_the_last_thetas():
    """Of 8 meta-iterations the last 4; before them it is theta itself."""
    stage = dataclasses.replace(STAGE, iterations=8, average=0.5)
    made = program(stage, TASKS[:1])
    state, rates = made.begin(THETA), []
    assert_same(result_theta(stage, made.learned, state), THETA)
    for _ in range(8):
        state, _ = made.run(state, 1)
        rates.append(float(state.theta["rule"]["log_rate"]))
        found = result_theta(stage, made.learned, state)
        expected = np.mean(rates[4:]) if len(rates) > 4 else rates[-1]
        np.testing.assert_allclose(found["rule"]["log_rate"], expected, rtol=1e-6)
        np.testing.assert_array_equal(found["scheduler"]["slope"], THETA["scheduler"]["slope"])
    assert len(set(rates)) == 8


@pytree
class Bowl(Task):
    """A task without arrays, as a user's own may be."""

    size: int = static(default=2)

    def init(self, key):
        return {"x": jax.random.normal(key, (self.size,))}, ()

    def batch(self, key, split):
        return jax.random.normal(key)

    def loss(self, params, model_state, key, batch):
        return jnp.sum((params["x"] - batch) ** 2), model_state, {}


def test_tasks_without_arrays():
    """They train, alone and twice, beside a task with arrays."""
    tasks = [Bowl(), TASKS[0], Bowl()]
    assert group_tasks(tasks) == [[0], [1], [2]]
    made = program(tasks=tasks)
    assert made.names == (Bowl().name, "first pair", Bowl().name)
    state, (measures,) = trained(made, 2)
    assert [group.loss.shape for group in measures.report.groups] == [(2, 1, 4)] * 3
    assert np.all(np.isfinite(jax.tree.leaves(state.theta)))


def test_measures_are_per_family_and_problem(on_two_devices):
    """Tasks of equal shapes train together; names follow the groups."""
    made, _, measures = on_two_devices
    assert group_tasks(TASKS) == [[0, 2], [1]]
    assert made.names == ("first pair", "second pair", "triple")
    pairs, triple = measures[0].report.groups
    assert pairs.loss.shape == (13, 2, 4)
    assert triple.loss.shape == (13, 1, 4)
    for group in (pairs, triple):
        assert np.all((group.horizon >= 3) & (group.horizon <= 9))
        assert np.all(group.diverged == 0)
        assert np.all(group.eta_low == 1)
    assert np.ptp(pairs.loss, axis=2).min() > 0, "problems are copies of each other"


def test_mesh_uses_the_devices_that_divide_the_problems():
    assert sharding.problem_mesh(6).size == 2
    with pytest.warns(UserWarning, match="1 of 2 devices stay idle: they do not divide 3 "):
        assert sharding.problem_mesh(3).size == 1


@pytest.mark.parametrize("iterations", [0, 14])
def test_iterations_of_a_call_are_checked(on_two_devices, iterations):
    made, _, _ = on_two_devices
    with pytest.raises(ValueError, match=f"iterations is {iterations}; expected 1 to 13"):
        made.run(made.begin(THETA), iterations)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("trains", "moving", "still"),
    [
        ("rule", ["mlp"], ["scheduler"]),
        ("scheduler", ["scheduler"], ["mlp"]),
        ("both", ["mlp", "scheduler"], []),
    ],
)
def test_stages_of_celo_train_their_part_alone(trains, moving, still):
    """The other part stays bit for bit; eta is 1 without the scheduler."""
    learned = Celo(stage=1 if trains == "rule" else 2)
    theta = learned.init(jax.random.key(0))
    stage = dataclasses.replace(STAGE, trains=trains)
    made = program(stage, TASKS[:1], 3, learned)
    state, measures = made.run(made.begin(theta), 3)
    for name in still:
        assert_same(state.theta[name], theta[name])
    for name in moving:
        moved = jax.tree.map(lambda a, b: not np.array_equal(a, b), state.theta[name], theta[name])
        assert all(jax.tree.leaves(moved))
    assert np.all(measures.report.groups[0].eta_mean == 1) == (trains == "rule")
