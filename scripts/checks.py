"""Checks of a command line, made before a command does anything, and how a command ends when one fails.

`parse` makes all of them. What a name means (a task, an optimizer, a checkpoint) is checked by the package
that knows it, also before anything is trained or written. `program` makes the ``main`` of a command.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import os
import shlex
import sys
import typing
import unicodedata
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from celo.meta.runs.files import check_folder

Command = TypeVar("Command")

LONGEST_ARGUMENT, LONGEST_NAME, DEEPEST_PATH = 4095, 255, 100

# Field of a command -> smallest and largest value. A field means the same in every command.
RANGES: dict[str, tuple[float, float]] = {
    "batch": (0, 100_000),
    "calls": (1, 1_000_000),
    "cpus_per_job": (1, 4096),
    "eval_batches": (1, 1_000_000),
    "eval_every": (1, 10_000_000),
    "fraction": (1e-6, 1),
    "host_devices": (0, 1024),
    "iterations": (0, 100_000_000),
    "long_steps": (1, 10_000_000),
    "loop_trainings": (2, 100_000),
    "memory_gib": (0, 1e6),
    "meta_seeds": (0, 2**32 - 1),
    "per_row": (1, 1_000_000),
    "problems": (2, 1_000_000),
    "r_max": (1.001, 1e6),
    "rates": (1e-12, 1e3),
    "reps": (1, 1_000_000),
    "retries": (0, 1000),
    "seconds_per_pair": (1e-3, 1e6),
    "seed": (0, 2**32 - 1),
    "seeds": (1, 10_000),
    "steps": (1, 10_000_000),
    "time_limit": (1e-3, 1e6),
}
LARGEST = 2**53  # of numbers without an entry

# RuntimeError covers RecursionError and the error of JAX for a device with too little memory.
_EXPECTED = (ValueError, TypeError, OSError, RuntimeError, ImportError, MemoryError)
_EXPECTED += (OverflowError, SystemError)


def program(command: Any, prog: str, description: str | None, *more: Any, **named: Any) -> Callable[..., int]:
    """The ``main(argv=None)`` of a command: `parse` into its dataclass, and call the method ``run`` of that.

    ``run`` returns the exit code, where None is 0. The arguments are those of `parse` without ``argv``.
    """

    def main(argv: list[str] | None = None) -> int:
        with exit_with():
            return parse(command, argv, prog, description, *more, **named).run() or 0

    return main


@contextlib.contextmanager
def exit_with() -> Iterator[None]:
    """Turn the errors that bad input causes into one message on stderr and exit code 2.

    Set CELO_TRACEBACK=1 to see the traceback. A reader that closes the pipe early, such as ``head``, ends the
    program silently with code 1.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        sys.exit(1)
    except _EXPECTED as error:
        if os.environ.get("CELO_TRACEBACK"):
            raise
        print(f"error: {str(error) or type(error).__name__}", file=sys.stderr)
        sys.exit(2)


def parse(
    command: type[Command],
    argv: Sequence[str] | None,
    prog: str,
    description: str | None,
    folders: Sequence[str] = (),
    gone: Mapping[str, str] = {},
) -> Command:
    """Parse a command line into a dataclass, and check it.

    Args:
        command: the dataclass, or a union of subcommands; a method ``check`` of it is called last.
        argv: arguments; None = those of the process.
        prog: name for the help.
        description: text for the help.
        folders: names of fields that are folders for output.
        gone: options of earlier versions, each with the advice that an error gives.

    Raises:
        ValueError: an argument, a number or a path is not possible.
        SystemExit: from tyro, with code 2, for arguments that do not fit the dataclass.
    """
    argv = arguments(argv, _may_be_empty(command))
    for argument in argv:
        if (option := argument.partition("=")[0].replace("_", "-")) in gone:
            raise ValueError(f"{option} does not exist any more; {gone[option]}")
    found = tyro.cli(command, args=argv, description=description, prog=prog)
    numbers(found)
    for name in folders:
        if (path := getattr(found, name)) is not None:
            check_folder(Path(path))
    if (check := getattr(found, "check", None)) is not None:
        check()
    return found


def _may_be_empty(command: Any) -> set[str]:
    """The fields that take an empty text, as their default is one; those of nested dataclasses too."""
    if not dataclasses.is_dataclass(command):
        return set().union(*map(_may_be_empty, typing.get_args(command)))
    fields = dataclasses.fields(command)
    nested = (_may_be_empty(field.default) for field in fields if dataclasses.is_dataclass(field.default))
    return {field.name for field in fields if field.default == ""}.union(*nested)


def arguments(argv: Sequence[str] | None, may_be_empty: Collection[str] = ()) -> list[str]:
    """Returns the arguments of a command line; None = those of the process.

    ValueError if one is too long, not text, holds a line break or another control character, or is empty and
    not the value of a field that may be.
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    for before, argument in zip(["", *argv], argv, strict=False):
        option, equals, value = argument.partition("=")
        if not option.startswith("--"):
            option, equals, value = before, "=", argument
        field = option.lstrip("-").rpartition(".")[2].replace("-", "_")
        if equals and not value and field not in may_be_empty:
            raise ValueError(f"an argument is empty: {shlex.join(argv)}")
        names = one_line(argument).split("/")
        if len(argument) > LONGEST_ARGUMENT or max(len(name.encode()) for name in names) > LONGEST_NAME:
            raise ValueError(f"an argument is too long: {argument[:60]}... has {len(argument):,} characters")
        if len(names) > DEEPEST_PATH:
            raise ValueError(f"a path is too deep: {argument[:60]}... has {len(names)} levels")
    return argv


def one_line(text: str) -> str:
    """Returns a text; ValueError if it holds a control character, such as a line break, or is not UTF-8."""
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in text):
        raise ValueError(f"{text!r} holds a line break or another control character; expected plain text")
    return text


def command_line(words: Sequence[str]) -> str:
    """Words as one line that a shell reads back as exactly these words; ValueError as `one_line`."""
    return shlex.join(map(one_line, words))


def options(found: Any, default: Any = None, prefix: str = "", without: Collection[str] = ()) -> list[str]:
    """The options that turn a dataclass ``default``, None = that of its fields' defaults, into ``found``."""
    words = []
    for field in dataclasses.fields(found):
        value, name = getattr(found, field.name), field.name.replace("_", "-")
        plain = field.default if default is None else getattr(default, field.name)
        if field.name in without or value == plain:
            continue
        if isinstance(value, bool):
            words.append(f"--{prefix}{name}" if value else f"--{prefix}no-{name}")
        else:
            words += [f"--{prefix}{name}", *map(str, value if isinstance(value, tuple) else [value])]
    return words


def shell_command(program: str, words: Sequence[str]) -> str:
    """A line for a shell in any folder, which runs a program of this package in the working folder of now."""
    # -P: a package named celo in the working folder is not imported instead.
    python = [sys.executable, "-P", "-m", f"celo.scripts.{program}", *words]
    return f"{command_line(['cd', os.getcwd()])} && {command_line(python)}"


def numbers(command: Any) -> None:
    """Checks every number of a dataclass against `RANGES`; ValueError with the field and its value."""
    for field in dataclasses.fields(command):
        value = getattr(command, field.name)
        for number in value if isinstance(value, tuple) else (value,):
            if dataclasses.is_dataclass(number):
                numbers(number)
            elif isinstance(number, int | float) and not isinstance(number, bool):
                low, high = RANGES.get(field.name, (-LARGEST, LARGEST))
                if not low <= number <= high:  # false for NaN
                    expected = f"{low:,} to {high:,}" if math.isfinite(number) else "a finite number"
                    raise ValueError(f"{field.name} is {number}; expected {expected}")


def output_file(path: str | Path) -> None:
    """Checks that a file can be written, OSError if not; an empty name means no file."""
    if not str(path):
        return
    place = Path(path).absolute()
    if place.is_dir():
        raise IsADirectoryError(f"{path} is a folder; expected the file to write")
    if not place.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {place.parent} for {place.name}")
    check_folder(place.parent)
