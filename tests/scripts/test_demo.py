"""The demo and the comparison of checkpoints as programs, with meta-training replaced by its result."""

import dataclasses
import json
from pathlib import Path

import jax
import pytest

import celo
from celo.learned.celo import Celo
from celo.meta.presets import PRESETS, preset
from celo.meta.recipe import Stage
from celo.meta.tasks import TASKS, Quadratic
from celo.meta.trainer import Result
from celo.scripts import compare, demo

LEARNED = Celo(stage=1)
TASK = "ImageMLP_Digits8_Relu16_bs64"
BOWL = Quadratic.of([0.5, 2.0], target=3.0, name=TASK)  # compiles in a fraction of the time


@pytest.fixture(autouse=True)
def _devices_are_set_up_already(monkeypatch):
    monkeypatch.setattr(demo, "set_up", lambda devices: None)
    monkeypatch.setattr(compare, "set_up", lambda devices: None)


@pytest.fixture
def calls(monkeypatch):
    """Replace meta-training by one that leaves metrics and a random theta; returns the list of its calls."""
    made = []

    def meta_train(recipe, run_dir, settings):
        made.append((run_dir, settings.data_dir))
        run_dir.mkdir(parents=True, exist_ok=True)
        rows = [{"step": 20 * i, "time": 0.0, "stage": 1, "meta_loss": 1.0 / i} for i in (1, 2, 3)]
        (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
        return Result(LEARNED, LEARNED.init(jax.random.key(0)), run_dir, finished=True)

    monkeypatch.setattr(demo, "meta_train", meta_train)
    monkeypatch.setattr(demo, "UNSEEN", (TASK,))
    monkeypatch.setattr(demo, "make", lambda name, data_dir: BOWL)
    return made


def arguments(tmp_path, *more):
    return ["--run-dir", str(tmp_path / "run"), "--out", str(tmp_path / "report"), *more]


def test_the_unseen_problems_are_known_and_unseen():
    assert len(demo.UNSEEN) == 3
    assert set(demo.UNSEEN) <= set(TASKS)
    assert not set(demo.UNSEEN) & {name for recipe in PRESETS.values() for name in recipe.tasks}


def test_it_prints_a_table_and_writes_a_report_and_goes_on_when_called_again(calls, tmp_path, capsys):
    short = arguments(tmp_path, "--steps", "4", "--seeds", "2", "--data-dir", "data")
    assert demo.main(short) == 0
    printed = capsys.readouterr().out
    assert calls == [(tmp_path / "run", "data")]
    assert "Adam on ImageMLP_Digits8_Relu16_bs64: 28 trainings of 4 steps" in printed
    assert "does not reach the best of Adam's 14 rates" in printed  # a random theta does not
    results = json.loads((tmp_path / "report" / "results.json").read_text())
    assert [task["task"] for task in results["tasks"]] == [TASK]
    assert results["tasks"][0]["num_steps"] == 4
    assert (tmp_path / "report" / "meta_loss.svg").exists()
    assert str(tmp_path / "report" / "index.html") in printed

    assert demo.main(short) == 0
    again = capsys.readouterr().out
    assert again.count("already done") == 2
    assert table_of(again) == table_of(printed)


def table_of(printed):
    return printed[printed.index("3. Results") : printed.index("Report with pictures")]


def test_a_stopped_meta_training_is_not_compared(calls, monkeypatch, tmp_path, capsys):
    stopped = Result(LEARNED, LEARNED.init(jax.random.key(0)), tmp_path / "run", finished=False)
    monkeypatch.setattr(demo, "meta_train", lambda recipe, run_dir, settings: stopped)
    assert demo.main(arguments(tmp_path)) == 0
    assert "the same command goes on from it" in capsys.readouterr().out
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (("--steps", "0"), "num_steps is 0; expected at least 1"),
        (("--seeds", "0"), "seeds is 0; expected a whole number of at least 1"),
        (("--preset", "quik"), "Unknown preset 'quik'. Did you mean 'quick'?"),
    ],
)
def test_bad_arguments_are_refused_before_meta_training(calls, tmp_path, capsys, bad, message):
    with pytest.raises(SystemExit) as error:
        demo.main(arguments(tmp_path, *bad))
    assert error.value.code == 2
    assert message in capsys.readouterr().err
    assert calls == []


def test_missing_data_shows_before_meta_training(calls, monkeypatch, tmp_path, capsys):
    def absent(name, data_dir):
        raise FileNotFoundError(f"no data for {name}")

    monkeypatch.setattr(demo, "make", absent)
    with pytest.raises(SystemExit) as error:
        demo.main(arguments(tmp_path))
    assert error.value.code == 2
    assert f"no data for {TASK}" in capsys.readouterr().err
    assert calls == []


@pytest.mark.slow
@pytest.mark.lenient(reason="optax raises a Python float to the power of an integer array")
def test_with_meta_training_for_real(monkeypatch, tmp_path, capsys):
    stage = Stage(iterations=2, problems=2, truncation=3, horizon_low=4, horizon_high=8)
    changes = {"stages": (stage,), "iterations_per_call": 1, "validate_every": 0}
    tiny = dataclasses.replace(preset("quick"), **changes)
    monkeypatch.setattr(demo, "preset", lambda name: tiny)
    monkeypatch.setattr(demo, "UNSEEN", (TASK,))
    monkeypatch.setattr(demo, "make", lambda name, data_dir: BOWL)
    assert demo.main(arguments(tmp_path, "--steps", "4", "--seeds", "1")) == 0
    assert (tmp_path / "run" / "theta.safetensors").exists()
    assert (tmp_path / "report" / "meta_loss.png").exists()
    assert not (tmp_path / "report" / "schedule.png").exists()  # stage 1 has none
    assert "Celo" in table_of(capsys.readouterr().out)


def test_checkpoints_are_compared_under_their_labels(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(compare, "make", lambda name, data_dir: BOWL)
    place = tmp_path / "theta.safetensors"
    celo.save(place, "celo", dataclasses.asdict(LEARNED), LEARNED.init(jax.random.key(0)))
    out = tmp_path / "report"
    command = ["--checkpoints", f"mine={place}", "--tasks", TASK, "--out", str(out), "--steps", "4"]
    assert compare.main([*command, "--seeds", "2"]) == 0
    results = json.loads((out / "results.json").read_text())
    assert list(results["tasks"][0]["learned"]) == ["mine"]
    assert "mine does not reach the best of Adam's 14 rates" in capsys.readouterr().out
    assert not (out / "meta_loss.svg").exists()
    assert compare.entry(str(place)).label == f"Celo ({place})"


@pytest.mark.parametrize(
    ("run_dir", "out", "folder"),
    [
        (None, None, "report"),
        (Path("runs/mine"), None, "runs/mine/report"),
        (Path("runs/mine"), Path("there"), "there"),
    ],
)
def test_the_report_of_a_run_goes_into_its_folder(run_dir, out, folder):
    assert compare.Compare(("celo",), (TASK,), out, run_dir).folder == Path(folder)


def test_a_path_may_hold_an_equals_sign(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for place in ("runs/lr=1e-3/theta.safetensors", "lr=1e-3.safetensors"):
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        celo.save(place, "celo", dataclasses.asdict(LEARNED), LEARNED.init(jax.random.key(0)))
        assert compare.entry(place).label == f"Celo ({place})"
        assert compare.entry(f"mine={place}").label == "mine"
        assert compare.entry(f"mine:{place}").label == "mine"
    with pytest.raises(FileNotFoundError, match="runs/lr=1e-4/theta"):
        compare.entry("runs/lr=1e-4/theta.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("--tasks", "ImageMLP_Digit8_Relu16_bs64"), "Did you mean 'ImageMLP_Digits8_Relu16_bs64'"),
        (("--steps", "-1"), "num_steps is -1; expected at least 1"),
        (("--run-dir", "nowhere"), "nowhere/metrics.jsonl"),
    ],
)
def test_bad_comparisons_are_refused(tmp_path, capsys, change, message):
    place = tmp_path / "theta.safetensors"
    celo.save(place, "celo", dataclasses.asdict(LEARNED), LEARNED.init(jax.random.key(0)))
    with pytest.raises(SystemExit) as error:
        compare.main(["--checkpoints", str(place), "--tasks", TASK, *change])
    assert error.value.code == 2
    assert message in capsys.readouterr().err
