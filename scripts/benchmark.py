"""Measure the machine: `celo benchmark meta --json OUT`, likewise `update` and `evaluate`.

meta: seconds per meta-iteration at the Celo paper's scale, and to the first one of a process.
update: time and memory of an update of every optimizer, as a ratio to Adam's.
evaluate: trainings per minute of the runner of evaluations, against a loop over single trainings.
"""

from __future__ import annotations

import sys

import tyro

from celo.scripts.benchmark_evaluate import ONE_WAY, EvaluateSpeed, EvaluateWay
from celo.scripts.benchmark_meta import Meta, MetaStage
from celo.scripts.benchmark_update import WORKER, Update
from celo.scripts.benchmark_update_worker import UpdateWorker
from celo.scripts.errors import exit_with

COMMANDS = {"meta": Meta, "update": Update, "evaluate": EvaluateSpeed}
# What the commands start in processes of their own; of no use to anybody else, so the help leaves them out.
PROCESSES = {"meta-stage": MetaStage, WORKER: UpdateWorker, ONE_WAY: EvaluateWay}


def main(argv: list[str] | None = None) -> int:
    """Runs the command."""
    argv = list(sys.argv[1:] if argv is None else argv)
    with exit_with():
        command = tyro.extras.subcommand_cli_from_dict(
            PROCESSES if argv[:1] and argv[0] in PROCESSES else COMMANDS,
            args=argv,
            description=__doc__,
            prog="celo benchmark",
        )
        command.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
