"""Real processes on one folder: killed at any moment, or several at once, nothing is lost or done twice."""

import random
import subprocess
import sys
import time
from collections import Counter

import pytest

from tests.conftest import ROOT
from tests.evaluation.rows import assert_same_rows

TRAININGS = 168


def start(folder, devices=1):
    return subprocess.Popen(
        [sys.executable, "-m", "tests.evaluation.evaluation_child", str(folder), str(devices)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )


def lines_of(process):
    out, _ = process.communicate(timeout=600)
    assert process.returncode == 0
    return out.splitlines()


def keys(lines):
    """Key and label of the trainings that lines say are done."""
    return [tuple(line.split()[1:]) for line in lines if line.startswith("done ")]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert len(keys(lines_of(start(folder, devices=2)))) == TRAININGS
    return folder


@pytest.mark.parametrize("kills", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_gives_the_rows_of_an_undisturbed_sweep(undisturbed, tmp_path, kills):
    rng, done = random.Random(kills), []
    for _ in range(kills):
        process = start(tmp_path, devices=rng.choice([1, 2]))
        assert process.stdout is not None
        left = rng.randint(0, 7)
        for line in process.stdout:
            done += keys([line])
            if left == 0:
                break
            left -= 1
        time.sleep(rng.uniform(0, 0.05))
        process.kill()
        rest, _ = process.communicate()
        done += keys(rest.splitlines())
    done += keys(lines_of(start(tmp_path, devices=2)))
    # A row may be written and its process killed before it prints; none is printed twice.
    assert max(Counter(done).values()) == 1
    assert_same_rows(tmp_path, undisturbed)
    assert len(list((tmp_path / "rows").glob("*.parquet"))) == TRAININGS


@pytest.mark.slow
def test_two_processes_share_the_work(undisturbed, tmp_path):
    processes = [start(tmp_path), start(tmp_path)]
    heard = [keys(lines_of(process)) for process in processes]
    assert all(count == 1 for count in Counter(heard[0] + heard[1]).values())
    assert len(heard[0]) + len(heard[1]) == TRAININGS
    assert_same_rows(tmp_path, undisturbed)
    assert len(list((tmp_path / "rows").glob("*.parquet"))) == TRAININGS
