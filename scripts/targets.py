"""Time to target: what every optimizer needs to reach a common loss, and performance profiles.

`celo targets results` reads what `celo evaluate --out results` has finished, sets a target on every task by
the rule of Rezk et al. 2023 (arXiv 2310.18191), and writes results/targets: targets.md, targets.csv,
targets.json and a figure of the profiles.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Annotated

import tyro

from celo.scripts import checks


@dataclasses.dataclass(frozen=True)
class Targets:
    """Compare optimizers by the steps and the seconds to a target loss.

    Attributes:
        folder: folder of results, as `celo evaluate` makes it, with three or more seeds.
        out: folder of the tables; default the folder "targets" among the results.
        optimizers: labels to compare, beside Adam; default all that were requested.
        fraction: part of the budget after which the best optimizer's loss is the target.
        r_max: largest ratio to the fastest optimizer that counts in the score B.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    out: Path | None = None
    optimizers: tuple[str, ...] = ()
    fraction: float = 0.75
    r_max: float = 3.0

    def run(self) -> None:
        """Prints the tables and writes them."""
        from celo._core.names import lookup
        from celo.evaluation.report import targets
        from celo.evaluation.requested import read_requested
        from celo.evaluation.results import read
        from celo.evaluation.targets import target_table
        from celo.scripts import pipeline

        requested = read_requested(self.folder)
        for label in self.optimizers:
            lookup("optimizer", label, requested.optimizers)
        shown = pipeline.restricted(requested, self.optimizers or tuple(requested.optimizers))
        table = target_table(read(self.folder, print), shown, self.fraction, self.r_max)
        print(f"\n{targets.markdown(table)}\n", flush=True)
        print(f"Tables and figure: {targets.write(self.out or self.folder / 'targets', table)}")


main = checks.program(Targets, "celo targets", __doc__, ("out",))

if __name__ == "__main__":
    sys.exit(main())
