"""Does the order of batches matter? `python -m scripts.batch_order --tasks NAME --envelope NPZ`.

Trains tasks on images with Adam and batches in three orders (see `celo.evaluation.batch_order`), and compares the
smoothed training loss with the published envelope. The initial parameters of a seed are the same in all.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import tyro

from celo.evaluation.agreement import agreement, table
from celo.evaluation.batch_order import ORDERS, Schedule, adam_cell
from celo.evaluation.envelope import read_envelopes
from celo.evaluation.report.table import Table
from celo.meta.tasks import make
from celo.scripts.devices import Devices, set_up
from celo.scripts.errors import exit_with

WORDS = {
    "replacement": "with replacement",
    "passes": "passes, judged with replacement",
    "one_stream": "passes, judged on the next batches",
}


@dataclasses.dataclass(frozen=True)
class Command:
    """Train with Adam and batches in three orders.

    Attributes:
        tasks: names of tasks on images.
        envelope: NPZ file of published envelopes: names (k,), steps (k, n), loss (k, n).
        learning_rates: of Adam; the best by the smoothed loss at the end is shown, as by `celo.scripts.agreement`.
        steps: of every training.
        seeds: trainings of each rate and order.
        data_dir: folder of datasets; default the variable CELO_DATA, then the hub.
    """

    tasks: tuple[str, ...]
    envelope: Path
    learning_rates: tuple[float, ...] = (1e-3, 3e-3)
    steps: int = 2000
    seeds: int = 12
    data_dir: Path | None = None

    def __post_init__(self) -> None:
        """Checks the numbers."""
        Schedule(self.steps)
        if self.seeds < 1 or not self.learning_rates or not all(rate > 0 for rate in self.learning_rates):
            raise ValueError(
                f"seeds is {self.seeds} and learning_rates {self.learning_rates}; expected at least 1, and "
                "positive numbers"
            )

    def run(self) -> None:
        """Prints a ratio for every task and order, as they are done, and then the table."""
        envelopes = read_envelopes(self.envelope)
        unknown = [name for name in self.tasks if name not in envelopes]
        if unknown:
            raise ValueError(f"there is no published envelope of {', '.join(unknown)}")
        found, batches = [], []
        for name in self.tasks:
            task = make(name, self.data_dir)
            for order in ORDERS:
                cell = adam_cell(task, self.learning_rates, self.seeds, Schedule(self.steps), order)
                found.append(agreement(cell, envelopes[name], self.steps))
                batches.append(WORDS[order])
                print(f"{name}, {batches[-1]}: {found[-1].ratio:.3f}", file=sys.stderr, flush=True)
        plain = table(found)
        rows = ((name, words, *rest) for words, (name, *rest) in zip(batches, plain.rows, strict=True))
        print(Table((plain.header[0], "batches", *plain.header[1:]), tuple(rows)).markdown())


def main(argv: list[str] | None = None) -> int:
    """Runs the command."""
    with exit_with():
        command = tyro.cli(Command, args=argv, description=__doc__, prog="batch_order")
        set_up(Devices(host_devices=1))
        command.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
