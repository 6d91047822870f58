"""Every command refuses bad input at once: exit code 2, one clear message, no traceback, nothing created."""

import importlib
import os
import subprocess
import sys
import typing

import pytest

from celo.scripts import checks
from celo.scripts.benchmarks.evaluate import EvaluateSpeed
from celo.scripts.benchmarks.meta import Meta
from celo.scripts.benchmarks.update import Update
from celo.scripts.cli import COMMANDS
from tests.scripts.made import TASK

# Command, then a line that is correct but for what a test adds to it.
LINES = {
    "meta_train": "--run-dir run",
    "evaluate": f"--optimizers sgd@0.1 --tasks {TASK} --out out",
    "compare": f"--checkpoints celo --tasks {TASK} --out out",
    "ablate": f"--out out --tasks {TASK}",
    "demo": "--out out --run-dir run",
    "convert": "celo out.safetensors",
    "list": "suites",
    "benchmark meta": "",
    "benchmark update": "",
    "benchmark evaluate": f"--tasks {TASK}",
    "studies.agreement": "results --envelope none.npz",
    "studies.batch_order": f"--tasks {TASK} --envelope none.npz",
    "studies.learning_curves": "--run-dir run --out out",
    "studies.structure": "",
    "studies.render": "",
}
CLASSES = {
    "evaluate": "Evaluate",
    "compare": "Compare",
    "ablate": "Ablate",
    "demo": "Demo",
    "studies.agreement": "Command",
    "studies.batch_order": "Command",
    "studies.learning_curves": "LearningCurves",
}


def module(command):
    return importlib.import_module(f"celo.scripts.{command.split()[0]}")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CELO_CACHE", str(tmp_path.with_name("cache")))


def refused(command, words, capsys, before=()):
    """The message of a command that refuses its arguments and leaves the working folder as it was."""
    with pytest.raises(SystemExit) as ended:
        module(command).main([*command.split()[1:], *words])
    captured = capsys.readouterr()
    assert ended.value.code == 2, captured
    assert captured.out == ""
    assert "Traceback" not in captured.err
    assert sorted(os.listdir()) == sorted(before)
    return " ".join(captured.err.replace("│", " ").split())


def numbers(command):
    """Options of a command that take a number, each with whether it is whole."""
    kind = {"benchmark meta": Meta, "benchmark update": Update, "benchmark evaluate": EvaluateSpeed}.get(
        command
    )
    hints = typing.get_type_hints(kind or getattr(module(command), CLASSES[command]), include_extras=True)
    for name, hint in hints.items():
        while (
            typing.get_args(hint)
            and typing.get_args(hint)[0] not in (type(None),)
            and hint not in (int, float)
        ):
            hint = typing.get_args(hint)[0]
        if hint in (int, float):
            yield name, hint is int


@pytest.mark.parametrize("command", [*CLASSES, "benchmark meta", "benchmark update", "benchmark evaluate"])
def test_absurd_numbers(command, capsys):
    found = list(numbers(command))
    assert found
    for name, whole in found:
        for number in ("1" + "0" * 30, "-" + "9" * 30, "nan", "inf", *(["1e3", "2.5"] if whole else [])):
            option = f"--{name.replace('_', '-')}={number}"
            message = refused(command, [*LINES[command].split(), option], capsys)
            assert name in message or option.partition("=")[0] in message, message


@pytest.mark.parametrize("command", [name for name in LINES if name != "meta_train"])
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--out", ""], "empty"),
        (["a\nb"], "line break or another control character"),
        (["a\x1b[2J"], "control character"),
        (["a\u2028b"], "line break"),
        (["\udcff"], "control character"),
        (["/".join("a" * 300)], "too deep: a/a/a"),
        (["a" * 300], "too long"),
        (["--no-such-option"], "--no-such-option"),
    ],
    ids=["empty", "break", "escape", "separator", "bytes", "deep", "long", "option"],
)
def test_absurd_arguments(command, words, message, capsys):
    assert message in refused(command, [*LINES[command].split(), *words], capsys)


OUTPUTS = {
    "evaluate": ["--out"],
    "compare": ["--out"],
    "ablate": ["--out"],
    "demo": ["--out", "--run-dir"],
    "benchmark meta": ["--json"],
    "benchmark update": ["--json"],
    "benchmark evaluate": ["--json"],
    "studies.learning_curves": ["--out", "--run-dir"],
}


@pytest.mark.parametrize(("command", "option"), [(name, one) for name, own in OUTPUTS.items() for one in own])
def test_output_below_a_file(command, option, tmp_path, capsys):
    (tmp_path / "file").write_text("precious")
    line = [*LINES[command].split(), option, "file/below/it"]
    assert "file" in refused(command, line, capsys, before=["file"])
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("command", ["evaluate", "ablate"])
def test_a_folder_with_other_files_is_refused(command, tmp_path, capsys):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    message = refused(command, LINES[command].split(), capsys, before=["out"])
    assert "out holds other files, such as thesis.tex" in message
    assert os.listdir(tmp_path / "out") == ["thesis.tex"]


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("evaluate", ["--tasks", "ImageMLP_Digits8_Relu16_bs46"], f"Did you mean '{TASK}'"),
        ("evaluate", ["--suite", "quick"], "not both"),
        ("evaluate", ["--optimizers", "adm"], "adm"),
        ("evaluate", ["--optimizers", "adam", "adam"], "need different labels"),
        ("evaluate", ["--optimizers", "mine:no/file"], "no/file"),
        ("evaluate", ["--optimizers", "adam", "adam:celo"], "the label 'adam' is the name of a baseline"),
        ("evaluate", ["--grid", "half"], "invalid choice"),
        ("evaluate", ["--tracker", "wnadb"], "invalid choice"),
        ("evaluate", ["--lm-corpus", "lm2"], "Unknown corpus 'lm2'"),
        ("evaluate", ["--lm-tokenizer", "no/tokenizer.json"], "there is no file"),
        ("evaluate", ["--data-dir", "nowhere"], "nowhere"),
        ("compare", ["--tasks", "ImageMLP_Digit8_Relu16_bs64"], f"Did you mean '{TASK}'"),
        ("compare", ["--run-dir", "nowhere"], "nowhere/metrics.jsonl"),
        ("compare", ["--checkpoints", "=celo"], "empty"),
        ("demo", ["--preset", "quik"], "invalid choice"),
        ("demo", ["--seeds", "0"], "seeds is 0; expected 1 to 10,000"),
        ("ablate", ["--rows", "liner"], "Did you mean 'linear'"),
        ("ablate", ["--tables", "part"], "invalid choice"),
        ("ablate", ["--meta-seeds", "1", "1"], "all different"),
        ("ablate", ["--tasks", "ImageMLP_Digits8_Relu15"], "Did you mean"),
        ("ablate", ["--data-dir", "nowhere"], "nowhere"),
        ("benchmark evaluate", ["--tasks", "ImageMLP_Digits8_Relu3_bs64"], "Unknown task"),
        ("benchmark meta", ["--json", "."], "is a folder; expected the file to write"),
        ("list", ["recipes"], "Unrecognized options"),
        ("studies.agreement", ["--within", "2"], "within 2.0; expected one or more folders, and a number"),
        ("studies.agreement", [], "evaluation.json"),
        ("studies.batch_order", ["--steps", "15"], "expected a multiple of 10"),
        ("studies.batch_order", ["--learning-rates", "0"], "learning_rates is (0.0,)"),
        ("studies.learning_curves", ["--optimizers", "cello"], "Did you mean 'celo'"),
        ("studies.structure", ["--against", "no-such-revision"], "git has no revision 'no-such-revision'"),
    ],
)
def test_bad_names_and_values(command, words, message, capsys, monkeypatch):
    monkeypatch.setattr("celo.scripts.devices.set_up", lambda devices: None)
    assert message in refused(command, [*LINES[command].split(), *words], capsys)


def test_a_reader_that_closes_the_pipe_sees_no_error():
    code = "from celo.scripts.list import main; main(['tasks'])"
    program = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert program.stdout is not None
    assert program.stderr is not None
    program.stdout.close()
    assert program.stderr.read() == b""
    program.stderr.close()
    assert program.wait() == 1


def test_help_loads_nothing_heavy_beyond_the_package():
    """In a new process; `celo` itself imports JAX."""
    heavy = "{'matplotlib', 'pandas', 'pyarrow', 'rliable', 'datasets', 'wandb', 'sklearn', 'ray'}"
    program = (
        f"import sys\nfrom celo.scripts import cli\nfor name in {list(COMMANDS)}:\n"
        "  try: cli.main([name, '--help'])\n  except SystemExit as ended: assert not ended.code\n"
        f"  print(name, sorted({heavy} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    for name in COMMANDS:
        assert f"usage: celo {name}" in done.stdout
        assert f"{name} []" in done.stdout.splitlines()


def test_a_command_line_is_one_line_that_a_shell_reads_back():
    assert checks.command_line(["a b", "it's", "$(x)", "é"]) == """'a b' 'it'"'"'s' '$(x)' 'é'"""
    for word in ("a\nb", "a\rb", "a\x00", "a\x85b"):
        with pytest.raises(ValueError, match="line break or another control character"):
            checks.command_line(["echo", word])
