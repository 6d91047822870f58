"""Measure the machine: `celo benchmark meta --json OUT`, `celo benchmark update --json OUT`.

meta: seconds per meta-iteration at the Celo paper's scale, and to the first one of a process.
update: time and memory of an update of every optimizer, as a ratio to Adam's.
"""

from __future__ import annotations

import sys

import tyro

from scripts.benchmark_meta import Meta, MetaStage
from scripts.benchmark_update import WORKER, Update
from scripts.benchmark_update_worker import UpdateWorker
from scripts.errors import exit_with

COMMANDS = {"meta": Meta, "meta-stage": MetaStage, "update": Update, WORKER: UpdateWorker}


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
