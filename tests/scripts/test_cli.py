"""The console command: dispatch, help without extras, and messages for what is missing."""

import importlib
import importlib.machinery
import importlib.metadata
import sys
import types

import pytest

from celo.scripts import cli
from celo.scripts.cli import Command, main


@pytest.fixture
def program(monkeypatch):
    """Install a program as the subcommand ``probe`` and return the function that sets its main."""
    module = types.ModuleType("celo.scripts.probe")
    module.__spec__ = importlib.machinery.ModuleSpec("celo.scripts.probe", loader=None)
    monkeypatch.setitem(sys.modules, "celo.scripts.probe", module)
    monkeypatch.setattr(cli, "COMMANDS", {"probe": Command("a program for tests")})
    return lambda function: setattr(module, "main", function)


def fail_with(error):
    def run(argv):
        raise error

    return run


@pytest.mark.parametrize(("returned", "status"), [(None, 0), (0, 0), (3, 3)])
def test_arguments_go_in_and_the_status_comes_out(program, returned, status):
    seen = []
    program(lambda argv: seen.append(argv) or returned)
    assert main(["probe", "--steps", "3"]) == status
    assert seen == [["--steps", "3"]]


@pytest.mark.parametrize(
    ("words", "status", "said"),
    [
        (["--help"], 0, "probe       a program for tests"),
        ([], 2, "usage: celo COMMAND"),
        (["prob"], 2, "Unknown command 'prob'. Did you mean 'probe'? Known: probe."),
    ],
)
def test_help_and_bad_command_lines(program, capsys, words, status, said):
    assert main(words) == status
    assert said in capsys.readouterr()[status and 1]


@pytest.mark.parametrize(
    ("module", "extras"),
    [
        ("tyro", "eval,train"),
        ("PIL.Image", "eval,train"),
        ("huggingface_hub", "eval,train"),
        ("matplotlib", "eval"),
        ("ray", "cluster,eval"),
    ],
)
def test_a_missing_optional_package_names_its_extra(program, capsys, module, extras):
    program(fail_with(ModuleNotFoundError(f"No module named {module!r}", name=module)))
    assert main(["probe"]) == 1
    message = capsys.readouterr().err
    assert f"{module!r} is not installed" in message
    assert f"pip install 'celo[{extras}]'" in message


@pytest.mark.parametrize("module", ["celo.nowhere", "celo.meta.nowhere", "no_such_package", "numpy"])
def test_other_import_errors_are_shown_in_full(program, module):
    program(fail_with(ModuleNotFoundError(f"No module named {module!r}", name=module)))
    with pytest.raises(ModuleNotFoundError, match="No module named"):
        main(["probe"])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["suites"], "quick "),
        (["tasks", "--contains", "digits8_relu16"], "ImageMLP_Digits8_Relu16_bs64  digits"),
        (["optimizers", "--contains", "muon"], "muon  hand-designed"),
        (["presets"], "quick  1,000 + 500 meta-iterations on ImageMLP_Digits8_Relu32_bs64"),
    ],
)
def test_list(words, line, capsys):
    assert main(["list", *words]) == 0
    assert any(found.startswith(line) for found in capsys.readouterr().out.splitlines())
