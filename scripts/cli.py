"""The console command ``celo``: it passes the arguments to a program in ``scripts/``.

Every program is a module with ``main(argv: list[str] | None = None) -> int | None`` and also runs as
``python -m scripts.NAME``. A program is imported only when it is called, so ``celo --help`` is fast and
needs no extra.
"""

import importlib
import importlib.metadata
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from celo._core.names import unknown_name


@dataclass(frozen=True)
class Command:
    """One subcommand: the module of its program, what it does, and the extra it needs."""

    module: str
    description: str
    extra: str


_DESCRIPTIONS = {
    "meta-train": ("meta-train a learned optimizer; resumes an existing run", "train"),
    "evaluate": ("train suites of tasks and store every training", "eval"),
    "report": ("turn stored results into scores, tables and figures", "eval"),
    "compare": ("compare checkpoints with tuned Adam on named tasks", "eval"),
    "ablate": ("run the grid of changes to the recipe", "eval"),
    "demo": ("meta-train a small Celo, compare it with Adam", "eval"),
    "benchmark": ("measure time and memory on this machine", "eval"),
    "convert": ("convert weights between this format and upstream's", "train"),
    "list": ("list tasks, optimizers, presets or suites", "train"),
}
COMMANDS: Mapping[str, Command] = MappingProxyType(
    {
        name: Command(f"celo.scripts.{name.replace('-', '_')}", description, extra)
        for name, (description, extra) in _DESCRIPTIONS.items()
    }
)

# Import names that differ from the name of the distribution.
_DISTRIBUTIONS = {"PIL": "pillow", "orbax": "orbax-checkpoint", "sklearn": "scikit-learn"}

_USAGE_HEAD = """\
usage: celo COMMAND [ARGUMENTS ...]

commands:"""

_USAGE_TAIL = """
options:
  -h, --help  show this text; `celo COMMAND --help` shows the arguments of a command
  --version   show the version"""


def usage() -> str:
    """Return the help text: one line per command."""
    commands = (f"  {name:<12}{command.description}" for name, command in COMMANDS.items())
    return "\n".join([_USAGE_HEAD, *commands, _USAGE_TAIL])


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        argv: the command line without the program's name; ``sys.argv[1:]`` if None.

    Returns:
        The exit status: what the program returned (None counts as 0), 2 for a bad command line, 1 when a
        package of an extra is missing.
    """
    arguments = sys.argv[1:] if argv is None else argv
    if not arguments:
        print(usage(), file=sys.stderr)
        return 2
    name, *rest = arguments
    if name in ("-h", "--help", "help"):
        print(usage())
        return 0
    if name == "--version":
        print(f"celo {importlib.metadata.version('celo')}")
        return 0
    command = COMMANDS.get(name)
    if command is None:
        print(f"celo: {unknown_name('command', name, COMMANDS)}", file=sys.stderr)
        return 2
    return _run(name, command, rest)


def _run(name: str, command: Command, argv: list[str]) -> int:
    try:
        status = importlib.import_module(command.module).main(argv)
    except ModuleNotFoundError as error:
        extra = _extra_that_brings(error.name or "")
        if extra is None:  # not an optional package: a fault of this package or of the installation
            raise
        extras = ",".join(sorted({command.extra, extra}))
        print(
            f"celo {name}: the package {error.name!r} is not installed; "
            f"install what this command needs with: pip install 'celo[{extras}]'",
            file=sys.stderr,
        )
        return 1
    return 0 if status is None else status


def _extra_that_brings(module: str) -> str | None:
    """Return the extra of this package that lists the distribution of ``module``, or None."""
    top = module.partition(".")[0]
    if top == "celo":  # the extras name this package too
        return None
    wanted = _canonical(_DISTRIBUTIONS.get(top, top))
    for requirement in importlib.metadata.requires("celo") or []:
        distribution = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"""extra == ["']([\w-]+)["']""", requirement)
        if extra and distribution and _canonical(distribution.group()) == wanted:
            return extra.group(1)
    return None


def _canonical(distribution: str) -> str:
    return re.sub(r"[-_.]+", "-", distribution).lower()


if __name__ == "__main__":
    sys.exit(main())
