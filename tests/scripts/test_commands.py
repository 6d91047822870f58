"""Every command refuses bad input at once: exit code 2, one clear message, no traceback, nothing created."""

import importlib
import os
import subprocess
import sys
import typing

import pytest

from celo.scripts import checks
from celo.scripts.ablate import Ablate
from celo.scripts.benchmarks.evaluate import EvaluateSpeed
from celo.scripts.benchmarks.meta import Meta
from celo.scripts.benchmarks.update import Update
from celo.scripts.cli import COMMANDS
from celo.scripts.compare import Compare
from celo.scripts.demo import Demo
from celo.scripts.evaluate import Evaluate
from celo.scripts.report import Report
from celo.scripts.studies import agreement, batch_order
from celo.scripts.studies.learning_curves import LearningCurves
from celo.scripts.targets import Targets
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
    "report": "results",
    "targets": "results",
    "studies.agreement": "results --envelope none.npz",
    "studies.batch_order": f"--tasks {TASK} --envelope none.npz",
    "studies.learning_curves": "--run-dir run --out out",
    "studies.structure": "",
    "studies.render": "",
    "benchmark meta": "",
    "benchmark update": "",
    "benchmark evaluate": f"--tasks {TASK}",
}
BENCHMARKS = {"benchmark meta": Meta, "benchmark update": Update, "benchmark evaluate": EvaluateSpeed}
CLASSES = {
    "evaluate": Evaluate,
    "compare": Compare,
    "ablate": Ablate,
    "demo": Demo,
    "report": Report,
    "targets": Targets,
    "studies.agreement": agreement.Command,
    "studies.batch_order": batch_order.Command,
    "studies.learning_curves": LearningCurves,
    **BENCHMARKS,
}


def module(command):
    return importlib.import_module(f"celo.scripts.{command.split()[0]}")


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CELO_CACHE", str(tmp_path.with_name("cache")))


@pytest.fixture
def leaves_nothing(refused):
    """The message of a command that refuses its arguments and leaves the working folder as it was."""

    def run(command, *words):
        before = sorted(os.listdir())
        line = [*command.split()[1:], *LINES[command].split(), *words]
        message = refused(module(command).main, line)
        assert sorted(os.listdir()) == before
        return message

    return run


def numbers(command):
    """Options of a command that take a number, each with whether it is whole."""
    for name, hint in typing.get_type_hints(CLASSES[command], include_extras=True).items():
        while typing.get_origin(hint) in (tuple, typing.Annotated):
            hint = typing.get_args(hint)[0]
        if hint in (int, float):
            yield name, hint is int


@pytest.mark.parametrize("command", CLASSES)
def test_absurd_numbers(command, leaves_nothing):
    found = list(numbers(command))
    assert found
    for name, whole in found:
        for number in ("1" + "0" * 30, "-" + "9" * 30, "nan", "inf", *(["1e3", "2.5"] if whole else [])):
            option = f"--{name.replace('_', '-')}={number}"
            message = leaves_nothing(command, option)
            assert name in message or option.partition("=")[0] in message, message


@pytest.mark.parametrize("command", LINES)
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
def test_absurd_arguments(command, words, message, leaves_nothing):
    assert message in leaves_nothing(command, *words)


@pytest.mark.parametrize(
    ("command", "option"),
    [
        *((name, "--out") for name in ("report", "evaluate", "compare", "ablate", "demo")),
        *((name, "--run-dir") for name in ("demo", "meta_train", "studies.learning_curves")),
        *((name, "--json") for name in BENCHMARKS),
    ],
)
def test_output_below_a_file(command, option, leaves_nothing, tmp_path):
    (tmp_path / "file").write_text("precious")
    assert "file" in leaves_nothing(command, option, "file/below/it")
    assert (tmp_path / "file").read_text() == "precious"


@pytest.mark.parametrize("command", ["evaluate", "ablate"])
def test_a_folder_with_other_files_is_refused(command, tmp_path, leaves_nothing):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("precious")
    assert "thesis.tex" in leaves_nothing(command)
    assert os.listdir(tmp_path / "out") == ["thesis.tex"]


@pytest.mark.parametrize(
    ("command", "words", "message"),
    [
        ("evaluate", ["--tasks", "ImageMLP_Digits8_Relu16_bs46"], f"Did you mean '{TASK}'"),
        ("evaluate", ["--suite", "quick"], "not both"),
        ("evaluate", ["--optimizers", "adm"], "adm"),
        ("evaluate", ["--optimizers", "adam", "adam"], "need different labels"),
        ("evaluate", ["--optimizers", "mine:no/file"], "no/file"),
        ("evaluate", ["--grid", "half"], "invalid choice"),
        ("evaluate", ["--lm-corpus", "lm2"], "Unknown corpus 'lm2'"),
        ("evaluate", ["--lm-tokenizer", "no/tokenizer.json"], "there is no file"),
        ("evaluate", ["--data-dir", "nowhere"], "nowhere"),
        ("evaluate", ["--memory-gib", "8"], "--memory-gib does not exist any more; --batch sets"),
        ("report", [], "results holds no evaluation"),
        ("report", ["--seed", "-1"], "seed is -1"),
        ("compare", ["--tasks", "ImageMLP_Digit8_Relu16_bs64"], f"Did you mean '{TASK}'"),
        ("compare", ["--run-dir", "nowhere"], "nowhere/metrics.jsonl"),
        ("compare", ["--checkpoints", "=celo"], "empty"),
        ("demo", ["--preset", "quik"], "invalid choice"),
        ("demo", ["--seeds", "0"], "seeds is 0; expected 1 to 10,000"),
        ("ablate", ["--rows", "liner"], "Did you mean 'linear'"),
        ("ablate", ["--meta-seeds", "1", "1"], "all different"),
        ("ablate", ["--data-dir", "nowhere"], "nowhere"),
        ("benchmark evaluate", ["--tasks", "ImageMLP_Digits8_Relu3_bs64"], "Unknown task"),
        ("benchmark meta", ["--json", "."], "is a folder; expected the file to write"),
        ("studies.agreement", ["--within", "2"], "within 2.0; expected one or more folders, and a number"),
        ("studies.agreement", [], "evaluation.json"),
        ("studies.batch_order", ["--steps", "15"], "expected a multiple of 10"),
        ("studies.batch_order", ["--learning-rates", "0"], "learning_rates is (0.0,)"),
        ("studies.learning_curves", ["--optimizers", "cello"], "Did you mean 'celo'"),
        ("studies.structure", ["--against", "no-such-revision"], "git has no revision 'no-such-revision'"),
    ],
)
def test_bad_names_and_values(command, words, message, leaves_nothing, monkeypatch):
    monkeypatch.setattr("celo.scripts.devices.set_up", lambda devices: None)
    assert message in leaves_nothing(command, *words)


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
