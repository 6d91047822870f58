"""Progress and conclusions of every evaluation command."""

from pathlib import Path

import pytest

from celo.evaluation.runner import Outcome
from celo.evaluation.sweep import Request
from celo.meta.runs.signals import StopRequest
from celo.scripts.pipeline import Progress, conclude, report_request
from tests.scripts.made import TASK, rows, store


@pytest.fixture
def request_(tmp_path):
    """A request of Adam, two of whose three trainings are in the folder."""
    store(tmp_path / "out", rows([[1.0], [2.0], [float("nan")]], TASK))
    return Request(tmp_path / "out", (TASK,), ("adam",), steps=40, seeds=1)


def test_lines_without_a_terminal(request_, capsys):
    made = rows([[1.0], [2.0], [float("nan")]], TASK)
    with Progress(request_) as progress:
        progress.advanced(0, TASK, "adam", 0.5)
        progress.finished(made[:2], "done")
        progress.finished(made[2:], "done")
    out, err = capsys.readouterr()
    assert f"adam on {TASK}: 3 trainings of 40 steps in nan s, 1 diverged\n" in out
    assert err == ""


@pytest.mark.parametrize(
    ("outcome", "signal", "code", "said"),
    [
        (Outcome(Path("out"), {}), None, 0, ""),
        (Outcome(Path("out"), {}), 15, 0, ""),
        (Outcome(Path("out"), {("a", "adam"): 3}), 15, 143, "  adam on a: 3\nstopped by a signal"),
        (Outcome(Path("out"), {("a", "adam"): 3}, (("adam on a", "no memory"),)), None, 1, "Left to do (3 t"),
        (Outcome(Path("out"), {}, left_out={"b": "no data"}), None, 0, "Skipped for lack of data"),
    ],
)
def test_conclusions(capsys, outcome, signal, code, said):
    stop = StopRequest()
    stop.signal = signal
    assert conclude(outcome, stop) == code
    out, err = capsys.readouterr()
    assert said in out
    assert ("no memory" in err) == bool(outcome.failures)


def test_settings_have_a_folder_each_and_the_others_are_reused(tmp_path):
    first = report_request(tmp_path, (TASK,), ("celo",), steps=4, seeds=1)
    store(first.folder, rows([[1.0]]))
    assert report_request(tmp_path, (TASK,), ("celo",), steps=4, seeds=1) == first
    assert (first.optimizers, first.reuse) == (("adam", "celo"), ())
    second = report_request(tmp_path, (TASK,), ("celo",), steps=4, seeds=1, seed=2)
    assert second.folder != first.folder
    assert second.reuse == (first.folder,)
