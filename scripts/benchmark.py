"""Measure the machine: `celo benchmark meta --json OUT`, `celo benchmark update --json OUT`.

meta: seconds per meta-iteration at the Celo paper's scale, and to the first one of a process.
"""

from __future__ import annotations

import sys

import tyro

from scripts.benchmark_meta import Meta, MetaStage
from scripts.errors import exit_with

COMMANDS = {"meta": Meta, "meta-stage": MetaStage}


def main(argv: list[str] | None = None) -> int:
    """Runs the command."""
    with exit_with():
        command = tyro.extras.subcommand_cli_from_dict(
            COMMANDS, args=argv, description=__doc__, prog="celo benchmark"
        )
        command.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
