"""The rows of batches in every order, and the trainings on them against a plain loop."""

import jax
import numpy as np
import optax
import pytest

from celo.hand_designed import hand_designed
from evaluation.batch_order import ORDERS, Rows, Schedule, adam_losses, judged_losses, rows
from meta.tasks import make
from scripts import batch_order

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
    ("order", "size", "batch", "schedule", "message"),
    [
        ("epochs", SIZE, BATCH, SCHEDULE, "order is 'epochs'"),
        ("passes", 3, 4, SCHEDULE, "between 1 and the 3 rows"),
        ("passes", SIZE, 0, SCHEDULE, "batch_size is 0"),
        ("passes", SIZE, BATCH, Schedule(10, 3, 2), "multiple of every"),
        ("passes", SIZE, BATCH, Schedule(10, 5, 0), "not possible"),
    ],
)
def test_what_cannot_be_is_refused(order, size, batch, schedule, message):
    with pytest.raises(ValueError, match=message):
        rows(order, size, batch, schedule, np.random.default_rng(0))


def test_losses_are_those_of_a_loop():
    task = make(TASK)
    given = Rows(*(part % 64 for part in drawn("one_stream")))
    optimizer, key = hand_designed("adam", 0.01), jax.random.key(3)
    found = judged_losses(task, optimizer, key, given)

    params, _ = task.init(jax.random.split(key)[0])
    state, expected = optimizer.init(params), []

    def loss(params, row):
        return task.loss(params, (), key, task.gather("train", row))[0]

    for block in range(5):
        expected.append(np.mean([loss(params, row) for row in given.judged[block]]))
        for row in given.trained[block] if block < 4 else ():
            updates, state = optimizer.update(jax.grad(loss)(params, row), state, params)
            params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(found, expected, rtol=1e-4)


def test_seeds_begin_alike_at_every_rate():
    losses = adam_losses(make(TASK), 64, 64, [0.01, 0.1], 2, Schedule(4, 2, 1), "passes")
    assert losses.shape == (2, 2, 3)
    np.testing.assert_allclose(losses[0, :, 0], losses[1, :, 0], rtol=1e-6)
    assert not np.allclose(losses[0, :, 2], losses[1, :, 2], rtol=1e-3)


@pytest.fixture
def envelope(tmp_path, monkeypatch):
    """The published loss is 2 at every step."""
    monkeypatch.setattr(batch_order, "set_up", lambda devices: None)
    path = tmp_path / "envelope.npz"
    np.savez(path, names=[TASK], steps=[[0.0, 100.0]], loss=[[2.0, 2.0]])
    return str(path)


def test_the_command_compares_with_the_envelope(envelope, capsys):
    assert batch_order.main(["--tasks", TASK, "--envelope", envelope, "--steps", "10", "--seeds", "2"]) == 0
    table = [line.split("|")[1:-1] for line in capsys.readouterr().out.splitlines()]
    assert [row[1].strip() for row in table[2:]] == list(batch_order.WORDS.values())
    for row in table[2:]:
        assert float(row[7]) == pytest.approx(float(row[4]) / 2, abs=6e-4)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--seeds", "1"], "seeds is 1"),
        (["--learning-rates", "0"], "learning_rates (0.0,)"),
        (["--tasks", "ImageMLP_Digits8_Relu32"], "no published envelope of ImageMLP_Digits8_Relu32"),
    ],
)
def test_bad_arguments_are_refused(envelope, capsys, more, message):
    with pytest.raises(SystemExit) as ended:
        batch_order.main(["--tasks", TASK, "--envelope", envelope, *more])
    assert ended.value.code
    assert message in capsys.readouterr().err
