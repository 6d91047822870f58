"""The console command ``celo``: it passes the arguments to a program in ``scripts/``.

Every program is a module with ``main(argv: list[str] | None = None) -> int | None`` and also runs as
``python -m scripts.NAME``. A program is imported only when it is called, so ``celo --help`` is fast and
needs no extra.
"""

import importlib
import importlib.metadata
import re
import sys
from typing import NamedTuple

from celo._core.names import unknown_name


class Command(NamedTuple):
    """One subcommand: what it does, and the extra it needs."""

    description: str
    extra: str = "eval"


COMMANDS = {
    "meta-train": Command("meta-train a learned optimizer; resumes an existing run", "train"),
    "sweep": Command("sweep outer learning rates and seeds, and choose", "train"),
    "evaluate": Command("train suites of tasks and store every training"),
    "report": Command("turn stored results into scores, tables and figures"),
    "targets": Command("compare steps and seconds to a target loss"),
    "compare": Command("compare checkpoints with tuned Adam on named tasks"),
    "ablate": Command("run the grid of changes to the recipe"),
    "demo": Command("meta-train a small Celo, compare it with Adam"),
    "benchmark": Command("measure time and memory on this machine"),
    "convert": Command("convert weights between this format and upstream's", "train"),
    "list": Command("list tasks, optimizers, presets or suites", "train"),
}

# Import names that differ from the name of the distribution.
_DISTRIBUTIONS = {"PIL": "pillow", "sklearn": "scikit-learn"}

_USAGE = """\
usage: celo COMMAND [ARGUMENTS ...]

commands:
{commands}

options:
  -h, --help  show this text; `celo COMMAND --help` shows the arguments of a command
  --version   show the version"""


def usage() -> str:
    """The help text: one line per command."""
    lines = (f"  {name:<12}{command.description}" for name, command in COMMANDS.items())
    return _USAGE.format(commands="\n".join(lines))


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand; ``argv`` is the command line without the program's name, None = the process's.

    Returns the exit status: what the program returned (None counts as 0), 2 for a bad command line, 1 when a
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
    if name not in COMMANDS:
        print(f"celo: {unknown_name('command', name, COMMANDS)}", file=sys.stderr)
        return 2
    try:
        program = importlib.import_module(f"celo.scripts.{name.replace('-', '_')}")
        return program.main(rest) or 0
    except ModuleNotFoundError as error:
        extra = _extra_that_brings(error.name or "")
        if extra is None:  # not an optional package: a fault of this package or of the installation
            raise
        extras = ",".join(sorted({COMMANDS[name].extra, extra}))
        print(
            f"celo {name}: the package {error.name!r} is not installed; "
            f"install what this command needs with: pip install 'celo[{extras}]'",
            file=sys.stderr,
        )
        return 1


def _extra_that_brings(module: str) -> str | None:
    """Return the extra of this package that lists the distribution of ``module``, or None."""
    top = module.partition(".")[0]
    if top == "celo":  # the extras name this package too
        return None
    wanted = _DISTRIBUTIONS.get(top, top).replace("_", "-").lower()
    for requirement in importlib.metadata.requires("celo") or []:
        distribution = re.match(r"[\w.-]+", requirement)
        extra = re.search(r"""extra == ["']([\w-]+)["']""", requirement)
        if extra and distribution and distribution.group().replace("_", "-").lower() == wanted:
            return extra.group(1)
    return None


if __name__ == "__main__":
    sys.exit(main())
