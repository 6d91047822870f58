"""The command that times updates: resumable, failures recorded, bad input refused before it measures."""

import json
import os
import signal
import sys
import time

import numpy as np
import pytest

from celo.scripts import benchmark
from celo.scripts.benchmarks import picture, update, update_cost
from celo.scripts.benchmarks.measuring import MeasuringProcess, UnansweredError

TASK = "ImageMLP_Digits8_Relu32_bs64"
OTHERS = ["tensor:1e4", "tensor:10000"]  # equal trees
MACHINE = {"device": "abacus"}


class Process:
    """Replaces the child process: made-up answers, recorded questions."""

    asked: list
    refuse: dict

    def __init__(self, time_limit, cached=True):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def ask(self, function, **arguments):
        if function is update_cost.machine:
            return dict(MACHINE)
        if function is update_cost.state_bytes:
            return 8.0
        self.asked.append((arguments["task"], arguments["optimizer"]))
        if arguments["optimizer"] in self.refuse:
            raise UnansweredError(self.refuse[arguments["optimizer"]])
        return {"ratio": 2.0, "adam_milliseconds": 1.0, "floor_ratio": 4.0}


@pytest.fixture
def process(monkeypatch):
    Process.asked, Process.refuse = [], {}
    monkeypatch.setattr(update, "MeasuringProcess", Process)
    return Process


def run(path, *more):
    return benchmark.main(["update", "--json", str(path), "--optimizers", "celo", "sgd", *more])


def test_each_pair_is_measured_once_and_the_same_command_resumes(process, tmp_path, capsys):
    """Equal trees share a measurement."""
    path = tmp_path / "out.json"
    assert run(path, "--tasks", TASK, *OTHERS) == 0
    pairs = [(task, name) for task in (TASK, OTHERS[0]) for name in ("celo", "sgd")]
    assert process.asked == pairs
    found = json.loads(path.read_text())
    assert found["machine"] == MACHINE
    assert list(found["tasks"]) == [TASK, *OTHERS]
    assert all(cost["ratio"] == 2.0 for cost in found["costs"])
    assert capsys.readouterr().out.count(" 2.00 |") == 6 + 2  # pairs with both names of a tree, and means
    run(path, "--tasks", TASK, *OTHERS)
    assert process.asked == pairs


def test_a_failure_is_recorded_with_its_reason_and_retried(process, tmp_path, capsys):
    process.refuse = {"celo": "no result within 600 s"}
    path = tmp_path / "out.json"
    run(path, "--tasks", TASK)
    first, second = json.loads(path.read_text())["costs"]
    assert first["failed"] == "no result within 600 s"
    assert first["state_bytes_per_parameter"] == 8.0
    assert second["ratio"] == 2.0
    assert f"Not measured:\n- celo on {TASK}: no result within 600 s" in capsys.readouterr().out
    process.refuse, process.asked = {}, []
    run(path, "--tasks", TASK)
    assert Process.asked == [(TASK, "celo")]
    assert "failed" not in path.read_text()


def failed(argv, capsys):
    with pytest.raises(SystemExit) as raised:
        benchmark.main(["update", *argv])
    assert raised.value.code == 2
    return " ".join(capsys.readouterr().err.replace("│", " ").split())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("--tasks ImageMLP_Digit8_Relu32_bs64", "Did you mean 'ImageMLP_Digits8_Relu32_bs64'"),
        ("--optimizers adm", "Unknown optimizer 'adm'. Did you mean 'adam'"),
        ("--optimizers celo[kernels=cuda]", "kernels is 'cuda'; expected 'plain' or 'pallas'"),
        ("--optimizers celo[kernel=pallas]", "celo has no option 'kernel'. Did you mean 'kernels'"),
        ("--optimizers adam[state_dtype=float16]", "state_dtype is 'float16'; expected 'float32' or"),
        ("--optimizers adam[b1=0.8|0.9]", "the option b1 of adam[b1=0.8|0.9] has 2 values; expected one"),
        ("--tasks tensor:1e9", "'tensor:1e9' is no tree; expected tensor:1e4 to tensor:1e8"),
        ("--tasks transformer:12", "'transformer:12' is no tree"),
        ("--picture out.pdf", "picture is out.pdf; expected a name that ends in .svg or .png"),
        ("--picture none/out.svg", "there is no folder"),
        ("--calls 1", "calls is 1; expected at least 3"),
        ("--time-limit 0", "time_limit is 0.0; expected"),
        ("--json none/out.json", "there is no folder"),
    ],
)
def test_bad_command_lines(process, capsys, line, message):
    assert message in failed(line.split(), capsys)
    assert process.asked == []


def test_a_file_of_another_machine_or_program_is_kept(process, tmp_path, capsys, monkeypatch):
    path = tmp_path / "out.json"
    run(path, "--tasks", TASK)
    before = path.read_bytes()
    assert "was measured with settings" in failed(["--json", str(path), "--calls", "4"], capsys)
    monkeypatch.setitem(MACHINE, "device", "slide rule")
    assert "was measured with machine {'device': 'abacus'}" in failed(["--json", str(path)], capsys)
    assert path.read_bytes() == before
    for foreign in ("{}", "[" * 100_000):
        path.write_text(foreign)
        assert "is not a file of figures" in failed(["--json", str(path)], capsys)
        assert path.read_text() == foreign


FIGURES = {
    "tasks": {
        "A": {"tree": "1", "tensors": 2, "parameters": 1200},
        "B": {"tree": "1", "tensors": 2, "parameters": 1200},
        "C": {"tree": "2", "tensors": 1, "parameters": 10},
    },
    "costs": [
        {"tree": "1", "optimizer": "celo", "ratio": 16.0, "floor_ratio": 2.0, "milliseconds": 123.4},
        {"tree": "1", "optimizer": "sgd", "ratio": 0.5, "floor_ratio": 1.0, "milliseconds": 0.5},
        {"tree": "2", "optimizer": "celo", "ratio": 4.0, "floor_ratio": 8.0, "milliseconds": 4.0},
        {"tree": "2", "optimizer": "sgd", "state_bytes_per_parameter": 0.0, "failed": "no result in 1 s"},
    ],
}
for one in FIGURES["costs"]:
    one |= {} if "failed" in one else {"adam_milliseconds": 1.0, "floor_milliseconds": 0.1}


def test_the_table():
    """Equal trees share their figures and count once in the mean; a failed pair has no mean."""
    table, _, failed = update.describe(FIGURES, ["celo", "sgd"]).replace("\\", "").partition("\n\n")
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in table.splitlines()]
    assert cells[0][:6] == ["tree", "optimizer", "parameters", "ms", "/ Adam", "/ floor"]
    assert [line[:6] for line in cells[2:]] == [
        ["A", "celo", "1,200", "123", "16.0", "2.00"],
        ["A", "sgd", "1,200", "0.500", "0.500", "1.00"],
        ["B", "celo", "1,200", "123", "16.0", "2.00"],
        ["B", "sgd", "1,200", "0.500", "0.500", "1.00"],
        ["C", "celo", "10", "4.00", "4.00", "8.00"],
        ["C", "sgd", "10", "", "", ""],
        ["geometric mean, 2 trees", "celo", "", "", "8.00", "4.00"],
    ]
    assert failed == "Not measured:\n- sgd on C: no result in 1 s"


@pytest.mark.parametrize(("kind", "begin"), [("svg", b"<?xml"), ("png", b"\x89PNG")])
def test_the_picture(tmp_path, kind, begin):
    """A line of trees of one tensor and circles of others; Adam, then each optimizer and its floor."""
    figure = picture.draw(FIGURES, ["celo", "adam"])
    (axis,) = figure.axes
    drawn = [(line.get_label(), np.asarray(line.get_xydata()).tolist()) for line in axis.lines]
    assert [points for _, points in drawn] == [
        [[10, 1.0]], [[1200, 1.0]], [[10, 4.0]], [[1200, 123.4]], [[10, 0.1]],
    ]  # fmt: skip
    assert axis.get_legend_handles_labels()[1] == ["adam", "celo", "celo: floor"]
    picture.save(figure, tmp_path / f"out.{kind}")
    assert (tmp_path / f"out.{kind}").read_bytes().startswith(begin)


def kill():
    os.kill(os.getpid(), signal.SIGKILL)


def leave():
    sys.exit(3)


def too_large():
    raise MemoryError("too large")


def sleep():
    time.sleep(60)


def echo(x):
    return x


def test_a_process_that_dies_or_hangs_costs_one_answer():
    with MeasuringProcess() as process:
        for function, message in (
            (kill, r"killed \(signal SIGKILL\), as happens when memory runs out"),
            (leave, "exit code 3"),
            (too_large, "too large"),
            (sleep, "no result within 2 s"),
        ):
            assert process.ask(echo, x=1) == 1
            process.time_limit = 2.0 if function is sleep else None
            with pytest.raises(UnansweredError, match=message):
                process.ask(function)
            process.time_limit = None
        assert process.ask(echo, x=[2]) == [2]


@pytest.mark.slow
def test_real_figures(tmp_path):
    path = tmp_path / "out.json"
    arguments = ["--tasks", TASK, "--optimizers", "adam", "learnable_sgd", "--calls", "3"]
    arguments += ["--picture", str(tmp_path / "out.svg")]
    assert benchmark.main(["update", "--json", str(path), *arguments]) == 0
    found = json.loads(path.read_text())
    adam = next(cost for cost in found["costs"] if cost["optimizer"] == "adam")
    assert 0.2 < adam["ratio"] < 5.0
    assert adam["floor_ratio"] > 0.5
    assert "celo" not in (tmp_path / "out.svg").read_text()
    assert found["tasks"][TASK]["parameters"] == 64 * 32 + 32 + 32 * 10 + 10
