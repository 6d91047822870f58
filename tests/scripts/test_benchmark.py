"""What `celo benchmark` offers, and what it only starts itself."""

import pytest

from celo.scripts import benchmark


def helped(argv, capsys):
    """The help of a command line, without frames and line breaks."""
    with pytest.raises(SystemExit) as raised:
        benchmark.main([*argv, "--help"])
    assert raised.value.code == 0
    return " ".join(capsys.readouterr().out.replace("│", " ").split())


def test_the_help_names_what_is_of_use_to_people(capsys):
    text = helped([], capsys)
    assert text.startswith("usage: celo benchmark [-h] {meta,update,evaluate}")
    assert not [name for name in benchmark.PROCESSES if name in text]


@pytest.mark.parametrize("name", [*benchmark.COMMANDS, *benchmark.PROCESSES])
def test_every_command_can_be_called(name, capsys):
    assert f"usage: celo benchmark {name} [-h]" in helped([name], capsys)
