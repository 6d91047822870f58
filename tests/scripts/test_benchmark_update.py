"""The command that times updates: resumable, nothing lost silently, bad input before anything is measured."""

import json

import pytest

from celo.scripts import benchmark, benchmark_update
from celo.scripts.measuring_process import MeasuringProcess, UnansweredError

TASK = "ImageMLP_Digits8_Relu32_bs64"
MACHINE = {"device": "abacus"}


class Process:
    """Instead of a child process: answers made up, questions noted."""

    asked: list
    refuse: dict

    def __init__(self, worker, time_limit):
        assert worker == "update-worker"

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        pass

    def ask(self, request):
        type(self).asked.append(request)
        if request["what"] == "machine":
            return dict(MACHINE)
        if request["what"] == "tree":
            size = 10 if request["task"] == TASK else 20
            return {"tree": f"tree{size}", "tensors": 1, "parameters": size}
        if request["what"] == "state":
            return {"state_bytes_per_parameter": 8.0}
        if request["optimizer"] in type(self).refuse:
            raise UnansweredError(type(self).refuse[request["optimizer"]])
        return {"ratio": 2.0, "adam_milliseconds": 1.0}


@pytest.fixture
def process(monkeypatch):
    Process.asked, Process.refuse = [], {}
    monkeypatch.setattr(benchmark_update, "MeasuringProcess", Process)
    return Process


def costs_asked(process):
    return [(r["task"], r["optimizer"]) for r in process.asked if r["what"] == "cost"]


def run(path, *more):
    return benchmark.main(["update", "--json", str(path), "--optimizers", "celo", "sgd", *more])


def test_all_pairs_once(process, tmp_path, capsys):
    """Tasks of equal parameters share a measurement."""
    others = ["ImageMLP_Digits8_Relu16_bs64", "ImageMLP_Digits8_Tanh32_bs64"]
    assert run(tmp_path / "out.json", "--tasks", TASK, *others) == 0
    assert costs_asked(process) == [(TASK, "celo"), (TASK, "sgd"), (others[0], "celo"), (others[0], "sgd")]
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["machine"] == MACHINE
    assert list(found["tasks"]) == [TASK, *others]
    assert all(cost["ratio"] == 2.0 for cost in found["costs"])
    out = capsys.readouterr().out
    assert out.count("| update time / Adam's") == 2  # learned ones and hand-designed ones
    assert out.count("| state bytes per parameter") == 2


def test_the_same_command_goes_on(process, tmp_path):
    path = tmp_path / "out.json"
    run(path, "--tasks", TASK)
    process.asked.clear()
    run(path, "--tasks", TASK)
    assert costs_asked(process) == []
    run(path, "--tasks", TASK, "ImageMLP_Digits8_Relu16_bs64")
    assert [task for task, _ in costs_asked(process)] == ["ImageMLP_Digits8_Relu16_bs64"] * 2


def test_what_fails_is_written_with_its_reason(process, tmp_path, capsys):
    process.refuse = {"celo": "no result within 600 s"}
    run(tmp_path / "out.json", "--tasks", TASK)
    first, second = json.loads((tmp_path / "out.json").read_text())["costs"]
    assert first["failed"] == "no result within 600 s"
    assert first["state_bytes_per_parameter"] == 8.0
    assert second["ratio"] == 2.0
    process.refuse = {}
    process.asked.clear()
    shown = capsys.readouterr().out
    run(tmp_path / "out.json", "--tasks", TASK)  # what failed is tried again, and nothing else
    assert costs_asked(process) == [(TASK, "celo")]
    assert "failed" not in (tmp_path / "out.json").read_text()
    assert f"Not measured:\n- celo on {TASK}: no result within 600 s" in shown


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
        ("--seconds-per-pair 0", "seconds is 0.0; expected a positive number"),
        ("--time-limit 0", "time_limit is 0.0; expected a positive number of seconds"),
        ("--memory-gib -1", "gibibytes is -1.0"),
        ("--json none/out.json", "there is no folder"),
    ],
)
def test_bad_command_lines(process, capsys, line, message):
    assert message in failed(line.split(), capsys)
    assert process.asked == []


def test_figures_of_another_machine_or_of_something_else_are_kept(process, tmp_path, capsys, monkeypatch):
    path = tmp_path / "out.json"
    run(path, "--tasks", TASK)
    before = path.read_bytes()
    assert "was measured with settings" in failed(["--json", str(path), "--calls", "4"], capsys)
    monkeypatch.setitem(MACHINE, "device", "slide rule")
    assert "was measured with machine {'device': 'abacus'}" in failed(["--json", str(path)], capsys)
    assert path.read_bytes() == before
    path.write_text("{}")
    assert "is not a file of figures" in failed(["--json", str(path)], capsys)
    assert path.read_text() == "{}"


def test_a_process_that_dies_or_hangs_costs_one_answer(tmp_path, monkeypatch):
    """A child of its own kind: it echoes, exits, sleeps, or kills itself, as asked."""
    child = tmp_path / "child.py"
    child.write_text(
        "import json, os, signal, sys, time\n"
        "for line in sys.stdin:\n"
        "    request = json.loads(line)\n"
        "    if request.get('die'): os.kill(os.getpid(), signal.SIGKILL)\n"
        "    if request.get('exit'): sys.exit(3)\n"
        "    if request.get('sleep'): time.sleep(60)\n"
        "    print(json.dumps(request), flush=True)\n"
    )
    process = MeasuringProcess("unused", time_limit=5.0)
    monkeypatch.setattr(process, "_command", [benchmark_update.sys.executable, str(child)])
    with process:
        for request, message in (
            ({"die": 1}, r"killed \(signal SIGKILL\), as happens when memory runs out"),
            ({"exit": 1}, "exit code 3"),
            ({"error": "too large"}, "too large"),
            ({"sleep": 1}, "no result within 5 s"),
        ):
            assert process.ask({"x": 1}) == {"x": 1}
            with pytest.raises(UnansweredError, match=message):
                process.ask(request)
        assert process.ask({"x": 2}) == {"x": 2}


@pytest.mark.slow
def test_real_figures(tmp_path, capsys):
    path = tmp_path / "out.json"
    arguments = [
        "--json",
        str(path),
        "--tasks",
        TASK,
        "--optimizers",
        "adam",
        "learnable_sgd",
        "--calls",
        "3",
    ]
    assert benchmark.main(["update", *arguments]) == 0
    found = json.loads(path.read_text())
    adam = next(cost for cost in found["costs"] if cost["optimizer"] == "adam")
    assert 0.2 < adam["ratio"] < 5.0
    assert found["tasks"][TASK]["parameters"] == 64 * 32 + 32 + 32 * 10 + 10
