"""The runner against trainings done one by one; failures, baselines, and what is found again or left out."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from celo.evaluation.contestants import Contestant, learned_contestant
from celo.evaluation.plan import Evaluation
from celo.evaluation.resources import Resources
from celo.evaluation.rules import HandDesigned
from celo.evaluation.settings import Settings
from celo.meta.evaluated_training import SPLITS

from celo.baselines import eval_params, hand_designed
from celo.evaluation import settings
from celo.evaluation.runner import run
from celo.learned.celo import Celo
from celo.meta.compile import jit
from celo.meta.data import DatasetNotFoundError
from celo.meta.full_training import evaluate, evaluate_end, train
from celo.meta.tasks import Quadratic, make
from tests.evaluation.bowl import ADAM, BOWL, SETTINGS, Told, evaluation, only_cell

LEARNED = Celo(stage=1)
CELO = learned_contestant("celo", LEARNED, LEARNED.init(jax.random.key(7)))


@pytest.fixture(scope="module")
def digits():
    return make("ImageMLP_Digits8_Relu16_bs64")


def test_a_cell_is_what_single_trainings_give(digits, tmp_path):
    """Configuration 1, seed 1 of schedule-free AdamW, trained alone without evaluations and then judged."""
    rule = HandDesigned("schedule_free_adamw")
    contestant = Contestant("sf", rule, ({"learning_rate": 1e-3}, {"learning_rate": 1e-2}))
    cell = only_cell(evaluation(tmp_path, [contestant], [digits]))
    optimizer = hand_designed("schedule_free_adamw", jnp.float32(1e-2))

    @jit
    def alone(task, key):
        key_train, key_end = jax.random.split(key)
        curve = train(task, optimizer, key_train, 7)
        last = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, 2), 3), 3)
        params = eval_params(curve.opt_state, curve.params)
        judged = [evaluate(task, params, (), k, split, 2) for split, k in zip(SPLITS, last, strict=True)]
        return curve.loss, evaluate_end(task, curve, key_end)[0], judged

    loss, final, judged = alone(digits, jax.random.fold_in(jax.random.key(0), 1))
    np.testing.assert_allclose(cell.loss[1, 1], loss, rtol=1e-5)
    np.testing.assert_allclose(cell.final_loss[1, 1], final, rtol=1e-5)
    for split, (split_loss, aux) in zip(SPLITS, judged, strict=True):
        np.testing.assert_allclose(cell.evaluations[f"{split}_loss"][1, 1, -1], split_loss, rtol=1e-5)
        np.testing.assert_allclose(
            cell.evaluations[f"{split}_accuracy"][1, 1, -1], aux["accuracy"], rtol=1e-5
        )
    np.testing.assert_array_equal(cell.evaluation_steps, [0, 3, 6, 7])
    assert cell.info["parameters"] == 64 * 16 + 16 + 16 * 10 + 10
    assert cell.info["seconds_per_step"] >= 0
    assert cell.loss_unit == "nats"


@pytest.mark.slow
def test_a_learned_cell_has_one_configuration_and_its_step_sizes(tmp_path):
    cell = only_cell(evaluation(tmp_path, [CELO]))
    key_train, _ = jax.random.split(jax.random.fold_in(jax.random.key(0), 0))
    curve = jit(lambda key: train(BOWL, LEARNED.optimizer(CELO.theta, 7), key, 7))(key_train)
    np.testing.assert_allclose(cell.loss[0, 0], curve.loss, rtol=1e-5)
    assert cell.eta is not None
    np.testing.assert_allclose(cell.eta[0, 0], curve.eta, rtol=1e-5)
    assert cell.configurations == ({},)
    assert cell.learned


def test_all_optimizers_meet_the_same_problem(adam_cell, tmp_path):
    celo = only_cell(evaluation(tmp_path, [CELO]))
    np.testing.assert_allclose(
        adam_cell.loss[:, :, 0], np.broadcast_to(celo.loss[:, :, 0], (3, 2)), rtol=1e-6
    )
    assert adam_cell.loss[0, 0, 0] != adam_cell.loss[0, 1, 0]
    assert adam_cell.eta is None


def test_divergence_is_recorded_and_stops_nothing(adam_cell):
    np.testing.assert_array_equal(adam_cell.diverged, [[False] * 2, [False] * 2, [True] * 2])
    assert np.isfinite(adam_cell.loss[2, :, 0]).all()


def test_finished_cells_are_found_and_progress_is_told(tmp_path):
    told = Told()
    run(evaluation(tmp_path), None, told)
    assert told.lines == [("adam", "done")]
    assert told.parts[0] == 0.0
    assert told.parts[-1] == 1.0
    assert told.parts == sorted(told.parts)
    run(evaluation(tmp_path), None, told)
    assert told.lines[1:] == [("adam", "found")]


def test_a_damaged_cell_is_done_again(adam_cell, tmp_path):
    asked = evaluation(tmp_path)
    only_cell(asked)
    (file,) = (tmp_path / "cells").iterdir()
    file.write_bytes(file.read_bytes()[:100])
    np.testing.assert_array_equal(only_cell(asked).final_loss, adam_cell.final_loss)


def test_a_cell_that_fails_stops_no_other(tmp_path):
    class Broken(HandDesigned):
        def optimizer(self, theta, hyperparameters, num_steps):
            raise MemoryError("no more")

    broken = Contestant("broken", Broken("adam"), ADAM.configurations)
    asked = evaluation(tmp_path, [broken, ADAM])
    outcome = run(asked)
    assert [name.optimizer for name in outcome.missing] == ["broken"]
    assert [(name.optimizer, reason) for name, reason in outcome.failures] == [
        ("broken", "MemoryError: no more")
    ]
    assert [cell.optimizer for cell in asked.results()] == ["adam"]


@pytest.mark.slow
def test_what_is_stopped_goes_on(tmp_path):
    asked, told = evaluation(tmp_path, [ADAM, CELO]), Told()
    outcome = run(asked, Resources(), told, lambda: len(told.parts) > 2)
    assert outcome.missing
    assert outcome.failures == ()
    assert run(asked).missing == ()


def test_baselines_serve_other_folders_but_learned_optimizers_are_no_baselines(tmp_path):
    baselines = tmp_path / "baselines"
    told = Told()
    for folder in ("one", "two"):
        run(evaluation(tmp_path / folder, [ADAM, CELO], baselines=baselines), None, told)
    assert sorted(told.lines) == [("adam", "baseline"), ("adam", "done"), ("celo", "done"), ("celo", "done")]
    assert len(list((baselines / "cells").iterdir())) == 1


def test_tasks_and_optimizers_may_be_added_but_not_steps(tmp_path):
    run(evaluation(tmp_path))
    other = Quadratic.of([1.0], name="other")
    assert run(evaluation(tmp_path, [CELO], [other])).missing == ()
    stored = evaluation(tmp_path).store
    assert [(name.task, name.optimizer) for name in stored.expected] == [("bowl", "adam"), ("other", "celo")]
    assert len(stored.results()) == 2
    with pytest.raises(ValueError, match="other settings: steps 7 instead of 8"):
        run(evaluation(tmp_path, settings=Settings(steps=8, seeds=2, eval_every=3, eval_batches=2)))


def without_data(folder, names=("bowl", "lost", "gone", "away"), skip=False, log=lambda line: None):
    """An evaluation of tasks of which only the bowl has data."""

    def lost(name):
        raise DatasetNotFoundError(f"no {'pictures' if name == 'away' else 'texts'}")

    loads = {name: (lambda: BOWL) if name == "bowl" else partial(lost, name) for name in names}
    return Evaluation([ADAM], loads, SETTINGS, folder, None, log, skip_missing_data=skip)


def test_all_that_is_missing_is_said_at_once_and_nothing_is_begun(tmp_path):
    message = r"The data of 3 of .*\n  lost, gone: no texts\n  away: no pictures\n.* by skip_missing_data"
    with pytest.raises(DatasetNotFoundError, match=message):
        run(without_data(tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_tasks_without_data_are_left_out_but_asked_for(tmp_path):
    lines = []
    asked = without_data(tmp_path, skip=True, log=lines.append)
    outcome = run(asked)
    assert outcome.missing == ()
    assert outcome.left_out == ("lost", "gone", "away")
    assert len(lines) == 1
    assert "lost, gone: no texts" in lines[0]
    assert [name.task for name in asked.store.missing()] == ["lost", "gone", "away"]
    assert [cell.task for cell in asked.results()] == ["bowl"]
    with pytest.raises(DatasetNotFoundError, match="The data of 1 of") as error:
        run(without_data(tmp_path, ["lost"], skip=True))
    assert "skip_missing_data" not in str(error.value)


def test_the_data_of_a_task_are_digested_once(tmp_path, monkeypatch):
    """However many cells are made of them: large data take long."""
    digested, fingerprint = [], settings.fingerprint

    def counted(**inputs):
        digested.extend(one for one in inputs.values() if one is BOWL)
        return fingerprint(**inputs)

    monkeypatch.setattr(settings, "fingerprint", counted)
    asked = evaluation(tmp_path, [ADAM, dataclasses.replace(ADAM, label="adam2")])
    assert run(asked).missing == ()
    assert len(digested) == 1
    assert {cell.task_digest for cell in asked.results()} == {fingerprint(task=BOWL)}


def test_a_label_of_another_optimizer_is_refused_before_data_are_read(tmp_path):
    run(evaluation(tmp_path))
    other = Contestant("adam", HandDesigned("adam"), ADAM.configurations[:1])
    with pytest.raises(ValueError, match="the label adam means another optimizer"):
        run(Evaluation([other], {"bowl": pytest.fail}, SETTINGS, tmp_path))
    free = Evaluation([other], {"bowl": lambda: BOWL}, SETTINGS, tmp_path, lasting_labels=False)
    assert run(free).missing == ()


def test_a_cell_another_process_works_on_is_waited_for(tmp_path):
    asked, told = evaluation(tmp_path), Told()
    (job,) = asked.declare()
    lock = asked.store.lock(job.name.file)
    waiting = []

    def stopped():
        waiting.append(1)
        if len(waiting) == 10:
            lock.release()  # as when that process is killed
        return False

    assert run(asked, None, told, stopped).missing == ()
    assert told.lines == [("adam", "done")]
    assert len(waiting) >= 10
