"""Cells on a Ray cluster of this machine: workers and drivers are killed, and nothing is lost or doubled."""

import dataclasses
import os
import signal
import subprocess
import sys
import threading
import time
import types
from collections import Counter

import numpy as np
import pytest
from celo.evaluation.cluster_progress import Watch, tell
from celo.evaluation.request import Request
from celo.evaluation.resources import Resources
from celo.evaluation.settings import Settings
from celo.evaluation.store import CellName, Store
from tests.evaluation.cells import cell

from celo.evaluation import cluster
from celo.evaluation.runner import Observer, run
from tests.conftest import ROOT
from tests.evaluation.reports import reported

TASKS = ("ImageMLP_Digits8_Relu16_bs64", "ImageMLPAE_Digits8_32x16x32_bs64")
SMALL = Settings(steps=4, seeds=1, eval_every=2, eval_batches=1)


def request(folder, settings=SMALL):
    return Request(folder, TASKS, ("sgd@0.1", "adam"), settings)


class Told(Observer):
    def __init__(self):
        self.cells, self.lines, self.asked, self.parts = [], [], 0, []

    def declared(self, cells):
        self.asked = cells

    def advanced(self, device, name, fraction):
        self.parts.append((device, name, fraction))

    def log(self, line):
        self.lines.append(line)

    def finished(self, cell, how):
        self.cells.append((how, cell.task, cell.optimizer))


def test_without_ray_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'celo\[cluster\]'"):
        cluster.run_on_ray(request(tmp_path))


@pytest.mark.parametrize("numbers", [{"cpus": 0}, {"retries": -1}])
def test_numbers_are_checked_first(tmp_path, numbers):
    with pytest.raises(ValueError, match="expected at least 1 and 0"):
        cluster.run_on_ray(request(tmp_path), **numbers)


def stub(monkeypatch, tell):
    """A cluster of no machines: ``tell(job)`` says what the worker of a job does and tells."""
    monkeypatch.setattr(cluster, "_ray", lambda: types.SimpleNamespace(shutdown=lambda: None))
    monkeypatch.setattr(cluster, "_connect", lambda ray, address: None)
    monkeypatch.setattr(cluster, "_results", lambda ray, request, jobs, *rest: [(j, tell(j)) for j in jobs])


def test_what_workers_tell_is_passed_on(tmp_path, monkeypatch):
    """Of two cells of adam one is made, but its baseline cannot be kept; sgd's workers die."""

    def tell(job):
        if job.contestant.label != "adam":
            return cluster.Done(None, ["WorkerCrashedError: died"], [])
        lines = [f"{job.name.words} is a cell"]
        if job.name.task == TASKS[0]:
            return cluster.Done(job.name, [], lines)
        Store(tmp_path).write(cell([[1.0]] * 3, *job.name[:2], key=job.name.key))
        return cluster.Done(job.name, ["PermissionError: baselines"], lines)

    stub(monkeypatch, tell)
    told = Told()
    outcome = cluster.run_on_ray(request(tmp_path), told)
    assert told.asked == 4
    assert told.lines == [f"adam on {task} is a cell" for task in TASKS]
    assert told.cells == [("done", TASKS[1], "adam")]
    assert {name.words for name in outcome.missing} == {f"sgd@0.1 on {task}" for task in TASKS} | {
        f"adam on {TASKS[0]}"
    }
    assert sorted(reason for _, reason in outcome.failures) == [
        "PermissionError: baselines",
        *["WorkerCrashedError: died"] * 2,
    ]


def test_cells_of_another_kind_of_device_than_the_drivers_count(tmp_path, monkeypatch):
    """Their keys differ, as a worker with a GPU gives them."""

    def tell(job):
        name = job.name._replace(key=job.name.key[::-1])
        Store(tmp_path).write(cell([[1.0]] * 3, *name[:2], key=name.key))
        return cluster.Done(name, [], [])

    stub(monkeypatch, tell)
    told = Told()
    outcome = cluster.run_on_ray(request(tmp_path), told)
    assert (outcome.missing, outcome.failures) == ((), ())
    assert len(told.cells) == 4


class FakeRay:
    """What a watch needs of Ray: an actor in this process, which may be lost."""

    def __init__(self):
        self.exceptions, self.lost = types.SimpleNamespace(RayError=ConnectionError), False

    def remote(self, **options):
        return lambda kind: types.SimpleNamespace(remote=lambda: self._actor(kind()))

    def get(self, value, timeout):
        assert timeout > 0
        if self.lost:
            raise ConnectionError
        return value

    def _actor(self, thing):
        put, get = (types.SimpleNamespace(remote=method) for method in (thing.put, thing.get))
        return types.SimpleNamespace(put=put, get=get)


def test_cells_under_way_have_places_of_their_own():
    ray, told = FakeRay(), Told()
    watch, names = Watch(ray, told), [CellName("task", label, "") for label in "abc"]
    tell(watch.actor, names[0], 0.1)
    tell(watch.actor, names[1], 0.2)
    watch.look(names)
    assert told.parts == [(0, names[0], 0.1), (1, names[1], 0.2)]
    told.parts.clear()
    tell(watch.actor, names[2], 0.0)
    tell(watch.actor, names[1], 0.5)
    watch.look(names[1:])  # the first is finished: the third takes its place
    assert told.parts == [(1, names[1], 0.5), (0, names[2], 0.0)]
    ray.lost = True
    watch.look(names[1:])
    assert len(told.parts) == 2


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    folder = tmp_path_factory.mktemp("undisturbed")
    assert run(request(folder).evaluation()).missing == ()
    return folder


def assert_same_results(folder, undisturbed):
    expected = Store(undisturbed).results()
    assert len(list((folder / "cells").iterdir())) == len(expected)
    for mine, theirs in zip(Store(folder).results(), expected, strict=True):
        assert mine.key == theirs.key
        np.testing.assert_array_equal(mine.loss, theirs.loss)
        np.testing.assert_array_equal(mine.final_loss, theirs.final_loss)


def workers():
    """Processes of Ray that are doing a cell."""
    listed = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True).stdout
    return [
        int(line.split()[0]) for line in listed.splitlines() if "ray::do_cell" in line and "ps" not in line
    ]


def kill_a_worker(killed):
    while not killed:
        for pid in workers()[:1]:
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)
        time.sleep(0.05)


@pytest.mark.slow
@pytest.mark.filterwarnings(r"ignore:os.fork\(\) was called")  # JAX is up in this process, Ray starts others
def test_a_killed_worker_loses_and_doubles_nothing(undisturbed, tmp_path, monkeypatch):
    killed, told = [], Told()
    killer = threading.Thread(target=kill_a_worker, args=(killed,), daemon=True)
    killer.start()
    assert cluster.run_on_ray(request(tmp_path), told).missing == ()
    assert len(killed) == 1
    assert set(Counter(told.cells).values()) == {1}
    assert len(told.cells) == 4
    assert_same_results(tmp_path, undisturbed)
    found = reported(Store(tmp_path), tmp_path / "report", monkeypatch)
    assert found == reported(Store(undisturbed), tmp_path / "expected", monkeypatch)
    again = Told()
    assert cluster.run_on_ray(request(tmp_path), again).missing == ()
    assert {how for how, *_ in again.cells} == {"found"}


@pytest.mark.slow
def test_a_killed_driver_goes_on_with_the_same_command(undisturbed, tmp_path, monkeypatch):
    command = [sys.executable, "-m", "celo.scripts.evaluate", "--cluster", "ray", "--no-share-baselines"]
    command += ["--out", str(tmp_path), "--tasks", *TASKS, "--optimizers", "sgd@0.1", "adam"]
    command += ["--steps", "4", "--seeds", "1", "--eval-every", "2", "--eval-batches", "1"]
    driver = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    driver.stdout.readline()  # the first cell is finished
    driver.kill()
    driver.communicate()
    while workers():  # they end with their driver
        time.sleep(0.1)
    done = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "cells").iterdir()}
    assert done
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    for name, written in done.items():
        assert (tmp_path / "cells" / name).stat().st_mtime_ns == written
    assert_same_results(tmp_path, undisturbed)
    found = reported(Store(tmp_path), tmp_path / "report", monkeypatch)
    assert found == reported(Store(undisturbed), tmp_path / "expected", monkeypatch)


@pytest.mark.slow
@pytest.mark.filterwarnings(r"ignore:os.fork\(\) was called")
def test_a_worker_trains_on_each_of_its_cpus(tmp_path, monkeypatch):
    """And as much at a time as is asked for; the driver hears how far it is."""
    told = Told()
    monkeypatch.setattr(cluster, "_POLL", 0.01)
    asked = dataclasses.replace(
        request(tmp_path), optimizers=("adam",), resources=Resources(trainings_at_once=7)
    )
    assert cluster.run_on_ray(asked, told, cpus=2).missing == ()
    assert {name.task for _, name, _ in told.parts} == set(TASKS)
    assert {device for device, _, _ in told.parts} == {0}  # one after the other, as a cell takes both CPUs
    for name in {name for _, name, _ in told.parts}:
        parts = [fraction for _, each, fraction in told.parts if each == name]
        assert parts == sorted(parts)
        assert len(set(parts)) > 1
    for done in Store(tmp_path).results():
        assert done.info["device_count"] == 2
        assert done.info["trainings_at_once"] == 7
