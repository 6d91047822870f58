"""Learner and workers: what one process computes, late answers, and processes that are killed."""

import dataclasses
import os
import signal
import subprocess
import sys
from typing import Any

import jax
import numpy as np
import pytest

from celo.meta.cluster import ClusterSettings
from celo.meta.estimators import Summary
from celo.meta.estimators.antithetic import normal
from celo.meta.learner import Learner, without_stale
from celo.meta.program import StageProgram, group_tasks
from celo.meta.recipe import Recipe
from celo.meta.runs.metrics import read_metrics
from celo.meta.stage import Stage
from celo.meta.tasks import Quadratic
from celo.meta.worker import Answer, Job, Seed, Unroller, UnrollWorker, shares
from tests.meta.learnable_sgd import TASKS, LearnableSGD
from tests.meta.trainer_child import command, held, options, rows, theta_bytes, wait_for_rows

pytestmark = pytest.mark.lenient(reason="optax raises a Python float to the power of an int32 count")

STAGE = Stage(
    "both",
    learning_rate=0.01,
    estimator="full_es",
    objective="final",
    normalize=True,
    problems=4,
    horizon_low=3,
    horizon_high=9,
    augmentation_low=0.5,
    augmentation_high=2.0,
)
LEARNED = LearnableSGD(2)
THETA = LEARNED.init(jax.random.key(3))
KEY = jax.random.key(7)


class InProcess:
    """Workers in this process, which answer at once."""

    restarts = 0

    def __init__(self, workers):
        self.workers, self.waiting = workers, []

    def publish(self, theta):
        return theta

    def ask(self, worker, theta, seed):
        self.waiting.append((worker, self.workers[worker].unroll(theta, seed)))

    def answers(self):
        found, self.waiting = self.waiting, []
        return found


def learner(stage, learned, tasks, workers):
    groups = group_tasks(tasks)
    divided = shares(groups, stage.problems, workers)
    order = [tasks[i] for group in groups for i in group]
    own = [Unroller(stage, learned, [order[i] for i in share.families], share, KEY) for share in divided]
    return Learner(stage, learned, tasks, KEY, divided, InProcess(own))


def assert_close(found, expected):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6), found, expected)


def test_one_meta_iteration_in_closed_form():
    """One step on ``c x² / 2``: the final loss is ``(1 - rate c)²`` times the first, which is recorded."""
    curvature, sigma = 2.0, 0.1
    stage = dataclasses.replace(
        STAGE, trains="rule", normalize=False, sigma=sigma, horizon_low=1, horizon_high=1, augmentation="none"
    )
    made = learner(stage, LearnableSGD(1), [Quadratic.of([curvature], name="bowl")], 1)
    state, work = made.run(made.begin(THETA), 1)
    ((_, answer, _),) = work.used
    keys = [jax.random.fold_in(jax.random.fold_in(KEY, 0), i) for i in range(stage.problems)]
    e = sigma * np.array([normal(jax.random.split(key)[0], 1)[0] for key in keys])
    low, high = ((1 - curvature * np.exp(THETA["rule"]["log_rate"] + s * e)) ** 2 for s in (1, -1))
    weights = answer.summary.loss[0] * (low - high) / (2 * sigma**2)
    np.testing.assert_allclose(answer.weights[0], weights, rtol=1e-4)
    gradient = np.mean(weights * e)
    np.testing.assert_allclose(work.gradient_norm, [abs(gradient)], rtol=1e-4)
    before = THETA["rule"]["log_rate"]
    after = before - stage.learning_rate * (np.sign(gradient) + stage.weight_decay * before)
    np.testing.assert_allclose(state.theta["rule"]["log_rate"], after, rtol=1e-5)


@pytest.mark.parametrize("workers", [1, 6])
def test_workers_do_what_one_process_does(workers):
    """Families of two shapes, also cut in halves; the last row of metrics has the same numbers."""
    one, many = StageProgram(STAGE, LEARNED, TASKS, KEY, 3), learner(STAGE, LEARNED, TASKS, workers)
    alone, measures = one.run(one.begin(THETA), 3)
    state, work = many.run(many.begin(THETA), 3)
    assert_close((state.theta, state.outer), (alone.theta, alone.outer))
    assert state.theta["rule"]["log_rate"] != THETA["rule"]["log_rate"]
    expected, found = one.metrics(measures), many.metrics(work)
    if workers > 1:  # its standard deviation is over the problems of a worker
        del expected["difference_snr"]
    for name, value in expected.items():
        np.testing.assert_allclose(np.sort(found[name], axis=None), np.sort(value, axis=None), rtol=1e-3)
    assert (found["cluster/workers"], found["cluster/dropped"]) == (workers, 0)
    assert 0 < found["cluster/bytes_received"] < 1000 * workers


def test_shares_are_all_problems_once():
    numbers = [
        4 * family + problem + (group << 20)
        for group, family in ((0, 0), (0, 1), (1, 0))
        for problem in range(4)
    ]
    for workers in (1, 2, 3, 6, 12):
        divided = shares(group_tasks(TASKS), 4, workers)
        assert sorted(np.concatenate([share.numbers.ravel() for share in divided])) == numbers
        assert len({share.numbers.size for share in divided}) == (2 if workers == 2 else 1)
    for workers in (4, 9):
        with pytest.raises(ValueError, match=f"workers is {workers}; expected at most 3, the number of task"):
            shares(group_tasks(TASKS), 4, workers)


def answer_to(seed, share):
    weights: Any = np.full(share.numbers.shape, 1.0 + seed.repeat, np.float32)
    return Answer(seed, weights, Summary(*[weights] * 6), np.asarray(0.8))


def test_stale_answers_are_found():
    share = shares([[0]], 4, 1)[0]
    answers = [(0, answer_to(Seed(version), share)) for version in (3, 4, 5, 9)]
    assert [answer.seed.version for _, answer in without_stale(answers, 9, 5)] == [4, 5, 9]
    assert without_stale(answers, 20, 10) == []


class Uneven(InProcess):
    """Worker 0 answers at once; worker 1 after worker 0 has answered ``late`` times."""

    def __init__(self, divided, late):
        self.shares, self.late, self.asked, self.held = divided, late, [], []

    def ask(self, worker, theta, seed):
        self.asked.append((worker, seed))
        self.held.append((worker, answer_to(seed, self.shares[worker])))

    def answers(self):
        count = sum(worker == 0 for worker, _ in self.asked)
        found = [one for one in self.held if one[0] == 0 or count > self.late]
        self.held = [one for one in self.held if not (one[0] == 0 or count > self.late)]
        return found


@pytest.mark.parametrize(("late", "ages", "dropped"), [(7, [0, 3], 0), (9, [0, 0], 1)])
def test_late_answers_are_used_or_dropped(late, ages, dropped):
    """A meta-iteration takes two answers, and more that come with them; worker 1 is silent at first."""
    divided = shares(group_tasks(TASKS[:1] * 2), 4, 2)
    pool = Uneven(divided, late)
    made = Learner(STAGE, LEARNED, TASKS[:1] * 2, KEY, divided, pool, synchronous=False, staleness=3)
    state, work = made.run(made.begin(THETA), late // 2 + 1)
    found = made.metrics(work)
    assert int(state.iteration) == late // 2 + 1
    assert [age for _, _, age in work.used][-2:] == ages
    assert found["cluster/dropped"] == dropped
    assert found["cluster/staleness"].shape == (len(work.used),) == (2 * (late // 2 + 1) + (dropped == 0),)
    assert len(set(pool.asked)) == len(pool.asked), "a worker was asked twice with the same seed"
    assert (0, Seed(1, 1)) in pool.asked


def test_repeats_have_other_perturbations():
    keys = [
        jax.random.key_data(seed.key(KEY)).tolist() for seed in (Seed(1), Seed(1, 1), Seed(1, 2), Seed(2))
    ]
    assert len({tuple(key) for key in keys}) == 4


def test_a_worker_refuses_other_data(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    share, name = shares([[0]], 4, 1)[0], "tests.evaluation.bowl:BOWL"
    data = np.asarray(jax.random.key_data(KEY))
    job = Job(STAGE, LEARNED, {name: "0" * 64}, None, share, data, str(tmp_path))
    with pytest.raises(ValueError, match=f"the data of {name} have the digest"):
        UnrollWorker(job)


RECIPE = Recipe("learnable_adam", tasks=("ImageMLP_Digits8_Relu16_bs64",), stages=(STAGE,))


@pytest.mark.parametrize(
    ("change", "workers", "message"),
    [
        ({"estimator": "pes"}, 1, "the estimator of stage 1 is 'pes'; .* choose --stage1.estimator full_es"),
        ({"estimator": "truncated_es"}, 1, "the estimator of stage 1 is 'truncated_es'"),
        ({"objective": "mean", "expert": "adam"}, 1, "the expert of stage 1 is 'adam'"),
        ({}, 3, "workers is 3; expected at most 1, the number of task families, or 1 times a divisor of 4"),
    ],
)
def test_recipes_that_workers_cannot_carry_out(monkeypatch, change, workers, message):
    """They are refused before Ray starts."""
    monkeypatch.setitem(sys.modules, "ray", None)
    recipe = dataclasses.replace(RECIPE, optimizer="celo").change_stages(change)
    with pytest.raises(ValueError, match=message), ClusterSettings("ray", workers=workers).connected(recipe):
        pass


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(ModuleNotFoundError, match=r"pip install 'celo\[cluster\]'"),
        ClusterSettings("ray").connected(RECIPE),
    ):
        pass
    with ClusterSettings().connected(RECIPE) as cluster:
        assert cluster is None


FULL = {f"stage{n}__estimator": "full_es" for n in (1, 2)} | {f"stage{n}__objective": "final" for n in (1, 2)}


def line(run_dir, *more, **changed):
    """A run of two stages with two workers, each with one problem of a bowl."""
    changed = {"cluster": "ray", "workers": 2, "tasks": "tests.evaluation.bowl:BOWL", **FULL, **changed}
    return command([*options(run_dir, **changed), *more])


def workers_of(child):
    """Processes of the workers of a learner."""
    listed = subprocess.run(["ps", "-eo", "pid,ppid,args"], capture_output=True, text=True, check=True).stdout
    found = [row.split(maxsplit=2) for row in listed.splitlines()[1:]]
    parents = {int(pid): int(parent) for pid, parent, _ in found}

    def descends(pid):
        while pid in parents and pid != child.pid:
            pid = parents[pid]
        return pid == child.pid

    return [int(pid) for pid, _, args in found if args.startswith("ray::UnrollWorker") and descends(int(pid))]


def finished(child, code=0):
    """Standard error of a child that ends with the exit status."""
    _, errors = child.communicate(timeout=400)
    assert child.returncode == code, errors
    return errors


@pytest.mark.slow
def test_killed_workers_and_learners_change_nothing(start, tmp_path):
    """A worker is killed, then the learner; the same command ends with the theta of an undisturbed run."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    finished(start(line(whole)))
    child = start(line(cut))
    wait_for_rows(cut, 1, lambda: child.poll() is None, seconds=400.0)
    os.kill(workers_of(child)[0], signal.SIGKILL)
    wait_for_rows(cut, 3, lambda: child.poll() is None, seconds=400.0)
    child.kill()
    child.communicate()
    assert sum(row["cluster/restarts"] for row in read_metrics(cut / "metrics.jsonl")) == 1
    assert held(cut)[-1] < 14
    finished(start(line(cut)))
    assert theta_bytes(cut) == theta_bytes(whole)
    same = [
        [{k: v for k, v in row.items() if k != "cluster/restarts"} for row in rows(run)]
        for run in (whole, cut)
    ]
    assert same[0] == same[1]


@pytest.mark.slow
def test_an_asynchronous_run_goes_on_without_a_worker(start, tmp_path):
    """It records the age of its answers, and is not the run of another mode."""
    run = tmp_path / "run"
    child = start(line(run, "--no-synchronous", stage1__iterations=200))
    wait_for_rows(run, 2, lambda: child.poll() is None, seconds=400.0)
    os.kill(workers_of(child)[0], signal.SIGKILL)
    finished(child)
    found = read_metrics(run / "metrics.jsonl")
    assert all(row["cluster/staleness"]["size"] >= 4 for row in found)
    assert np.isfinite([row["meta_loss"] for row in found]).all()
    assert sum(row["cluster/restarts"] for row in found) == 1
    errors = finished(start(line(run, stage1__iterations=200)), code=2)
    assert "cluster.synchronous: False in the run, True requested" in errors


@pytest.mark.slow
def test_a_cluster_with_too_few_cpus_is_refused(start, tmp_path):
    errors = finished(start(line(tmp_path / "run", workers=2, cpus_per_worker=1000)), code=2)
    assert "2 workers need 2000 CPUs, and the cluster has" in errors
    assert not (tmp_path / "run").exists()
