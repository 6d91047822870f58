"""The runner: what is found, reused, left out or fails; other processes' work; every numerical setting."""

import dataclasses
import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from celo.evaluation.requested import read_requested
from celo.evaluation.results import read
from celo.evaluation.runner import run
from celo.evaluation.sharing import lock
from celo.evaluation.sweep import sweep
from celo.meta.data import DatasetNotFoundError
from tests.conftest import ROOT
from tests.evaluation.bowl import ADAM, NAME, RATES, Heard, request, rows_of

MINE = "tests.evaluation.bowl"


@pytest.fixture(scope="module")
def adam_rows(tmp_path_factory):
    """The rows of Adam at three rates."""
    return rows_of(request(tmp_path_factory.mktemp("adam"), optimizers=ADAM))


def test_a_row_records_what_made_it(adam_rows):
    one = adam_rows[0]
    assert (one.task, one.optimizer, one.seed, one.steps) == (NAME, ADAM[0], 0, 7)
    assert (one.evaluation_batches, one.random_seed, one.device) == (2, 0, "cpu")
    assert one.evaluation_steps.tolist() == [0, 3, 6, 7]
    assert {"train_loss", "outer_valid_loss", "test_loss"} == {*one.evaluations}
    assert one.parameters == 2
    assert one.versions["jax"]
    assert one.written
    assert one.eta is None
    assert [row.diverged for row in adam_rows] == [row.optimizer == f"adam@{RATES[2]}" for row in adam_rows]
    assert all(np.isfinite(row.loss[0]) for row in adam_rows)


def test_all_optimizers_get_the_same_problem(adam_rows, tmp_path):
    lion = rows_of(request(tmp_path, optimizers=("optax:lion@0.1",)))
    for row in adam_rows:
        np.testing.assert_allclose(row.loss[0], lion[row.seed].loss[0], rtol=1e-6)
    assert lion[0].loss[0] != lion[1].loss[0]


def test_what_is_done_is_not_done_again_and_progress_is_reported(tmp_path):
    heard = Heard()
    assert run(request(tmp_path), heard).missing == {}
    assert heard.lines == [("adam@0.3", "done")] * 2
    assert heard.counts == (2, 0)
    assert (heard.fractions[0], heard.fractions[-1]) == (0.0, 1.0)
    assert heard.compiled[0] == (NAME, "adam@0.3")
    assert [path.name for path in (tmp_path / "locks").iterdir()] == ["evaluation.json.lock"]
    again = Heard()
    assert run(request(tmp_path), again).missing == {}
    assert (again.counts, again.lines, again.compiled) == ((2, 2), [], [])


def test_the_same_training_under_another_label_is_taken_over(tmp_path):
    assert run(request(tmp_path, optimizers=("adam@0.3",))).missing == {}
    heard = Heard()
    assert run(request(tmp_path, optimizers=("x=adam@0.3", "y=adam@0.3")), heard).missing == {}
    assert heard.compiled == []
    assert sorted(heard.lines) == [("x", "reused")] * 2 + [("y", "reused")] * 2
    found = read(tmp_path)
    assert len({row.key for row in found}) == 2
    assert {(row.optimizer, row.spec) for row in found} == {
        ("adam@0.3", "adam@0.3"),
        ("x", "x=adam@0.3"),
        ("y", "y=adam@0.3"),
    }


def test_rows_of_other_folders_are_reused_and_baselines_shared(tmp_path):
    share, mine = tmp_path / "share", f"m={MINE}:sgd_of_mine@0.1"
    first = request(tmp_path / "one", optimizers=("adam@0.3", mine), share=share)
    assert run(first).missing == {}
    assert {row.optimizer for row in read(share)} == {"adam@0.3"}  # not of a user's code
    heard = Heard()
    assert run(dataclasses.replace(first, folder=tmp_path / "two", seeds=3), heard).missing == {}
    how = [(label, how) for label, how in heard.lines]
    assert (how.count(("adam@0.3", "reused")), how.count(("adam@0.3", "done"))) == (2, 1)
    assert how.count(("m", "done")) == 3
    heard = Heard()
    third = dataclasses.replace(
        first, folder=tmp_path / "three", share=None, reuse=(tmp_path / "one", tmp_path / "two")
    )
    assert run(third, heard).missing == {}
    assert {how for _, how in heard.lines} == {"reused"}


def test_a_damaged_file_is_named_and_its_trainings_are_done_again(tmp_path):
    before = rows_of(request(tmp_path))
    file = sorted((tmp_path / "rows").iterdir())[0]
    file.write_bytes(file.read_bytes()[:100])
    heard = Heard()
    assert run(request(tmp_path), heard).missing == {}
    assert any(str(file) in line for line in heard.lines)
    for old, new in zip(before, sorted(read(tmp_path), key=lambda row: row.seed), strict=True):
        np.testing.assert_array_equal(old.loss, new.loss)


def test_an_optimizer_that_fails_stops_no_other(tmp_path):
    heard = Heard()
    outcome = run(request(tmp_path, optimizers=(f"bad={MINE}:broken", "adam@0.3")), heard)
    assert outcome.missing == {(NAME, "bad"): 2}
    assert outcome.failures == ((f"bad on {NAME}", "ArithmeticError: no more"),)
    assert f"bad on {NAME} failed: ArithmeticError: no more" in heard.lines
    assert {row.optimizer for row in read(tmp_path)} == {"adam@0.3"}


def test_a_stopped_sweep_continues(tmp_path):
    asked, heard = request(tmp_path, optimizers=ADAM), Heard()
    outcome = run(asked, heard, lambda: len(heard.fractions) > 4)
    assert outcome.missing
    assert outcome.failures == ()
    assert sum(outcome.missing.values()) + len(read(tmp_path)) == 6
    assert run(asked).missing == {}


def test_batches_of_any_size_give_the_same_trainings(adam_rows, tmp_path):
    heard = Heard()
    asked = request(tmp_path, optimizers=ADAM, batch=4)
    assert run(asked, heard).missing == {}
    assert len(list((tmp_path / "rows").iterdir())) == 3  # two seeds of each text together
    for mine, other in zip(rows_of(asked), adam_rows, strict=True):
        assert mine.key == other.key
        assert mine.trainings_at_once == 2
        np.testing.assert_allclose(mine.loss, other.loss, rtol=1e-5)


def test_tasks_and_optimizers_may_be_added_but_steps_may_not_change(tmp_path):
    assert run(request(tmp_path)).missing == {}
    triple = f"{MINE}:TRIPLE"
    assert run(request(tmp_path, tasks=(triple,), optimizers=("sgd@0.1",))).missing == {}
    pairs = [pair[:2] for pair in read_requested(tmp_path).pairs]
    assert pairs == [(NAME, "adam@0.3"), (triple, "sgd@0.1")]
    assert read_requested(tmp_path).missing(read(tmp_path)) == {}
    with pytest.raises(ValueError, match="other settings: steps 7 instead of 8"):
        run(request(tmp_path, steps=8))


def test_a_label_of_another_optimizer_is_refused_before_data_are_read(tmp_path, monkeypatch):
    run(request(tmp_path, optimizers=("x=adam@0.3",)))
    other = request(tmp_path, optimizers=("x=sgd@0.3",))
    with monkeypatch.context() as patched:
        patched.setattr("celo.evaluation.sweep.make", pytest.fail)
        with pytest.raises(ValueError, match="the label x means another optimizer"):
            run(other)
    assert run(dataclasses.replace(other, new_labels=True)).missing == {}


def test_tasks_without_data_are_skipped_but_requested(tmp_path):
    lost, heard = f"{MINE}:lost", Heard()
    outcome = run(request(tmp_path, tasks=(NAME, lost), skip_missing_data=True), heard)
    assert (outcome.missing, outcome.left_out) == ({}, {lost: "no texts"})
    assert any("Missing data for 1" in str(line) for line in heard.lines)
    assert read_requested(tmp_path).missing(read(tmp_path)) == {(lost, "adam@0.3"): 2}
    with pytest.raises(DatasetNotFoundError):
        run(request(tmp_path / "new", tasks=(NAME, lost)))
    assert not (tmp_path / "new").exists()


def test_a_training_that_another_process_runs_is_waited_for(tmp_path):
    asked, heard = request(tmp_path, seeds=1), Heard()
    key = sweep(asked).trainings[0].key
    held = lock(tmp_path, key[:32])
    timer = threading.Timer(2.5, held.release)  # as when that process is killed
    timer.start()
    assert run(asked, heard).missing == {}
    assert not timer.is_alive()
    assert heard.lines == [("adam@0.3", "done")]


def test_with_64_bits_everything_trains(tmp_path):
    """In a new process: the precision is set before JAX starts."""
    code = (
        "from tests.evaluation.bowl import *\n"
        "from celo.evaluation.runner import run\n"
        f"asked = request({str(tmp_path)!r}, optimizers=('adam@0.3', 'optax:adam@0.3', 'nadamw-search:1'))\n"
        "outcome = run(asked)\n"
        "assert (outcome.missing, outcome.failures) == ({}, ()), outcome\n"
    )
    environment = os.environ | {"JAX_ENABLE_X64": "1"}
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, env=environment, timeout=300)
    assert {row.numerics for row in read(tmp_path)} == {"jax_enable_x64=True"}
