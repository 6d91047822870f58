"""The grid as a program, with meta-training replaced by its result, and once for real."""

import contextlib
import dataclasses
import signal
from pathlib import Path
from types import SimpleNamespace

import jax
import pytest

import celo
from celo.evaluation import results
from celo.meta import trainer
from celo.meta.runs.signals import StopRequest
from celo.meta.trainer import THETA_FILE, Result
from celo.scripts import ablate, pipeline
from celo.scripts.pipeline import Progress
from tests.scripts.made import TASK

pytestmark = pytest.mark.usefixtures("bowl")

SMALL = ("--tasks", TASK, "--steps", "4", "--seeds", "1", "--reps", "10")


@pytest.fixture
def calls(monkeypatch):
    """Meta-training that draws a random theta; its recipes by the name of the run folder."""
    made, shared = {}, {}
    made_from = SimpleNamespace(recipes=made, first_stages=shared)

    def meta_train(recipe, run_dir, settings):
        made[run_dir.name] = recipe
        shared[run_dir.name] = settings.first_stage and Path(settings.first_stage).name
        run_dir.mkdir(parents=True, exist_ok=True)
        learned = recipe.learned(recipe.stages[-1])
        theta = learned.init(jax.random.key(recipe.seed))
        config = {field.name: getattr(learned, field.name) for field in dataclasses.fields(learned)}
        celo.save(run_dir / THETA_FILE, recipe.optimizer, config, theta)
        return Result(learned, theta, run_dir, finished=True)

    monkeypatch.setattr(trainer, "meta_train", meta_train)
    return made_from


def first_cells(folder):
    return [line.split("|")[1].strip() for line in (folder / "table.md").read_text().splitlines()[2:4]]


def test_it_writes_a_table_and_a_report_and_adds_rows_to_them(calls, tmp_path, capsys):
    folder = tmp_path / "grid"
    command = ["--out", str(folder), *SMALL]
    assert ablate.main([*command, "--rows", "celo_adam", "--meta-seeds", "0", "7"]) == 0
    made = calls.recipes
    assert list(made) == [f"{run}.{seed}" for seed in (0, 7) for run in ("no_scheduler", "celo", "celo_adam")]
    assert (made["celo_adam.7"].seed, made["celo_adam.7"].optimizer) == (7, "celo_adam")
    assert made["no_scheduler.7"] == made["celo.7"].first_stage()
    assert calls.first_stages["celo.7"] == "no_scheduler.7"
    assert calls.first_stages["celo_adam.7"] is None
    assert "P(better than Celo)" in capsys.readouterr().out
    assert first_cells(folder) == ["celo", "celo_adam"]
    assert f"Trainings of 4 steps; tasks (1): {TASK}." in (folder / "table.md").read_text().splitlines()
    assert (folder / "report" / "report.html").exists()
    assert {row.optimizer for row in results.read(folder / "results")} == {
        *("adam", "celo.0", "celo_adam.0", "celo.7", "celo_adam.7")
    }
    # Other rows use the results of the earlier ones.
    assert ablate.main([*command, "--rows", "no_scheduler"]) == 0
    assert f"celo.0 on {TASK}: already done" in capsys.readouterr().out
    assert first_cells(folder) == ["celo", "no_scheduler"]
    # Other settings are refused before anything is meta-trained.
    made.clear()
    with pytest.raises(SystemExit):
        ablate.main([*command, "--steps", "6"])
    assert "holds results of other settings" in capsys.readouterr().err
    assert not made


@pytest.mark.usefixtures("calls")
def test_a_stop_in_the_evaluation_writes_no_table(tmp_path, capsys, monkeypatch):
    """A signal comes with the first training that is finished."""
    stop = StopRequest()
    monkeypatch.setattr(pipeline, "stop_on_signals", lambda: contextlib.nullcontext(stop))

    def finished(self, rows, how):
        stop.signal = signal.SIGTERM

    monkeypatch.setattr(Progress, "finished", finished)
    command = ["--out", str(tmp_path / "grid"), *SMALL, "--rows", "linear"]
    assert ablate.main(command) == 128 + signal.SIGTERM
    assert "Left to do" in capsys.readouterr().out
    assert not (tmp_path / "grid" / "table.md").exists()


def test_rows_in_long_trainings_have_results_and_a_table_of_their_own(calls, tmp_path, capsys):
    folder = tmp_path / "grid"
    command = ["--out", str(folder), *SMALL, "--long-steps", "6", "--preset", "cpu"]
    assert ablate.main([*command, "--rows", "celo_1k"]) == 0
    # The preset's own horizon is 2,000 steps, so the row celo_2k is the run of Celo itself.
    assert list(calls.recipes) == ["no_scheduler.0", "celo.0", "stage1_celo_1k.0", "celo_1k.0"]
    capsys.readouterr()
    for name, steps, labels in (
        ("results", 4, {"adam", "celo.0"}),
        ("results_long", 6, {"adam", "celo_2k.0", "celo_1k.0"}),
    ):
        found = results.read(folder / name)
        assert ({row.optimizer for row in found}, {row.steps for row in found}) == (labels, {steps})
    lines = (folder / "table.md").read_text().splitlines()
    assert [line.split()[1] for line in lines if line.startswith("| celo")] == ["celo", "celo_2k", "celo_1k"]
    assert f"Trainings of 6 steps; tasks (1): {TASK}." in lines
    assert (folder / "report_long" / "report.html").exists()


def test_released_weights_are_evaluated_if_there_and_skipped_in_words_if_not(calls, tmp_path, capsys):
    folder, absent = tmp_path / "grid", tmp_path / "velo.safetensors"
    command = ["--out", str(folder), *SMALL, "--rows", "velo_4000", "--velo-4000", str(absent)]
    assert ablate.main(command) == 1
    sentence = f"velo_4000 is skipped: no weights at {absent}"
    assert sentence in capsys.readouterr().out
    assert any(line.startswith(sentence) for line in (folder / "table.md").read_text().splitlines())
    small = {"hidden": 4, "bank": 2, "ff_mult": 100.0}
    theta = celo.learned_optimizer("velo", **small).init(jax.random.key(0))
    celo.save(absent, "velo", small, theta)
    assert ablate.main(command) == 0
    assert "skipped" not in (folder / "table.md").read_text()
    assert first_cells(folder) == ["celo", "velo_4000"]
    kept = celo.load(folder / "meta" / "velo_4000" / THETA_FILE)
    assert kept.learned == celo.learned_optimizer("velo", **small)
    absent.unlink()  # the folder keeps them
    assert ablate.main(command) == 0


def test_the_plan_shows_hours_and_does_nothing(calls, tmp_path, capsys):
    out = tmp_path / "grid"
    command = ["--plan", "--out", str(out), "--rows", "linear", "--iterations", "1000", "--host-devices", "2"]
    assert ablate.main([*command, "--tasks", TASK, "--preset", "paper"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["no_scheduler.0", "celo.0", "linear.0", "all"]
    # 1,000 meta-iterations at the paper's scale, 0.24 s each on two cores; stage 1 counts once.
    assert lines[3].split()[-4:] == ["no_scheduler.0", "+", "1,000", "0.067"]
    assert lines[5].split() == ["all", "0.2"]
    assert not calls.recipes
    assert not out.exists()
    # A run that has measured its speed gives its own hours.
    run = out / "meta" / "celo.0"
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text(
        '{"step": 1, "time": 0.0, "stage": 2, "seconds_per_meta_iteration": 3.6}\n'
    )
    assert ablate.main([*command, "--tasks", TASK]) == 0
    assert capsys.readouterr().out.splitlines()[3].split()[-1] == "1"
