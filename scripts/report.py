"""Turn a folder of results into scores, tables, figures, and a page with all of it.

`celo report results` reads what `celo evaluate --out results` has finished and writes results/report:
report.html (one file, no network), report.md, results.json, figures/ and tables/. The folder may be
unfinished: the page lists what is missing, and scores are over the tasks that every optimizer has finished.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from celo.scripts.errors import exit_with

# Everything else is imported late: --help does not wait for JAX, pandas and matplotlib.
if TYPE_CHECKING:
    from celo.evaluation.envelope import Envelope
    from celo.evaluation.requested import Requested


@dataclasses.dataclass(frozen=True)
class Report:
    """Turn stored results into scores, tables and figures.

    Attributes:
        folder: folder of results, as `celo evaluate` makes it.
        out: folder of the report; default the folder "report" among the results.
        envelope: for VeLO's speedup: an NPZ file of published envelopes, or another folder of results, from
            whose trainings of Adam they are computed; without it that score is left out.
        optimizers: labels to compare, beside Adam; default all that were requested.
        reps: bootstrap resamples.
        seed: seed of the resampling.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    out: Path | None = None
    envelope: Path | None = None
    optimizers: tuple[str, ...] = ()
    reps: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the numbers before anything is read."""
        if not 1 <= self.reps <= 10**6:
            raise ValueError(f"reps is {self.reps}; expected 1 to 1,000,000 bootstrap resamples")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}; expected a whole number from 0 to {2**32 - 1}")


def selected(requested: Requested, labels: tuple[str, ...]) -> Requested:
    """What was requested of the labels to compare, or of all, and always of the reference.

    Raises:
        ValueError: a label was not requested.
    """
    from celo._core.names import unknown_name
    from celo.evaluation.scores import REFERENCE

    for label in labels:
        if label not in requested.optimizers:
            raise unknown_name("optimizer", label, requested.optimizers)
    kept = {REFERENCE, *(labels or requested.optimizers)}
    pairs = tuple(pair for pair in requested.pairs if pair.optimizer in kept)
    optimizers = {label: one for label, one in requested.optimizers.items() if label in kept}
    return dataclasses.replace(requested, pairs=pairs, optimizers=optimizers)


def envelopes(path: Path | None) -> tuple[dict[str, Envelope] | None, str]:
    """Envelopes of Adam by task, and in words where they are from; None and "" without a path.

    Raises:
        ValueError: a folder of results without a finished training of Adam, or a file of something else.
    """
    if path is None:
        return None, ""
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


def main(argv: list[str] | None = None) -> int:
    """Runs the command; 0 = the report is written."""
    with exit_with():
        command = tyro.cli(Report, args=argv, description=__doc__, prog="celo report")
        from celo.evaluation import report
        from celo.evaluation.requested import read_requested
        from celo.evaluation.results import read
        from celo.evaluation.scores import score_table
        from celo.evaluation.statistics import summarise

        requested = selected(read_requested(command.folder), command.optimizers)
        curves, origin = envelopes(command.envelope)
        table = score_table(read(command.folder, log=print), requested, curves)
        summaries = summarise(table, command.reps, command.seed)
        page = report.write(
            command.out or command.folder / "report",
            table,
            summaries,
            resampling=f"{command.reps:,} resamples, seed {command.seed}",
            envelopes=origin,
            log=lambda line: print(f"  {line}", flush=True),
        )
        print(f"\n{report.described(table, summaries)}\n\nReport: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
