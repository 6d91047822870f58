"""Measure the machine: `celo benchmark meta --json OUT`, likewise `update` and `evaluate`.

meta: seconds per meta-iteration at the Celo paper's scale, and to the first one of a process.
update: time and memory of an update of every optimizer, as a ratio to Adam's.
evaluate: trainings per minute of the evaluation, against loops over single trainings.
"""

from __future__ import annotations

import sys

import tyro

from celo.scripts import checks
from celo.scripts.benchmarks.evaluate import EvaluateSpeed
from celo.scripts.benchmarks.meta import Meta
from celo.scripts.benchmarks.update import Update
from celo.scripts.errors import exit_with

COMMANDS = {"meta": Meta, "update": Update, "evaluate": EvaluateSpeed}


def main(argv: list[str] | None = None) -> int:
    """Runs the command."""
    with exit_with():
        argv = checks.arguments(argv, may_be_empty=("--json",))
        command = tyro.extras.subcommand_cli_from_dict(
            COMMANDS, args=argv, description=__doc__, prog="celo benchmark"
        )
        checks.numbers(command)
        checks.output_file(command.json)
        if hasattr(command, "check"):
            command.check()
        command.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
