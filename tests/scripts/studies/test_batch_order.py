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


def test_losses_are_those_of_a_loop():
    """With a separate key for every batch, and judged where the optimizer wants to be."""
    task: Any = Noisy()
    given, key = drawn("one_stream"), jax.random.key(3)
    optimizer = hand_designed("schedule_free_adamw", 0.1)
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


@pytest.mark.parametrize("task", [TASK, "ImageMLP_Digits8_Relu32"])
def test_the_command_shows_what_agreement_finds(tmp_path, monkeypatch, capsys, task):
    """The published loss is 2 at every step; a task without one is refused."""
    monkeypatch.setattr(batch_order, "set_up", lambda devices: None)
    path = tmp_path / "envelope.npz"
    np.savez(path, names=[TASK], steps=[[0.0, 100.0]], loss=[[2.0, 2.0]])
    command = ["--tasks", task, "--envelope", str(path), "--steps", "20", "--seeds", "2"]
    if task != TASK:
        with pytest.raises(SystemExit):
            batch_order.main(command)
        assert f"no published envelope of {task}" in capsys.readouterr().err
        return
    assert batch_order.main(command) == 0
    curves = [adam_curves(make(TASK), (1e-3, 3e-3), 2, 20, order) for order in ORDERS]
    flat = Envelope(np.array([0.0, 100.0]), np.array([2.0, 2.0]))
    expected = table([agreement(one, flat, 20) for one in curves], list(ORDERS.values()))
    assert capsys.readouterr().out == f"{expected}\n"
