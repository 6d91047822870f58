"""Turn a folder of results into scores, tables, figures, and a page with all of it.

`celo report results` reads what `celo evaluate --out results` has finished and writes results/report:
report.html (one file, no network), report.md, results.json, figures/ and tables/. The folder may be
unfinished: the page lists what is missing, and scores are over the tasks that every optimizer has finished.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from celo.scripts import checks

# Everything else is imported late: --help does not wait for JAX, pandas and matplotlib.
if TYPE_CHECKING:
    from celo.evaluation.envelope import Envelope


@dataclasses.dataclass(frozen=True)
class Report:
    """Turn stored results into scores, tables and figures.

    Attributes:
        folder: folder of results, as `celo evaluate` makes it.
        out: folder of the report; default the folder "report" among the results.
        envelope: for VeLO's speedup: an NPZ file of published envelopes, or another folder of results, from
            whose trainings of Adam they are computed; without it that score is left out.
        curve: what speedups read: evaluations, as published, or the loss of every step; default evaluations
            where every training has 50 or more.
        smooth_final: compare the last points of smoothed curves in the final-loss score.
        optimizers: labels to compare, beside Adam; default all that were requested.
        reps: bootstrap resamples.
        seed: seed of the resampling.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    out: Path | None = None
    envelope: Path | None = None
    curve: Literal["evaluations", "steps"] | None = None
    smooth_final: bool = False
    optimizers: tuple[str, ...] = ()
    reps: int = 2000
    seed: int = 0

    def run(self) -> None:
        """Prints the scores and writes the report."""
        from celo._core.names import lookup
        from celo.evaluation.requested import read_requested
        from celo.scripts import pipeline

        requested = read_requested(self.folder)
        for label in self.optimizers:
            lookup("optimizer", label, requested.optimizers)
        curves, origin = envelopes(self.envelope) if self.envelope else (None, "")
        shown = pipeline.restricted(requested, self.optimizers or tuple(requested.optimizers))
        out, log = self.out or self.folder / "report", lambda line: print(f"  {line}", flush=True)
        how: dict[str, Any] = {"envelopes": origin, "log": log}
        how |= {"kind": self.curve, "smoothed": self.smooth_final}
        _, page = pipeline.show(self.folder, shown, out, self.reps, self.seed, curves, **how)
        print(f"\nReport: {page}")


def envelopes(path: Path) -> tuple[dict[str, Envelope], str]:
    """Envelopes of Adam by task, and in words where they are from.

    Raises:
        ValueError: a folder of results without a finished training of Adam, or a file of something else.
    """
    from celo.evaluation.envelope import envelope_of, read_envelopes
    from celo.evaluation.requested import read_requested
    from celo.evaluation.results import read
    from celo.evaluation.scores import REFERENCE

    if not path.is_dir():
        return read_envelopes(path), f"published, from {path.name}"
    pairs = read_requested(path).rows_of(read(path, log=print)).items()
    found = {task: rows for (task, label), rows in pairs if label == REFERENCE and rows}
    if not found:
        raise ValueError(f"{path} holds no finished training of {REFERENCE}, so it gives no envelope")
    steps = max(rows[0].steps for rows in found.values())
    return {task: envelope_of(rows) for task, rows in found.items()}, (
        f"Adam's own curves in {path.name}, {steps:,} steps long, so that no speedup is above {steps:,} over "
        "the number of steps of a training"
    )


main = checks.program(Report, "celo report", __doc__, ("out",))

if __name__ == "__main__":
    sys.exit(main())
