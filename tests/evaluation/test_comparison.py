"""Comparisons against trainings done one by one; what is kept and found again; what is refused."""

import jax
import numpy as np
import pytest

from celo.baselines import hand_designed
from celo.evaluation.comparison import ADAM_GRID, Comparison, Entry, compare
from celo.learned.celo import Celo
from celo.meta.compile import jit
from celo.meta.full_training import evaluate_end, train
from celo.meta.tasks import Quadratic

LEARNED = Celo(stage=1)
ENTRY = Entry("Celo", LEARNED, LEARNED.init(jax.random.key(7)))
TASKS = (
    Quadratic.of([0.5, 2.0], target=3.0, noise=0.1, name="pair"),
    Quadratic.of([0.1, 1.0, 3.0], target=3.0, noise=0.1, name="triple"),
)
RATES = (1e-2, 0.3, 1e37)  # the last throws every parameter beyond float32's range of squares
STEPS = 12
KEYS = [jax.random.fold_in(jax.random.key(0), seed) for seed in range(2)]


@pytest.fixture(scope="module")
def outcomes():
    return compare([ENTRY], TASKS, STEPS, Comparison(seeds=2, learning_rates=RATES))


def one_by_one(task, optimizer, key, steps):
    """Losses, step sizes and final loss of one training."""

    @jit
    def run(key):
        key_train, key_end = jax.random.split(key)
        curve = train(task, optimizer, key_train, steps)
        return curve.loss, evaluate_end(task, curve, key_end)[0], curve.eta

    return run(key)


def test_the_default_grid_is_half_powers_of_ten():
    np.testing.assert_allclose(np.log10(ADAM_GRID), np.arange(-6.5, 0.5, 0.5), atol=1e-12)
    assert len(ADAM_GRID) == 14


@pytest.mark.slow
def test_adam_is_trained_as_one_by_one(outcomes):
    for task, outcome in zip(TASKS, outcomes, strict=True):
        assert outcome.adam.loss.shape == (3, 2, STEPS)
        for i, j in ((0, 1), (1, 0)):
            loss, final, _ = one_by_one(task, hand_designed("adam", RATES[i]), KEYS[j], STEPS)
            np.testing.assert_allclose(outcome.adam.loss[i, j], loss, rtol=1e-5)
            np.testing.assert_allclose(outcome.adam.final_loss[i, j], final, rtol=1e-5)


def test_a_learned_optimizer_is_trained_as_one_by_one(outcomes):
    task, trainings = TASKS[0], outcomes[0].learned["Celo"]
    optimizer = LEARNED.optimizer(ENTRY.theta, STEPS)
    loss, final, eta = one_by_one(task, optimizer, KEYS[1], STEPS)
    np.testing.assert_allclose(trainings.loss[1], loss, rtol=1e-5)
    np.testing.assert_allclose(trainings.final_loss[1], final, rtol=1e-5)
    np.testing.assert_allclose(trainings.eta[1], eta, rtol=1e-5)


def test_all_optimizers_meet_the_same_problem(outcomes):
    """The first loss is before the first step: equal for every optimizer and rate, different for seeds."""
    for outcome in outcomes:
        first = outcome.adam.loss[:, :, 0]
        np.testing.assert_allclose(first, np.broadcast_to(first[:1], first.shape), rtol=1e-6)
        np.testing.assert_allclose(outcome.learned["Celo"].loss[:, 0], first[0], rtol=1e-6)
        assert first[0, 0] != first[0, 1]


def test_a_huge_rate_is_flagged_as_diverged(outcomes):
    for outcome in outcomes:
        np.testing.assert_array_equal(outcome.adam.diverged, [[False] * 2, [False] * 2, [True] * 2])
        assert outcome.best == 1
        assert outcome.summary()["adam"]["rates"][2]["diverged"] == 2


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [4, 6])
def test_more_at_once_give_the_same(outcomes, at_once):
    comparison = Comparison(seeds=2, learning_rates=RATES, trainings_at_once=at_once)
    parts = compare([ENTRY], TASKS[:1], STEPS, comparison)[0].adam
    np.testing.assert_allclose(parts.loss[:2], outcomes[0].adam.loss[:2], rtol=1e-5)
    np.testing.assert_allclose(parts.final_loss[:2], outcomes[0].adam.final_loss[:2], rtol=1e-5)
    np.testing.assert_array_equal(parts.diverged, outcomes[0].adam.diverged)


def test_finished_trainings_are_found_again(outcomes, tmp_path):
    lines = []
    kept = Comparison(seeds=2, learning_rates=RATES, folder=tmp_path, log=lines.append)
    compare([ENTRY], TASKS[:1], STEPS, kept)
    assert len(lines) == 2
    assert not any("already done" in line for line in lines)

    again = compare([ENTRY], TASKS[:1], STEPS, kept)[0]
    assert sorted(lines[2:]) == ["Adam on pair: already done", "Celo on pair: already done"]
    np.testing.assert_array_equal(again.adam.loss, outcomes[0].adam.loss)
    np.testing.assert_array_equal(again.learned["Celo"].eta, outcomes[0].learned["Celo"].eta)
    assert again.adam.eta is None

    other = ENTRY._replace(theta=jax.tree.map(lambda x: x + 1, ENTRY.theta))
    compare([other], TASKS[:1], STEPS, kept)
    adam, celo = sorted(lines[4:])
    assert adam == "Adam on pair: already done"
    assert "Celo on pair: 2 trainings of 12 steps" in celo


@pytest.mark.parametrize("content", [b"", b"PAR1 cut short"])
def test_a_damaged_file_is_trained_again(outcomes, tmp_path, content):
    lines = []
    kept = Comparison(seeds=2, learning_rates=RATES, folder=tmp_path, log=lines.append)
    compare([ENTRY], TASKS[:1], STEPS, kept)
    (file,) = (tmp_path / "trainings").glob("*/cells/pair--Adam--*.parquet")
    file.write_bytes(content)
    again = compare([ENTRY], TASKS[:1], STEPS, kept)[0]
    damaged = [line for line in lines if "damaged" in line]
    assert damaged
    assert all(f"{file} is damaged" in line for line in damaged)
    adam, celo = sorted(line for line in lines[2:] if line not in damaged)
    assert "Adam on pair: 6 trainings of 12 steps" in adam
    assert celo == "Celo on pair: already done"
    np.testing.assert_array_equal(again.adam.final_loss, outcomes[0].adam.final_loss)


BROKEN = ENTRY._replace(theta={"mlp": ENTRY.theta["mlp"]})


@pytest.mark.parametrize(
    ("entries", "tasks", "num_steps", "error", "message"),
    [
        ([ENTRY], [], 5, ValueError, "at least one task, got none"),
        ([], TASKS, 5, ValueError, "at least one learned optimizer, got none"),
        ([ENTRY], TASKS, 0, ValueError, "num_steps is 0; expected at least 1"),
        ([ENTRY], TASKS, 2.5, TypeError, "num_steps is 2.5"),
        ([ENTRY], (TASKS[0], TASKS[0]), 5, ValueError, "tasks of a comparison need different names"),
        ([ENTRY, ENTRY], TASKS, 5, ValueError, "labels of a comparison need different names, got Adam, Celo"),
        ([ENTRY._replace(label="adam")], TASKS, 5, ValueError, "need different names, got Adam, adam"),
        ([BROKEN], TASKS, 5, ValueError, "theta does not fit"),
    ],
)
def test_what_cannot_be_compared_is_refused(entries, tasks, num_steps, error, message):
    with pytest.raises(error, match=message):
        compare(entries, tasks, num_steps)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"seeds": 0}, "seeds is 0; expected a whole number"),
        ({"trainings_at_once": 1.5}, "trainings_at_once is 1.5"),
        ({"learning_rates": ()}, "at least one learning rate of Adam, got none"),
        ({"learning_rates": (0.1, 0.0)}, "a learning rate is 0.0; expected a positive finite number"),
        ({"learning_rates": (float("inf"),)}, "a learning rate is inf"),
        ({"learning_rates": (float("nan"),)}, "a learning rate is nan"),
    ],
)
def test_bad_settings_are_refused_at_construction(arguments, message):
    with pytest.raises(ValueError, match=message):
        Comparison(**arguments)
