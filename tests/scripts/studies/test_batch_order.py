"""The rows of batches in every order, and the trainings on them against a plain loop."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from celo.baselines import eval_params, hand_designed
from celo.evaluation.envelope import Envelope
from celo.meta.tasks import make
from celo.scripts.studies import batch_order
from celo.scripts.studies.agreement import agreement, table
from celo.scripts.studies.batch_order import ORDERS, adam_curves, losses_on, rows
from tests.scripts.made import BOWL

SIZE, BATCH = 50, 4  # twelve batches a pass, two rows of it unused
TASK = "ImageMLP_Digits8_Relu16_bs64"


def drawn(order, seed=0):
    return rows(order, SIZE, BATCH, 12, np.random.default_rng(seed), every=3, batches=2)


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
    ("size", "batch", "steps", "message"),
    [
        (3, 4, 10, "expected 1 to 3, the number of rows"),
        (SIZE, 0, 10, "batch_size is 0"),
        (SIZE, 4, 15, "steps is 15; expected a multiple of 10"),
        (SIZE, 4, 0, "steps is 0"),
    ],
)
def test_impossible_batches_are_refused(size, batch, steps, message):
    with pytest.raises(ValueError, match=message):
        rows("passes", size, batch, steps, np.random.default_rng(0))


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
    """With a separate key for every batch, and judged where the optimizer wants to be."""
    task: Any = Noisy()
    given, key = drawn("one_stream"), jax.random.key(3)
    optimizer = hand_designed(name, 0.1)
    found = losses_on(task, optimizer, key, given)
    key_init, key_steps, key_judged = jax.random.split(key, 3)
    key_steps, key_judged = jax.random.split(key_steps, (4, 3)), jax.random.split(key_judged, (5, 2))
    params, _ = task.init(key_init)
    state, judged = optimizer.init(params), []

    def loss(params, key, row):
        return task.loss(params, (), key, task.gather("train", jnp.asarray(row)))[0]

    for block in range(5):
        at = eval_params(state, params)
        each = zip(key_judged[block], given.judged[block], strict=True)
        judged.append(np.mean([loss(at, k, row) for k, row in each]))
        for i in range(3 if block < 4 else 0):
            grads = jax.grad(loss)(params, key_steps[block, i], given.trained[block, i])
            updates, state = optimizer.update(grads, state, params)
            params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(found, judged, rtol=1e-4)


def test_seeds_start_alike_at_every_rate():
    made = adam_curves(make(TASK), [0.01, 0.1], 3, 20, "passes")
    assert made.losses.shape == (2, 3, 3)
    np.testing.assert_array_equal(made.steps, [0, 10, 20])
    np.testing.assert_allclose(made.losses[0, :, 0], made.losses[1, :, 0], rtol=1e-6)
    assert not np.allclose(made.losses[0, :, 2], made.losses[1, :, 2], rtol=1e-3)


def test_other_tasks_are_refused():
    with pytest.raises(ValueError, match="is not on images"):
        adam_curves(BOWL, [0.1], 1, 20, "passes")


@pytest.fixture
def envelope(tmp_path, monkeypatch):
    """The published loss is 2 at every step."""
    monkeypatch.setattr(batch_order, "set_up", lambda devices: None)
    path = tmp_path / "envelope.npz"
    np.savez(path, names=[TASK], steps=[[0.0, 100.0]], loss=[[2.0, 2.0]])
    return str(path)


def test_the_command_shows_what_agreement_finds(envelope, capsys):
    assert batch_order.main(["--tasks", TASK, "--envelope", envelope, "--steps", "20", "--seeds", "2"]) == 0
    curves = [adam_curves(make(TASK), (1e-3, 3e-3), 2, 20, order) for order in ORDERS]
    flat = Envelope(np.array([0.0, 100.0]), np.array([2.0, 2.0]))
    expected = table([agreement(one, flat, 20) for one in curves], list(ORDERS.values()))
    assert capsys.readouterr().out == f"{expected}\n"


def test_a_task_without_an_envelope_is_refused(envelope, capsys):
    with pytest.raises(SystemExit) as ended:
        batch_order.main(["--tasks", "ImageMLP_Digits8_Relu32", "--envelope", envelope])
    assert ended.value.code == 2
    assert "no published envelope of ImageMLP_Digits8_Relu32" in capsys.readouterr().err
