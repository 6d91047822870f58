"""The grid as a program, with meta-training replaced by its result, and once for real."""

import contextlib
import dataclasses
import signal

import jax
import pytest

import celo
from celo.ablations import carry_out
from celo.ablations.carry_out import Trial, train
from celo.ablations.grid import rows
from celo.evaluation import request
from celo.evaluation.report import style
from celo.evaluation.store import Store
from celo.meta.data import DatasetNotFoundError
from celo.meta.presets import preset
from celo.meta.recipe import Stage
from celo.meta.runs.signals import StopRequest
from celo.meta.trainer import THETA_FILE, Result, Settings
from celo.scripts import ablate
from celo.scripts.evaluate_progress import Progress
from tests.evaluation.bowl import BOWL

TASK = "ImageMLP_Digits8_Relu16_bs64"
SMALL = ("--tasks", TASK, "--steps", "4", "--seeds", "1", "--reps", "10")


@pytest.fixture(autouse=True)
def _here(monkeypatch, tmp_path):
    monkeypatch.setattr(ablate, "set_up", lambda devices: None)
    monkeypatch.setenv("CELO_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def bowl(monkeypatch):
    """A task that compiles in a fraction of the time, and no figures."""
    monkeypatch.setattr(request, "make", lambda *args, **kwargs: BOWL)
    monkeypatch.setattr(style, "save", lambda figure, path: path.with_name(f"{path.name}.svg").touch())


@pytest.fixture
def calls(monkeypatch):
    """Meta-training that draws a random theta; by the name of its folder what it was asked for."""
    made = {}

    def meta_train(recipe, run_dir, settings):
        made[run_dir.name] = recipe
        run_dir.mkdir(parents=True, exist_ok=True)
        learned = recipe.learned(recipe.stages[-1])
        theta = learned.init(jax.random.key(recipe.seed))
        config = {field.name: getattr(learned, field.name) for field in dataclasses.fields(learned)}
        celo.save(run_dir / THETA_FILE, recipe.optimizer, config, theta)
        return Result(learned, theta, run_dir, finished=True)

    monkeypatch.setattr(carry_out, "meta_train", meta_train)
    return made


@pytest.mark.usefixtures("bowl")
def test_it_makes_a_table_and_a_report_and_more_rows_are_added_to_them(calls, tmp_path, capsys):
    out = ("--out", str(tmp_path / "grid"))
    assert ablate.main([*out, *SMALL, "--rows", "celo_adam", "--meta-seeds", "0", "7"]) == 0
    assert list(calls) == ["celo.0", "celo_adam.0", "celo.7", "celo_adam.7"]
    assert calls["celo_adam.7"].seed == 7
    assert calls["celo_adam.7"].optimizer == "celo_adam"
    printed = capsys.readouterr().out
    assert "P(better than Celo)" in printed
    lines = (tmp_path / "grid" / "table.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:4]] == ["celo", "celo_adam"]
    assert f"Tasks (1): {TASK}." in lines
    assert (tmp_path / "grid" / "report" / "report.html").exists()
    cells = Store(tmp_path / "grid" / "results").results()
    assert {cell.optimizer for cell in cells} == {"adam", *calls}
    # Other rows use the results there are.
    assert ablate.main([*out, *SMALL, "--rows", "no_scheduler"]) == 0
    assert f"celo.0 on {TASK}: already done" in capsys.readouterr().out
    lines = (tmp_path / "grid" / "table.md").read_text().splitlines()
    assert [line.split("|")[1].strip() for line in lines[2:4]] == ["celo", "no_scheduler"]
    # Other settings do not go into the same folder, which shows before anything is meta-trained.
    calls.clear()
    with pytest.raises(SystemExit):
        ablate.main([*out, *SMALL, "--steps", "6"])
    assert "holds results of other settings" in capsys.readouterr().err
    assert not calls


def test_what_stopped_or_runs_elsewhere_is_told(tmp_path, monkeypatch):
    """Of three rows one is another process's, and the next is stopped by a signal."""
    asked = [Trial(row, 0) for row in rows(["linear", "one_stage"])]

    def meta_train(recipe, run_dir, settings):
        if run_dir.name == "one_stage.0":
            raise BlockingIOError("process 17 on host")
        return Result(recipe.learned(recipe.stages[0]), None, run_dir, finished=run_dir.name == "celo.0")

    monkeypatch.setattr(carry_out, "meta_train", meta_train)
    lines = []
    thetas, stopped = train(asked, lambda optimizer: preset("quick"), tmp_path, Settings(), lines.append)
    assert [trial.label for trial in thetas] == ["celo.0"]
    assert stopped
    assert "one_stage.0 is left to another process (process 17 on host)" in lines


def test_a_stop_in_the_last_moment_of_a_row_counts_and_busy_rows_are_looked_at_again(tmp_path, monkeypatch):
    """The second of two rows is another process's at first, then finished, and stopped when it is."""
    asked, busy = [Trial(row, 0) for row in rows(["linear"])], ["celo.0"]

    def meta_train(recipe, run_dir, settings):
        if run_dir.name in busy:
            busy.remove(run_dir.name)
            raise BlockingIOError("process 17 on host")
        return Result(
            recipe.learned(recipe.stages[0]), None, run_dir, finished=True, stopped=run_dir.name == "celo.0"
        )

    monkeypatch.setattr(carry_out, "meta_train", meta_train)
    thetas, stopped = train(asked, lambda optimizer: preset("quick"), tmp_path, Settings(), lambda line: None)
    assert [trial.label for trial in thetas] == ["linear.0", "celo.0"]
    assert stopped


def test_a_stop_is_told_and_nothing_is_evaluated(monkeypatch, tmp_path, capsys):
    def meta_train(recipe, run_dir, settings):
        return Result(recipe.learned(recipe.stages[0]), None, run_dir, finished=False)

    monkeypatch.setattr(carry_out, "meta_train", meta_train)
    assert ablate.main(["--out", str(tmp_path / "grid"), *SMALL]) == 1
    assert "the same command goes on" in capsys.readouterr().out
    assert not (tmp_path / "grid" / "results").exists()


def test_missing_data_show_before_meta_training(calls, tmp_path, capsys, monkeypatch):
    def absent(*args, **kwargs):
        raise DatasetNotFoundError("there is no digits")

    monkeypatch.setattr(request, "make", absent)
    with pytest.raises(SystemExit):
        ablate.main(["--out", str(tmp_path / "grid"), *SMALL])
    assert "there is no digits" in capsys.readouterr().err
    assert not calls


@pytest.mark.usefixtures("bowl", "calls")
def test_a_stop_of_the_evaluation_is_told_without_a_report(tmp_path, capsys, monkeypatch):
    """A signal comes with the first cell that is finished."""
    stop = StopRequest()
    monkeypatch.setattr(ablate, "stop_on_signals", lambda: contextlib.nullcontext(stop))

    class Stopping(Progress):
        def finished(self, cell, how):
            super().finished(cell, how)
            stop.signal = signal.SIGTERM

    monkeypatch.setattr(ablate, "Progress", Stopping)
    assert ablate.main(["--out", str(tmp_path / "grid"), *SMALL, "--rows", "linear"]) == 128 + signal.SIGTERM
    assert "Left to do" in capsys.readouterr().out
    assert not (tmp_path / "grid" / "table.md").exists()


def test_the_plan_does_nothing(calls, tmp_path, capsys):
    out = tmp_path / "grid"
    assert ablate.main(["--plan", "--out", str(out), "--rows", "linear", "--iterations", "12"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["celo.0", "linear.0"]
    assert lines[-1].split()[-4:] == ["12", "+", "12", "1.07"]
    assert not calls
    assert not out.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--rows", "liner"], "Did you mean 'linear'"),
        (["--tables", "part"], "Did you mean 'parts'"),
        (["--preset", "papr"], "Did you mean 'paper'"),
        (["--meta-seeds", "1", "1"], "all different"),
        (["--meta-seeds", "-1"], "seed is -1"),
        (["--iterations", "-1"], "iterations is -1"),
        (["--reps", "0"], "reps 0"),
        (["--tasks", "ImageMLP_Digits8_Relu15"], "Did you mean"),
        (["--tracker", "wnadb"], "invalid choice 'wnadb'"),
        (["--data-dir", "nowhere"], "nowhere"),
    ],
)
def test_bad_arguments_are_refused_before_anything_is_done(calls, tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit) as ended:
        ablate.main(["--out", str(tmp_path / "grid"), *arguments])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert not calls


@pytest.mark.slow
@pytest.mark.lenient(reason="optax raises a Python float to the power of an integer array")
def test_with_meta_training_for_real(monkeypatch, tmp_path, capsys):
    """One stage trains update rule and scheduler at once; the same command does nothing again."""
    stage = Stage(problems=2, truncation=2, horizon_low=4, horizon_high=8)
    changes = {"stages": (stage, dataclasses.replace(stage, trains="scheduler")), "validate_every": 0}
    tiny = dataclasses.replace(preset("quick"), iterations_per_call=1, **changes)
    monkeypatch.setattr(ablate, "preset", lambda name, optimizer: tiny)
    command = [*SMALL, "--out", str(tmp_path / "grid"), "--rows", "one_stage", "--iterations", "2"]
    assert ablate.main(command) == 0
    first = (tmp_path / "grid" / "table.md").read_text()
    learned, theta = celo.load(tmp_path / "grid" / "meta" / "one_stage.0" / THETA_FILE)
    start = learned.init(jax.random.fold_in(jax.random.key(0), 0))
    for part in ("mlp", "scheduler"):
        assert any(jax.tree.leaves(jax.tree.map(lambda a, b: bool((a != b).any()), theta[part], start[part])))
    capsys.readouterr()
    assert ablate.main(command) == 0
    assert f"one_stage.0 on {TASK}: already done" in capsys.readouterr().out
    assert (tmp_path / "grid" / "table.md").read_text() == first
