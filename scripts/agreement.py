"""Are our tasks their tasks? `python -m scripts.agreement RESULTS --envelope speedup_over_adam.npz`.

Takes Adam's curves from folders of `celo evaluate` and compares them with a published envelope of Adam (the
lowest smoothed training loss over learning rates), smoothed in the same way. Evaluate as the published runs
were: `--grid published --eval-every 10 --eval-batches 5`. Exit code 1 if a task is further off than
`--within`.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from celo.evaluation.agreement import agreements, table
from celo.evaluation.envelope import read_envelopes
from celo.evaluation.scores import REFERENCE
from celo.evaluation.store import Store
from celo.scripts.errors import exit_with


@dataclasses.dataclass(frozen=True)
class Command:
    """Compare Adam's curves with published ones.

    Attributes:
        folders: folders of results, as `celo evaluate` makes them.
        envelope: NPZ file of published envelopes: names (k,), steps (k, n), loss (k, n).
        step: number of steps at which to compare.
        within: largest relative difference that counts as agreement.
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    envelope: Path
    step: int = 2000
    within: float = 0.04

    def __post_init__(self) -> None:
        """Checks the number."""
        if not self.folders:
            raise ValueError("no folder of results is given")
        if not 0 < self.within < 1:
            raise ValueError(f"within is {self.within}; expected a number between 0 and 1")

    def run(self) -> int:
        """Prints the table; how many tasks are further off."""
        stores = [Store(folder, log=print) for folder in self.folders]
        cells = [cell for store in stores for cell in store.results()]
        found, unpublished = agreements(cells, read_envelopes(self.envelope), self.step)
        if not found:
            raise ValueError(
                "there is nothing to compare: no finished cell of adam is on a task that has an envelope"
            )
        print(table(found).markdown())
        if unpublished:
            print(f"\nWithout a published envelope: {', '.join(unpublished)}")
        # The best of fewer rates than were asked for may not be Adam's best.
        asked = [name for store in stores for name in store.missing()]
        missing = [name.words for name in asked if name.optimizer.partition("@")[0] == REFERENCE]
        if missing:
            print(
                f"\nNot finished, so that these tasks may be further off than they are: {', '.join(missing)}"
            )
        off = [one.task for one in found if abs(one.ratio - 1) > self.within]
        if off:
            print(f"\nFurther off than {self.within:.0%}: {', '.join(off)}")
        return len(off)


def main(argv: list[str] | None = None) -> int:
    """Runs the command; 0 = all agree, 1 = some do not."""
    with exit_with():
        command = tyro.cli(Command, args=argv, description=__doc__, prog="agreement")
        return 1 if command.run() else 0


if __name__ == "__main__":
    sys.exit(main())
