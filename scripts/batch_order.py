"""Does the order of batches matter? `python -m scripts.batch_order --tasks NAME --envelope NPZ`.

Trains tasks on images with Adam and batches in three orders (see `evaluation.batch_order`), and compares the
smoothed training loss with the published envelope. The initial parameters of a seed are the same in all.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from evaluation.batch_order import ORDERS, Schedule, adam_losses
from evaluation.envelope import SMOOTHING, Envelope, read_envelopes
from evaluation.report.table import Table
from meta.full_training import smooth
from meta.tasks import make
from meta.tasks.image_data import ImageBatches
from scripts.devices import Devices, set_up
from scripts.errors import exit_with

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
        learning_rates: of Adam; the best by the smoothed loss at the end is shown.
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
        if self.seeds < 2 or not self.learning_rates or not all(rate > 0 for rate in self.learning_rates):
            raise ValueError(
                f"seeds is {self.seeds} and learning_rates {self.learning_rates}; expected at least 2, "
                "and positive numbers"
            )

    def run(self) -> None:
        """Prints a row for every task and order, as they are done."""
        envelopes = read_envelopes(self.envelope)
        unknown = [name for name in self.tasks if name not in envelopes]
        if unknown:
            raise ValueError(f"there is no published envelope of {', '.join(unknown)}")
        rows = []
        for name in self.tasks:
            task = make(name, self.data_dir)
            if not isinstance(task, ImageBatches):
                raise ValueError(f"{name} is not on images, whose rows could be drawn in another order")
            for order in ORDERS:
                rows.append(self._row(task, order, envelopes[name]))
                print("  ".join(rows[-1]), file=sys.stderr, flush=True)
        header = ("task", "batches", "seeds", "Adam's rate", "ours", "± seeds", "published", "ratio")
        print(Table(header, tuple(rows)).markdown())

    def _row(self, task: Any, order: Any, envelope: Envelope) -> tuple[str, ...]:
        size, schedule = int(task.data.splits["train"].size), Schedule(self.steps)
        rates = list(self.learning_rates)
        losses = adam_losses(task, size, task.batch_size, rates, self.seeds, schedule, order)
        ends = smooth(losses, SMOOTHING)[..., -1]
        best = int(np.nanargmin(ends.mean(axis=1)))
        published = float(np.interp(self.steps, envelope.steps, envelope.loss))
        mean, deviation = float(ends[best].mean()), float(ends[best].std(ddof=1))
        return (
            *(task.name, WORDS[order], str(self.seeds), f"{rates[best]:.2g}"),
            *(f"{mean:.4g}", f"{deviation:.2g}", f"{published:.4g}", f"{mean / published:.3f}"),
        )


def main(argv: list[str] | None = None) -> int:
    """Runs the command."""
    with exit_with():
        command = tyro.cli(Command, args=argv, description=__doc__, prog="batch_order")
        set_up(Devices(host_devices=1))
        command.run()
    return 0


if __name__ == "__main__":
    sys.exit(main())
