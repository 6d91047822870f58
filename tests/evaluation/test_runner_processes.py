"""Real processes on one folder: killed anywhere, or several at once, nothing is lost or doubled."""

import subprocess
import sys
from collections import Counter

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.evaluation.evaluation_child import TASKS, evaluation
from tests.evaluation.reports import reported

CELLS = {f"{optimizer} on {task}" for optimizer in ("sgd", "adam") for task in TASKS}


def start(folder):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.evaluation.evaluation_child", str(folder)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def lines_of(process):
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 0
    return out.splitlines()


def finished(lines, how):
    return [line.removeprefix(f"{how} ") for line in lines if line.startswith(f"{how} ")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert set(finished(lines_of(start(folder)), "done")) == CELLS
    return evaluation(folder)


def assert_same_results(folder, undisturbed):
    found = evaluation(folder)
    assert found.store.missing() == []
    assert found.store.expected == undisturbed.store.expected
    assert len(list((folder / "cells").iterdir())) == len(CELLS)
    for mine, theirs in zip(found.results(), undisturbed.results(), strict=True):
        assert mine.key == theirs.key
        for name in ("loss", "final_loss"):
            np.testing.assert_array_equal(getattr(mine, name), getattr(theirs, name))
        for name, values in theirs.evaluations.items():
            np.testing.assert_array_equal(mine.evaluations[name], values)


def test_killed_again_and_again_it_gives_what_an_undisturbed_one_gives(undisturbed, tmp_path, monkeypatch):
    """Killed within the first cell, within the third, then left to finish; so is what the reports say."""
    done = []
    for whole_cells in (0, 2):
        process = start(tmp_path)
        before = len(done)
        assert process.stdout is not None
        for line in process.stdout:
            done += finished([line.strip()], "done")
            if line.startswith("begun") and len(done) - before == whole_cells:
                process.kill()
                break
        process.communicate()
        assert process.returncode == -9
    last = lines_of(start(tmp_path))
    assert set(finished(last, "found")) == set(done)
    assert Counter(done + finished(last, "done")) == Counter(CELLS)
    assert_same_results(tmp_path, undisturbed)
    found = reported(evaluation(tmp_path).store, tmp_path / "report", monkeypatch)
    expected = reported(undisturbed.store, tmp_path / "undisturbed", monkeypatch)
    assert expected["runs.csv"].count("\n") == 1 + 2 * len(CELLS)
    for name, content in expected.items():
        assert found[name] == content, name


def test_of_a_cell_that_is_killed_its_finished_trainings_are_kept(undisturbed, tmp_path):
    """Killed within the third training of four; the next process begins with that one."""
    process = start(tmp_path)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("part 0.625"):
            process.kill()
            break
    rest, _ = process.communicate()
    assert "done" not in rest
    last = lines_of(start(tmp_path))
    assert next(line for line in last if line.startswith("part")).startswith("part 0.625")
    assert set(finished(last, "done")) == CELLS
    assert_same_results(tmp_path, undisturbed)
    assert list((tmp_path / "parts").iterdir()) == []


@pytest.mark.slow
def test_two_processes_share_the_work(undisturbed, tmp_path):
    processes = [start(tmp_path), start(tmp_path)]
    heard = [lines_of(process) for process in processes]
    assert Counter(cell for lines in heard for cell in finished(lines, "done")) == Counter(CELLS)
    for lines in heard:  # each ends only when all cells are there, whoever has done them
        assert {*finished(lines, "done"), *finished(lines, "found")} == CELLS
    assert_same_results(tmp_path, undisturbed)
