"""The demo and the comparison of checkpoints, with meta-training replaced by its result."""

import dataclasses
import json
from pathlib import Path

import jax
import pytest

import celo
from celo.evaluation import suites
from celo.learned.celo import Celo
from celo.meta import presets, trainer
from celo.meta.presets import PRESETS
from celo.meta.stage import Stage
from celo.meta.trainer import THETA_FILE, Result
from celo.scripts import compare, demo
from tests.scripts.made import TASK

LEARNED = Celo(stage=1)


@pytest.fixture(autouse=True)
def _bowl(monkeypatch, bowl):
    monkeypatch.setattr(suites, "QUICK", (TASK,))
    monkeypatch.setattr(suites, "suites", lambda: {"quick": (TASK,)})


def save(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    celo.save(path, "celo", dataclasses.asdict(LEARNED), LEARNED.init(jax.random.key(0)))
    return path


@pytest.fixture
def calls(monkeypatch):
    """Replace meta-training by one that leaves metrics and a random theta; returns the list of its calls."""
    made = []

    def meta_train(recipe, run_dir, settings):
        made.append((run_dir, settings.data_dir))
        save(run_dir / THETA_FILE)
        rows = [{"step": 20 * i, "time": 0.0, "stage": 1, "meta_loss": 1.0 / i} for i in (1, 2, 3)]
        (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return Result(LEARNED, LEARNED.init(jax.random.key(0)), run_dir, finished=True)

    monkeypatch.setattr(trainer, "meta_train", meta_train)
    return made


def arguments(tmp_path, *more):
    return ["--run-dir", str(tmp_path / "run"), "--out", str(tmp_path / "report"), *more]


def test_it_prints_a_table_and_writes_a_report_and_resumes(calls, tmp_path, capsys):
    (tmp_path / "data").mkdir()
    short = arguments(tmp_path, "--steps", "4", "--seeds", "2", "--data-dir", str(tmp_path / "data"))
    assert demo.main(short) == 0
    printed = capsys.readouterr().out
    assert calls == [(tmp_path / "run", str(tmp_path / "data"))]
    assert f"adam on {TASK}: 28 trainings of 4 steps" in printed
    for column in ("ratio of means", "mean of ratios", "14"):
        assert column in printed
    assert (tmp_path / "report" / "results.json").exists()
    assert list((tmp_path / "report").rglob("*meta_loss*.svg"))
    assert str(tmp_path / "report" / "index.html") in printed
    assert demo.main(short) == 0
    again = capsys.readouterr().out
    assert again.count("already done") == 2
    assert table_of(again) == table_of(printed)


def table_of(printed):
    return printed[printed.index("3. Results") : printed.index("Report with figures")]


def test_a_stopped_meta_training_is_not_compared(monkeypatch, tmp_path, capsys):
    stopped = Result(LEARNED, LEARNED.init(jax.random.key(0)), tmp_path / "run", finished=False)
    monkeypatch.setattr(trainer, "meta_train", lambda recipe, run_dir, settings: stopped)
    assert demo.main(arguments(tmp_path)) == 0
    assert "the same command resumes from it" in capsys.readouterr().out
    assert not (tmp_path / "report").exists()


def test_the_problems_of_the_demo_are_unseen():
    assert not set(suites.tasks_of("quick")) & set(PRESETS["quick"].tasks)


@pytest.mark.slow
@pytest.mark.lenient(reason="optax raises a Python float to the power of an integer array")
def test_with_meta_training_for_real(monkeypatch, tmp_path, capsys):
    stage = Stage(iterations=2, problems=2, truncation=3, horizon_low=4, horizon_high=8)
    changes = {"stages": (stage,), "iterations_per_call": 1, "validate_every": 0}
    tiny = dataclasses.replace(PRESETS["quick"], **changes)
    monkeypatch.setattr(presets, "preset", lambda name: tiny)
    assert demo.main(arguments(tmp_path, "--steps", "4", "--seeds", "1")) == 0
    assert (tmp_path / "run" / "theta.safetensors").exists()
    assert "Celo" in table_of(capsys.readouterr().out)


def test_checkpoints_are_compared_under_their_labels(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = save(Path("runs/lr=1e-3/theta.safetensors"))
    command = ["--checkpoints", f"mine={place}", f"ours:{place}", str(place), "--tasks", TASK, "--steps", "4"]
    assert compare.main([*command, "--seeds", "2", "--out", "report"]) == 0
    printed = capsys.readouterr().out
    for label in ("mine", "ours", str(place)):
        assert f"{label} on {TASK}: " in printed
    assert Path("report/index.html").exists()
    assert not list(Path("report").rglob("*meta_loss*"))
    # Other settings go into the same report's folder, with the trainings that fit.
    assert compare.main([*command, "--seeds", "1", "--out", "report"]) == 0
    assert "taken from other results" in capsys.readouterr().out
