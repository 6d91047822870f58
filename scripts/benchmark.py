"""Measure the machine: `celo benchmark meta --json OUT`, likewise `update` and `evaluate`.

meta: seconds per meta-iteration at the Celo paper's scale, and to the first one of a process.
update: time and memory of an update of every optimizer, as a ratio to Adam's.
evaluate: trainings per minute of the evaluation, against loops over single trainings.
"""

from __future__ import annotations

import sys
from typing import Annotated, Any

from tyro.conf import subcommand

from celo.scripts import checks
from celo.scripts.benchmarks.evaluate import EvaluateSpeed
from celo.scripts.benchmarks.meta import Meta
from celo.scripts.benchmarks.update import Update

COMMANDS: Any = (
    Annotated[Meta, subcommand("meta")]
    | Annotated[Update, subcommand("update")]
    | Annotated[EvaluateSpeed, subcommand("evaluate")]
)


def main(argv: list[str] | None = None) -> int:
    """Runs the command."""
    with checks.exit_with():
        command = checks.parse(COMMANDS, argv, "celo benchmark", __doc__)
        checks.output_file(command.json)
        command.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
