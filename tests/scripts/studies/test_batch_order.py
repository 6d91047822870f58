"""The rows of batches in every order, and the trainings on them against a plain loop."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from celo.baselines import eval_params, hand_designed
from celo.evaluation.agreement import agreement, table
from celo.evaluation.batch_order import ORDERS, Schedule, adam_cell, losses_on, rows
from celo.evaluation.envelope import Envelope
from celo.meta.tasks import make
from celo.scripts import batch_order
from tests.evaluation.bowl import BOWL

SCHEDULE = Schedule(steps=12, every=3, batches=2)
SIZE, BATCH = 50, 4  # twelve batches a pass, two rows of it unused
TASK = "ImageMLP_Digits8_Relu16_bs64"


def drawn(order, seed=0):
    return rows(order, SIZE, BATCH, SCHEDULE, np.random.default_rng(seed))


@pytest.mark.parametrize("order", ORDERS)
def test_shapes_range_and_seed(order):
    one, same, other = drawn(order), drawn(order), drawn(order, seed=1)
    assert one.trained.shape == (4, 3, BATCH)
    assert one.judged.shape == (5, 2, BATCH)
    for mine, equal, different in zip(one, same, other, strict=True):
        assert mine.min() >= 0
        assert mine.max() < SIZE
        np.testing.assert_array_equal(mine, equal)
        assert not np.array_equal(mine, different)


def test_a_pass_has_no_row_twice():
    """Twelve steps are a pass: no row comes twice, as it does with replacement."""
    assert len(np.unique(drawn("passes").trained)) == 12 * BATCH
    assert len(np.unique(drawn("replacement").trained)) < 12 * BATCH


def test_in_one_stream_evaluations_come_before_the_steps_that_follow():
    """A pass is twelve batches: two to judge and three to train on, twice, and two to judge."""
    one = drawn("one_stream")
    first = [one.judged[0], one.trained[0], one.judged[1], one.trained[1], one.judged[2]]
    assert len(np.unique(np.concatenate(first))) == 12 * BATCH
    second = [one.trained[2], one.judged[3], one.trained[3], one.judged[4]]
    assert len(np.unique(np.concatenate(second))) == 10 * BATCH


@pytest.mark.parametrize(
    ("order", "size", "batch", "message"),
    [
        ("epochs", SIZE, BATCH, "order is 'epochs'"),
        ("passes", 3, 4, "between 1 and the 3 rows"),
        ("passes", SIZE, 0, "batch_size is 0"),
    ],
)
def test_what_cannot_be_is_refused(order, size, batch, message):
    with pytest.raises(ValueError, match=message):
        rows(order, size, batch, SCHEDULE, np.random.default_rng(0))


@pytest.mark.parametrize("numbers", [(10, 3, 2), (10, 5, 0), (0, 5, 1), (4, 5, 1), (4, 0, 1)])
def test_impossible_schedules_are_refused(numbers):
    with pytest.raises(ValueError, match="expected steps that are a multiple of every"):
        Schedule(*numbers)


class Noisy:
    """A parabola whose gradient is the key's noise and the row, whose loss is plain: every key counts."""

    name = "noisy"

    def init(self, key):
        return {"x": jax.random.normal(key, (2,))}, ()

    def gather(self, split, sample):
        return sample.astype(jnp.float32)

    def loss(self, params, model_state, key, batch):
        noise = jax.random.normal(key, (2,)) + jnp.mean(batch) / 50
        return jnp.mean(jnp.square(params["x"])) + jnp.dot(noise, params["x"]), model_state, {}


@pytest.mark.parametrize("name", ["adam", "schedule_free_adamw"])
def test_losses_are_those_of_a_loop(name):
    """With a key of its own for every batch, and judged where the optimizer asks to be."""
    task: Any = Noisy()
    given, key = drawn("one_stream"), jax.random.key(3)
    optimizer = hand_designed(name, 0.1)
    found = losses_on(task, optimizer, key, given)
    key_init, key_steps, key_judged = jax.random.split(key, 3)
    key_steps, key_judged = jax.random.split(key_steps, (4, 3)), jax.random.split(key_judged, (5, 2))
    params, _ = task.init(key_init)
    state, steps, judged = optimizer.init(params), [], []

    def loss(params, key, row):
        return task.loss(params, (), key, task.gather("train", jnp.asarray(row)))[0]

    for block in range(5):
        at = eval_params(state, params)
        each = zip(key_judged[block], given.judged[block], strict=True)
        judged.append(np.mean([loss(at, k, row) for k, row in each]))
        for i in range(3 if block < 4 else 0):
            value, grads = jax.value_and_grad(loss)(params, key_steps[block, i], given.trained[block, i])
            steps.append(value)
            updates, state = optimizer.update(grads, state, params)
            params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(found.judged, judged, rtol=1e-4)
    np.testing.assert_allclose(found.steps, steps, rtol=1e-4)


def test_seeds_begin_alike_at_every_rate():
    schedule = Schedule(4, 2, 1)
    made = adam_cell(make(TASK), [0.01, 0.1], 3, schedule, "passes")
    losses = made.evaluations["train_loss"]
    assert losses.shape == (2, 3, 3)
    assert made.loss.shape == (2, 3, 4)
    np.testing.assert_array_equal(made.evaluation_steps, [0, 2, 4])
    np.testing.assert_allclose(losses[0, :, 0], losses[1, :, 0], rtol=1e-6)
    np.testing.assert_allclose(made.loss[0, :, 0], made.loss[1, :, 0], rtol=1e-6)
    assert not np.allclose(losses[0, :, 2], losses[1, :, 2], rtol=1e-3)


def test_other_tasks_are_refused():
    with pytest.raises(ValueError, match="bowl is not on images"):
        adam_cell(BOWL, [0.1], 1, Schedule(4, 2, 1), "passes")


@pytest.fixture
def envelope(tmp_path, monkeypatch):
    """The published loss is 2 at every step."""
    monkeypatch.setattr(batch_order, "set_up", lambda devices: None)
    path = tmp_path / "envelope.npz"
    np.savez(path, names=[TASK], steps=[[0.0, 100.0]], loss=[[2.0, 2.0]])
    return str(path)


def test_the_command_shows_what_agreement_finds(envelope, capsys):
    assert batch_order.main(["--tasks", TASK, "--envelope", envelope, "--steps", "20", "--seeds", "2"]) == 0
    found = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()][2:]
    cells = [adam_cell(make(TASK), (1e-3, 3e-3), 2, Schedule(20), order) for order in ORDERS]
    flat = Envelope(np.array([0.0, 100.0]), np.array([2.0, 2.0]))
    (*expected,) = table([agreement(cell, flat, 20) for cell in cells]).rows
    for row, words, other in zip(found, batch_order.WORDS.values(), expected, strict=True):
        assert tuple(text.strip() for text in row) == (other[0], words, *other[1:])


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--seeds", "0"], "seeds is 0"),
        (["--steps", "15"], "multiple of every"),
        (["--learning-rates", "0"], "learning_rates (0.0,)"),
        (["--tasks", "ImageMLP_Digits8_Relu32"], "no published envelope of ImageMLP_Digits8_Relu32"),
    ],
)
def test_bad_arguments_are_refused(envelope, capsys, more, message):
    with pytest.raises(SystemExit) as ended:
        batch_order.main(["--tasks", TASK, "--envelope", envelope, *more])
    assert ended.value.code
    assert message in capsys.readouterr().err
