"""The grid as a program, with meta-training replaced by its result, and once for real."""

import contextlib
import dataclasses
import signal

import jax
import pytest

import celo
from celo.evaluation import results
from celo.meta import trainer
from celo.meta.runs.signals import StopRequest
from celo.meta.trainer import THETA_FILE, Result
from celo.scripts import ablate, pipeline
from celo.scripts.ablate import Ablate, train
from celo.scripts.pipeline import Progress
from tests.scripts.made import TASK

pytestmark = pytest.mark.usefixtures("bowl")

SMALL = ("--tasks", TASK, "--steps", "4", "--seeds", "1", "--reps", "10")


@pytest.fixture
def calls(monkeypatch):
    """Meta-training that draws a random theta; its recipes by the name of the run folder."""
    made = {}

    def meta_train(recipe, run_dir, settings):
        made[run_dir.name] = recipe
        run_dir.mkdir(parents=True, exist_ok=True)
        learned = recipe.learned(recipe.stages[-1])
        theta = learned.init(jax.random.key(recipe.seed))
        config = {field.name: getattr(learned, field.name) for field in dataclasses.fields(learned)}
        celo.save(run_dir / THETA_FILE, recipe.optimizer, config, theta)
        return Result(learned, theta, run_dir, finished=True)

    monkeypatch.setattr(trainer, "meta_train", meta_train)
    return made


def first_cells(folder):
    return [line.split("|")[1].strip() for line in (folder / "table.md").read_text().splitlines()[2:4]]


def test_it_writes_a_table_and_a_report_and_adds_rows_to_them(calls, tmp_path, capsys):
    folder = tmp_path / "grid"
    command = ["--out", str(folder), *SMALL]
    assert ablate.main([*command, "--rows", "celo_adam", "--meta-seeds", "0", "7"]) == 0
    assert list(calls) == ["celo.0", "celo_adam.0", "celo.7", "celo_adam.7"]
    assert (calls["celo_adam.7"].seed, calls["celo_adam.7"].optimizer) == (7, "celo_adam")
    assert "P(better than Celo)" in capsys.readouterr().out
    assert first_cells(folder) == ["celo", "celo_adam"]
    assert f"Tasks (1): {TASK}." in (folder / "table.md").read_text().splitlines()
    assert (folder / "report" / "report.html").exists()
    assert {row.optimizer for row in results.read(folder / "results")} == {"adam", *calls}
    # Other rows use the results of the earlier ones.
    assert ablate.main([*command, "--rows", "no_scheduler"]) == 0
    assert f"celo.0 on {TASK}: already done" in capsys.readouterr().out
    assert first_cells(folder) == ["celo", "no_scheduler"]
    # Other settings are refused before anything is meta-trained.
    calls.clear()
    with pytest.raises(SystemExit):
        ablate.main([*command, "--steps", "6"])
    assert "holds results of other settings" in capsys.readouterr().err
    assert not calls


@pytest.mark.parametrize(
    ("states", "finished", "stopped"),
    [
        # Another process holds the second row, which comes once more at the end.
        ({"celo.0": ["done"], "linear.0": ["busy", "done"]}, ["celo.0", "linear.0"], False),
        ({"celo.0": ["busy", "done"], "linear.0": ["done"]}, ["linear.0", "celo.0"], False),
        ({"celo.0": ["done"], "linear.0": ["busy", "busy"]}, ["celo.0"], False),
        ({"celo.0": ["stopped"], "linear.0": []}, [], True),
        # A stop in the last moment of a row counts.
        ({"celo.0": ["done, stopped"], "linear.0": []}, ["celo.0"], True),
    ],
)
def test_rows_that_stop_or_run_elsewhere(tmp_path, monkeypatch, states, finished, stopped):
    def meta_train(recipe, run_dir, settings):
        state = states[run_dir.name].pop(0)
        if state == "busy":
            raise BlockingIOError("process 17 on host")
        learned = recipe.learned(recipe.stages[0])
        return Result(learned, None, run_dir, finished="done" in state, stopped="stopped" in state)

    monkeypatch.setattr(trainer, "meta_train", meta_train)
    command = Ablate(out=tmp_path, rows=("linear",))
    found = train(command, command.trials())
    assert (list(found[0]), found[1]) == (finished, stopped)
    assert not any(states.values())


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


def test_the_plan_shows_hours_and_does_nothing(calls, tmp_path, capsys):
    out = tmp_path / "grid"
    command = ["--plan", "--out", str(out), "--rows", "linear", "--iterations", "1000", "--host-devices", "2"]
    assert ablate.main([*command, "--tasks", TASK, "--preset", "paper"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[2:]] == ["celo.0", "linear.0", "all"]
    # 2,000 meta-iterations at the paper's scale, 0.24 s each on two cores.
    assert lines[3].split()[-5:] == ["1,000", "+", "1,000", "0.13", "1.07"]
    assert lines[4].split() == ["all", "0.27"]
    assert not calls
    assert not out.exists()
    # A run that has measured its speed gives its own hours.
    run = out / "meta" / "celo.0"
    run.mkdir(parents=True)
    (run / "metrics.jsonl").write_text(
        '{"step": 1, "time": 0.0, "stage": 1, "seconds_per_meta_iteration": 3.6}\n'
    )
    assert ablate.main([*command, "--tasks", TASK]) == 0
    assert capsys.readouterr().out.splitlines()[2].split()[-2:] == ["2", "1.20"]
