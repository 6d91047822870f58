"""The program of a batch against trainings done one by one; batches that do not fit in memory."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.baselines import eval_params, hand_designed
from celo.evaluation import training
from celo.evaluation.optimizers import parse
from celo.evaluation.plan import EvaluatedTraining
from celo.evaluation.results import SPLITS
from celo.evaluation.training import Program, StopRequestedError
from celo.meta.compile import jit
from celo.meta.full_training import evaluate, evaluate_end, train
from celo.meta.tasks import make
from celo.meta.tasks.base import Task
from tests.evaluation.bowl import BOWL

PLAN = EvaluatedTraining(7, every=3, batches=2)
KEY = jax.random.key(0)
RATES = ({"learning_rate": 1e-2}, {"learning_rate": 0.3})


def program(text, task: Task = BOWL, size=1, plan=PLAN):
    return Program(parse(text), task, plan, KEY, size, jax.devices()[0])


def test_a_training_is_what_a_plain_loop_gives():
    """Seed 1 of schedule-free AdamW, trained alone without evaluations and then judged."""
    digits = make("ImageMLP_Digits8_Relu16_bs64")
    made = program("schedule_free_adamw", digits)
    measured = made.run([{"learning_rate": 1e-2}], [1])
    optimizer = hand_designed("schedule_free_adamw", jnp.float32(1e-2))

    @jit
    def alone(task, key):
        key_train, key_end = jax.random.split(key)
        curve = train(task, optimizer, key_train, 7)
        last = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, 2), 3), 3)
        params = eval_params(curve.opt_state, curve.params)
        judged = [evaluate(task, params, (), k, split, 2) for split, k in zip(SPLITS, last, strict=True)]
        return curve.loss, evaluate_end(task, curve, key_end)[0], judged

    loss, final, judged = alone(digits, jax.random.fold_in(KEY, 1))
    np.testing.assert_allclose(measured.loss[0], loss, rtol=1e-5)
    np.testing.assert_allclose(measured.final_loss[0], final, rtol=1e-5)
    for split, (split_loss, aux) in zip(SPLITS, judged, strict=True):
        np.testing.assert_allclose(measured.evaluations[f"{split}_loss"][0, -1], split_loss, rtol=1e-5)
        np.testing.assert_allclose(
            measured.evaluations[f"{split}_accuracy"][0, -1], aux["accuracy"], rtol=1e-5
        )
    assert PLAN.steps.tolist() == [0, 3, 6, 7]
    assert EvaluatedTraining(5, every=10**9).steps.tolist() == [0, 5]
    assert made.parameters == 64 * 16 + 16 + 16 * 10 + 10
    assert made.state_bytes > 4 * made.parameters
    assert measured.step_seconds >= 0
    assert measured.eta is None


def test_a_batch_gives_what_its_trainings_give_alone_and_one_not_full_is_filled_up():
    alone, batch = program("adam"), program("adam", size=3)
    both = batch.run([RATES[1], RATES[0]], [0, 1])
    assert both.loss.shape == (2, 7)
    for i, (rate, seed) in enumerate([(RATES[1], 0), (RATES[0], 1)]):
        one = alone.run([rate], [seed])
        np.testing.assert_allclose(both.loss[i], one.loss[0], rtol=1e-5)
        np.testing.assert_allclose(both.final_loss[i], one.final_loss[0], rtol=1e-5)
    assert (batch.parameters, batch.state_bytes) == (alone.parameters, alone.state_bytes)


def test_progress_grows_to_1_and_a_program_can_be_stopped():
    heard = []
    made = program("adam", plan=EvaluatedTraining(50, every=1, batches=1))
    made.run([RATES[0]], [0], heard.append)
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    assert len(heard) == 20
    with pytest.raises(StopRequestedError):
        made.run([RATES[0]], [0], stopped=lambda: True)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ((0,), "num_steps is 0"),
        ((3, 0), "every is 0"),
        ((3, 1, 0), "batches is 0"),
        ((3, 1, True), "is True"),
    ],
)
def test_bad_plans_are_refused(numbers, message):
    with pytest.raises(ValueError, match=message):
        EvaluatedTraining(*numbers)


class FakeProgram:
    """Takes 10 bytes for data and 20 for each training; more than 200 bytes cannot be compiled."""

    shared_bytes = 10

    def __init__(self, optimizer, task, plan, key, size, device):
        self.size, self.bytes = size, 10 + 20 * size
        if self.bytes > 200:
            raise jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: out of memory")


def device(free, platform="gpu"):
    stats = {"bytes_limit": free / 0.8, "bytes_in_use": 0} if free else {}
    return types.SimpleNamespace(platform=platform, memory_stats=lambda: stats)


@pytest.mark.parametrize(
    ("on", "count", "batch", "size"),
    [
        (device(150), 6, 0, 6),  # all fit
        (device(150), 9, 0, 5),  # 7 fit, in two equal batches
        (device(30.1), 5, 0, 1),
        (device(0), 9, 0, 9),  # a device that does not say
        (device(40), 9, 4, 3),  # as asked for, in equal batches
        (device(0, "cpu"), 9, 0, 1),
        (device(0, "cpu"), 9, 9, 9),
    ],
)
def test_the_batch_is_what_fits_unless_it_is_given(monkeypatch, on, count, batch, size):
    monkeypatch.setattr(training, "Program", FakeProgram)
    assert training.fitting_program(parse("adam"), BOWL, PLAN, KEY, count, on, batch).size == size


@pytest.mark.parametrize(
    ("on", "count", "batch", "message"),
    [
        (device(20), 6, 0, "one training takes .* use a device with more memory"),
        (device(0), 20, 0, r"20 training\(s\) at once do not fit; pass --batch 10"),
        (device(0), 20, 14, r"10 training\(s\) at once do not fit; pass --batch 5"),
    ],
)
def test_too_little_memory_is_an_error_with_advice(monkeypatch, on, count, batch, message):
    monkeypatch.setattr(training, "Program", FakeProgram)
    with pytest.raises(MemoryError, match=message):
        training.fitting_program(parse("adam"), BOWL, PLAN, KEY, count, on, batch)


def test_calls_of_any_length_give_the_same_and_compile_once(key):
    plan, optimizer = EvaluatedTraining(9, every=2, batches=1), hand_designed("adam", 0.1)
    traced = []

    @jit
    def advance(progress, first, last):
        traced.append(1)
        return plan.advance(BOWL, optimizer, key, progress, first, last)

    start = plan.begin(BOWL, optimizer, key)
    assert set(start.evaluations) == {f"{split}_loss" for split in SPLITS}  # the bowl has no accuracy
    at_once = advance(start, 0, plan.evaluations)
    progress = start
    for first, last in ((0, 1), (1, 4), (4, 6)):
        progress = advance(progress, first, last)
    jax.tree.map(np.testing.assert_array_equal, progress, at_once)
    assert len(traced) == 1
