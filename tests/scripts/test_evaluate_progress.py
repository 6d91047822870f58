"""What `celo evaluate` shows while it works, and what its tracker gets, also after something went wrong."""

import io
import json
import sys
import threading

import pytest

from celo.evaluation.cell_tracker import CellTracker
from celo.evaluation.settings import Settings
from celo.evaluation.store import CellName, name_of
from celo.meta.runs.lock import FileLock
from celo.meta.runs.metrics import JsonlTracker, read_metrics
from celo.scripts.evaluate import Evaluate, main
from celo.scripts.evaluate_progress import Progress
from tests.evaluation.cells import cell
from tests.scripts.test_evaluate import TASK, arguments

CELL = cell([[1.0, 2.0]] * 3)


def broken(*args):
    raise OSError("disk is full")


def test_without_a_terminal_it_is_lines_alone(tmp_path, capsys):
    command = Evaluate(optimizers=("adam",), tasks=(TASK,), out=tmp_path)
    with Progress(command.cell_tracker().track) as progress:
        progress.advanced(0, CellName(TASK, "adam", ""), 0.5)
        progress.log("a line")
    assert capsys.readouterr() == ("a line\n", "")
    assert command.request().settings == Settings()


class Terminal(io.StringIO):
    """A stream that says it is one."""

    def isatty(self):
        """It is."""
        return True


def test_on_a_terminal_a_bar_counts_the_cells_there_are(monkeypatch):
    """Those that can be done, of which one is finished."""
    stream = Terminal()
    monkeypatch.setattr(sys, "stderr", stream)
    with Progress(lambda cell: None) as progress:
        progress.declared(7)
        progress.advanced(0, CellName(TASK, "adam", ""), 0.5)
        progress.finished(CELL, "done")
    shown = stream.getvalue()
    assert "1/7" in shown
    assert "adam on ImageM" in shown


@pytest.mark.parametrize("how", ["done", "found", "baseline"])
def test_every_finished_cell_is_tracked(how):
    tracked = []
    with Progress(tracked.append) as progress:
        progress.finished(CELL, how)
    assert tracked == [CELL]
    assert progress.untracked == []


def test_a_tracker_that_fails_is_told_afterwards(capsys):
    with Progress(broken) as progress:
        progress.finished(CELL, "done")
    assert progress.untracked == [(name_of(CELL), "OSError: disk is full")]
    assert "adam on task: 6 trainings of 40 steps" in capsys.readouterr().out


def test_a_slow_tracker_keeps_nobody_waiting_and_a_stop_leaves_the_rest_to_the_next_command():
    """While the first of three cells is being uploaded, the others are finished and a stop is asked for."""
    started, going_on, stop, tracked = threading.Event(), threading.Event(), threading.Event(), []

    def slow(cell):
        if stop.is_set():
            raise InterruptedError("left to the next command")
        started.set()
        assert going_on.wait(60)
        tracked.append(cell.task)

    with Progress(slow) as progress:
        for task in ("a", "b", "c"):
            progress.finished(cell([1.0], task), "done")
        assert started.wait(60)
        stop.set()
        going_on.set()
    assert tracked == ["a"]
    assert [name.task for name, _ in progress.untracked] == ["b", "c"]


@pytest.fixture
def logged(monkeypatch):
    """How many rows have been logged since it was last asked."""
    rows, log = [], JsonlTracker.log
    monkeypatch.setattr(JsonlTracker, "log", lambda self, *row: (rows.append(row), log(self, *row)))

    def count():
        found = len(rows)
        rows.clear()
        return found

    return count


def test_a_run_is_logged_once_for_each_place_it_goes_to(tmp_path, logged):
    CellTracker(tmp_path, "jsonl").track(CELL)
    assert logged() == 3
    CellTracker(tmp_path, "jsonl").track(CELL)
    assert logged() == 0
    CellTracker(tmp_path, "jsonl", group="another").track(CELL)
    assert logged() == 3
    (tmp_path / "runs" / name_of(CELL).file / "metrics.jsonl").unlink()
    CellTracker(tmp_path, "jsonl", group="another").track(CELL)
    assert logged() == 3


def test_a_stop_leaves_what_is_not_logged_and_nothing_else_to_the_next_command(tmp_path, logged):
    CellTracker(tmp_path, "none").track(CELL, lambda: True)
    with pytest.raises(InterruptedError, match="the same command makes up for it"):
        CellTracker(tmp_path, "jsonl").track(CELL, lambda: True)
    assert logged() == 0
    CellTracker(tmp_path, "jsonl").track(CELL)
    CellTracker(tmp_path, "jsonl").track(CELL, lambda: True)
    assert logged() == 3


def test_what_another_process_is_logging_is_left_to_it(tmp_path, logged):
    folder = tmp_path / "runs" / name_of(CELL).file
    folder.mkdir(parents=True)
    with FileLock(folder / "lock"):
        CellTracker(tmp_path, "jsonl").track(CELL)
    assert logged() == 0
    CellTracker(tmp_path, "jsonl").track(CELL)
    assert logged() == 3


def test_a_run_that_failed_or_was_not_asked_for_is_made_up_for(tmp_path, monkeypatch, capsys):
    assert main(arguments(tmp_path)) == 0
    tracked = arguments(tmp_path, "--tracker", "jsonl")
    with monkeypatch.context() as full:
        full.setattr(JsonlTracker, "log", broken)
        assert main(tracked) == 1
    out, err = capsys.readouterr()
    assert "All cells are done" in out
    assert f"sgd@0.1 on {TASK} was finished, but its tracker failed: OSError: disk is full" in err
    assert main(tracked) == 0
    (metrics,) = (tmp_path / "out" / "runs").glob("*/metrics.jsonl")
    assert [row["step"] for row in read_metrics(metrics)] == [0, 4]


def test_wandb_gets_a_run_per_cell_without_a_network(tmp_path, monkeypatch):
    monkeypatch.setenv("WANDB_SILENT", "true")
    monkeypatch.setenv("WANDB_MODE", "online")  # what is asked for goes first
    assert main(arguments(tmp_path, "--tracker", "wandb", "--tracker-mode", "offline")) == 0
    (run,) = (tmp_path / "out" / "runs").iterdir()
    assert json.loads((run / "wandb.json").read_text())["id"]
    assert list(run.glob("wandb/offline-run-*"))
