"""The command that times updates: resumable, failures recorded, bad input refused before it measures."""

import json
import os
import signal
import sys
import time

import pytest

from celo.scripts import benchmark
from celo.scripts.benchmarks import update, update_cost
from celo.scripts.benchmarks.measuring import MeasuringProcess, UnansweredError

TASK = "ImageMLP_Digits8_Relu32_bs64"
OTHERS = ["ImageMLP_Digits8_Relu16_bs64", "ImageMLP_Digits8_Tanh32_bs64"]
MACHINE = {"device": "abacus"}


class Process:
    """Replaces the child process: made-up answers, recorded questions."""

    asked: list
    refuse: dict

    def __init__(self, time_limit):
        pass

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def ask(self, function, **arguments):
        if function is update_cost.machine:
            return dict(MACHINE)
        if function is update_cost.tree:
            size = 10 if arguments["task"] == TASK else 20
            return {"tree": f"tree{size}", "tensors": 1, "parameters": size}
        if function is update_cost.state_bytes:
            return 8.0
        self.asked.append((arguments["task"], arguments["optimizer"]))
        if arguments["optimizer"] in self.refuse:
            raise UnansweredError(self.refuse[arguments["optimizer"]])
        return {"ratio": 2.0, "adam_milliseconds": 1.0}


@pytest.fixture
def process(monkeypatch):
    Process.asked, Process.refuse = [], {}
    monkeypatch.setattr(update, "MeasuringProcess", Process)
    return Process


def run(path, *more):
    return benchmark.main(["update", "--json", str(path), "--optimizers", "celo", "sgd", *more])


def test_each_pair_is_measured_once_and_the_same_command_resumes(process, tmp_path, capsys):
    """Tasks of equal parameters share a measurement."""
    path = tmp_path / "out.json"
    assert run(path, "--tasks", TASK, *OTHERS) == 0
    pairs = [(task, name) for task in (TASK, OTHERS[0]) for name in ("celo", "sgd")]
    assert process.asked == pairs
    found = json.loads(path.read_text())
    assert found["machine"] == MACHINE
    assert list(found["tasks"]) == [TASK, *OTHERS]
    assert all(cost["ratio"] == 2.0 for cost in found["costs"])
    out = capsys.readouterr().out
    assert out.count("| update time / Adam's") == 2  # learned ones and hand-designed ones
    assert out.count("| state bytes per parameter") == 2
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


TREES = {
    "A": {"tree": "1", "tensors": 2, "parameters": 1200},
    "B": {"tree": "1", "tensors": 2, "parameters": 1200},
    "C": {"tree": "2", "tensors": 1, "parameters": 10},
}


def cost(tree, optimizer, ratio, adam=0.5, size=8.0):
    found = {"tree": tree, "optimizer": optimizer, "state_bytes_per_parameter": size}
    return {**found, "ratio": ratio, "adam_milliseconds": adam}


FIGURES = {
    "tasks": TREES,
    "costs": [
        cost("1", "celo", 16.0, 0.25),
        cost("1", "sgd", 0.5, 0.75, size=0.0),
        cost("2", "celo", 4.0),
        {"tree": "2", "optimizer": "sgd", "state_bytes_per_parameter": 0.0, "failed": "no result within 1 s"},
    ],
}


@pytest.mark.parametrize(
    ("field", "optimizers", "cells"),
    [
        (
            "ratio",
            ["celo", "sgd", "lion"],
            [
                ["update time / Adam's", "parameters", "Adam, ms", "celo", "sgd", "lion"],
                ["A", "1,200", "0.500", "16.0", "0.500", ""],
                ["B", "1,200", "0.500", "16.0", "0.500", ""],
                ["C", "10", "0.500", "4.00", "failed", ""],
                ["geometric mean, 2 trees", "", "", "8.00", "", ""],
            ],
        ),
        (
            "state_bytes_per_parameter",
            ["sgd", "celo"],
            [
                ["state bytes per parameter", "parameters", "sgd", "celo"],
                ["A", "1,200", "0.00", "8.00"],
                ["B", "1,200", "0.00", "8.00"],
                ["C", "10", "0.00", "8.00"],
            ],
        ),
    ],
)
def test_tables(field, optimizers, cells):
    """Equal trees share their figures and count once in the mean; a failed pair has no mean."""
    lines = update.table(FIGURES, field, optimizers).replace("\\", "").splitlines()
    assert [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if "--" not in line] == cells


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
    assert benchmark.main(["update", "--json", str(path), *arguments]) == 0
    found = json.loads(path.read_text())
    adam = next(cost for cost in found["costs"] if cost["optimizer"] == "adam")
    assert 0.2 < adam["ratio"] < 5.0
    assert found["tasks"][TASK]["parameters"] == 64 * 32 + 32 + 32 * 10 + 10
