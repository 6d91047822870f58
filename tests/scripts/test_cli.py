"""The console command: dispatch, help without extras, and messages for what is missing."""

import importlib.machinery
import importlib.metadata
import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import pytest

from celo.scripts import cli
from celo.scripts.cli import COMMANDS, Command, available_commands, main


@pytest.fixture
def program(monkeypatch):
    """Install a program as the subcommand ``probe`` and return the function that sets its main."""
    module = types.ModuleType("celo.scripts.probe")
    module.__spec__ = importlib.machinery.ModuleSpec("celo.scripts.probe", loader=None)
    monkeypatch.setitem(sys.modules, "celo.scripts.probe", module)
    monkeypatch.setattr(
        cli, "COMMANDS", {"probe": Command("celo.scripts.probe", "a program for tests", "eval")}
    )
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


def test_help_lists_what_is_there(program, capsys):
    assert main(["--help"]) == 0
    assert "probe       a program for tests" in capsys.readouterr().out


def test_a_missing_command_is_an_error_that_shows_the_help(program, capsys):
    assert main([]) == 2
    assert "usage: celo COMMAND" in capsys.readouterr().err


def test_an_unknown_command_names_the_nearest_one(program, capsys):
    assert main(["prob"]) == 2
    message = capsys.readouterr().err
    assert "Unknown command 'prob'. Did you mean 'probe'? Known: probe." in message


@pytest.mark.parametrize(
    ("module", "extras"),
    [
        ("tyro", "eval,train"),
        ("PIL.Image", "eval,train"),
        ("orbax.checkpoint", "eval,train"),
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
def test_a_fault_that_no_extra_mends_is_shown_in_full(program, module):
    program(fail_with(ModuleNotFoundError(f"No module named {module!r}", name=module)))
    with pytest.raises(ModuleNotFoundError, match="No module named"):
        main(["probe"])


def test_only_programs_that_exist_are_offered(monkeypatch, capsys):
    monkeypatch.setattr(cli, "COMMANDS", {"nothing": Command("celo.scripts.no_such_program", "-", "train")})
    assert available_commands() == {}
    assert main(["nothing"]) == 2
    assert "Unknown command 'nothing'" in capsys.readouterr().err


def test_every_name_follows_its_module():
    assert all(command.module == f"scripts.{name.replace('-', '_')}" for name, command in COMMANDS.items())


@pytest.mark.parametrize("name", sorted(available_commands()))
def test_an_offered_program_has_a_main(name):
    """Read, not imported: importing every program would take longer than all of these tests."""
    spec = importlib.util.find_spec(COMMANDS[name].module)
    assert spec is not None
    assert spec.origin is not None
    assert "def main(argv: list[str] | None = None)" in Path(spec.origin).read_text()


def test_help_loads_no_heavy_package():
    """In a process of its own, because this one has them all."""
    program = (
        "import sys; from scripts.cli import main; main(['--help']); main(['--version']);"
        "print(sorted({'jax', 'numpy', 'tyro', 'wandb', 'optax'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "usage: celo" in result.stdout
    assert result.stdout.splitlines()[-2:] == [f"celo {importlib.metadata.version('celo')}", "[]"]
