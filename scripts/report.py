"""Turn a folder of results into scores, tables, figures, and a page with all of it.

`celo report results` reads what `celo evaluate --out results` has finished and writes results/report:
report.html (one file, no network), report.md, results.json, figures/ and tables/. The folder may be
unfinished: the page lists what is missing, and scores are over the tasks that every optimizer has finished.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from celo.scripts import checks

# Everything else is imported late: --help does not wait for JAX, pandas and matplotlib.
if TYPE_CHECKING:
    from celo.evaluation.envelope import Envelope

NORMALIZER = ("adam",)


@dataclasses.dataclass(frozen=True)
class Report:
    """Turn stored results into scores, tables and figures.

    Attributes:
        folder: folder of results, as `celo evaluate` makes it.
        out: folder of the report; default the folder "report" among the results.
        envelope: for VeLO's speedup: an NPZ file of published envelopes, or another folder of results, from
            whose trainings of Adam they are computed; without it that score is left out.
        normalizer: optimizers of that folder whose lowest loss is the envelope; VeLO's extended one has Adam
            with two schedules and RAdam beside Adam.
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
    normalizer: tuple[str, ...] = NORMALIZER
    curve: Literal["evaluations", "steps"] | None = None
    smooth_final: bool = False
    optimizers: tuple[str, ...] = ()
    reps: int = 2000
    seed: int = 0

    def check(self) -> None:
        """Refuses a normalizer without the folder that it is computed from."""
        if not self.normalizer:
            raise ValueError(
                "--normalizer names no optimizer; expected one or more labels of the envelope's folder"
            )
        if self.normalizer != NORMALIZER and not (self.envelope and self.envelope.is_dir()):
            raise ValueError(
                f"--normalizer {' '.join(self.normalizer)} needs a folder of results as --envelope; "
                f"got {self.envelope or 'none'}"
            )

    def run(self) -> None:
        """Prints the scores and writes the report."""
        from celo._core.names import lookup
        from celo.evaluation.requested import read_requested
        from celo.scripts import pipeline

        requested = read_requested(self.folder)
        for label in self.optimizers:
            lookup("optimizer", label, requested.optimizers)
        curves, origin = envelopes(self.envelope, self.normalizer) if self.envelope else (None, "")
        shown = pipeline.restricted(requested, self.optimizers or tuple(requested.optimizers))
        out, log = self.out or self.folder / "report", lambda line: print(f"  {line}", flush=True)
        how: dict[str, Any] = {"envelopes": origin, "log": log}
        how |= {"kind": self.curve, "smoothed": self.smooth_final}
        _, page = pipeline.show(self.folder, shown, out, self.reps, self.seed, curves, **how)
        print(f"\nReport: {page}")


def envelopes(path: Path, labels: Sequence[str] = NORMALIZER) -> tuple[dict[str, Envelope], str]:
    """Envelopes by task of the named optimizers of a folder, or those of a file, and in words their source.

    A task has one if all of the optimizers have finished trainings on it.

    Raises:
        ValueError: a folder of results without such a task or optimizer, or a file of something else.
    """
    from celo._core.names import lookup
    from celo.evaluation.envelope import envelope_of, read_envelopes
    from celo.evaluation.requested import read_requested
    from celo.evaluation.results import read

    if not path.is_dir():
        return read_envelopes(path), f"published, from {path.name}"
    requested = read_requested(path)
    for label in labels:
        lookup("optimizer", label, requested.optimizers)
    pairs = requested.rows_of(read(path, log=print))
    rows_of = {task: [pairs.get((task, label), []) for label in labels] for task, _ in pairs}
    found = {task: [row for rows in own for row in rows] for task, own in rows_of.items() if all(own)}
    if not found:
        names = ", ".join(labels)
        raise ValueError(f"{path} holds no task with finished trainings of {names}, so it gives no envelope")
    steps = max(rows[0].steps for rows in found.values())
    return {task: envelope_of(rows) for task, rows in found.items()}, (
        f"the curves of {', '.join(labels)} in {path.name}, {steps:,} steps long, so that no speedup is "
        f"above {steps:,} over the number of steps of a training"
    )


main = checks.program(Report, "celo report", __doc__, ("out",))

if __name__ == "__main__":
    sys.exit(main())
