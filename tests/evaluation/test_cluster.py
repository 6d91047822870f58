"""A Ray cluster of this machine: workers and drivers are killed, and nothing is lost or done twice."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import pytest

from celo.evaluation import cluster
from celo.evaluation.requested import read_requested
from celo.evaluation.runner import run
from tests.conftest import ROOT
from tests.evaluation.bowl import NAME, Heard, request
from tests.evaluation.rows import assert_same_rows

TASKS = ("ImageMLP_Digits8_Relu16_bs64", "ImageMLPAE_Digits8_32x16x32_bs64")
OPTIMIZERS = ("sgd@0.1", "adam")
FORKS = pytest.mark.filterwarnings(r"ignore:os.fork\(\) was called")  # JAX is up here, Ray starts others


def small(folder, **changes):
    fields = {"tasks": TASKS, "optimizers": OPTIMIZERS, "steps": 4, "seeds": 1, "eval_batches": 1}
    return request(folder, **(fields | {"eval_every": 2} | changes))


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'celo\[cluster\]'"):
        cluster.run_on_ray(small(tmp_path))


def test_jobs_are_pairs_and_recorded(tmp_path):
    asked = request(tmp_path, optimizers=("adam@0.3", "x=sgd@0.1"))
    assert cluster.jobs(asked) == [(NAME, "adam@0.3"), (NAME, "x=sgd@0.1")]
    assert read_requested(tmp_path).missing([]) == {(NAME, "adam@0.3"): 2, (NAME, "x"): 2}


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run(small(folder)).missing == {}
    return folder


def workers():
    """Processes of Ray that are training."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "ray::train_pair" in line]


def kill_a_worker(killed):
    while not killed:
        for pid in workers()[:1]:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        time.sleep(0.05)


@pytest.mark.slow
@FORKS
def test_a_killed_worker_loses_and_doubles_nothing(undisturbed, tmp_path):
    killed, heard = [], Heard()
    threading.Thread(target=kill_a_worker, args=(killed,), daemon=True).start()
    outcome = cluster.run_on_ray(small(tmp_path), heard)
    assert (outcome.missing, outcome.failures, len(killed)) == ({}, (), 1)
    assert Counter(heard.lines) == {("adam", "done"): 28, ("sgd@0.1", "done"): 2}
    assert_same_rows(tmp_path, undisturbed)
    again = Heard()
    assert cluster.run_on_ray(small(tmp_path), again).missing == {}
    assert (again.counts, again.lines) == ((30, 30), [])


@pytest.mark.slow
def test_after_a_killed_driver_the_same_command_continues(undisturbed, tmp_path):
    code = (
        "import sys; from tests.evaluation.test_cluster import *\n"
        "class Printing(Heard):\n"
        "    def finished(self, rows, how): print(how, flush=True)\n"
        "sys.exit(bool(cluster.run_on_ray(small(sys.argv[1]), Printing()).missing))\n"
    )
    command = [sys.executable, "-c", code, str(tmp_path)]
    driver = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    driver.stdout.readline()  # the first row is there
    driver.kill()
    driver.communicate()
    while workers():  # they end with their driver
        time.sleep(0.1)
    done = {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()}
    assert done
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    assert {path: path.stat().st_mtime_ns for path in done} == done
    assert_same_rows(tmp_path, undisturbed)
