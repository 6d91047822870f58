"""Turn a folder of results into scores, tables, figures, and a page with all of it.

`celo report results` reads what `celo evaluate --out results` has finished and writes results/report:
report.html (one file, no network), report.md, figures/ and tables/. A folder that is not finished is reported
on too: the page says what is missing, and scores are over the tasks that every optimizer has finished.
"""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import tyro

from celo._core.names import unknown_name
from celo.evaluation.cell import CellResult
from celo.evaluation.envelope import Envelope, envelope_of, read_envelopes
from celo.evaluation.report.benchmark import write_benchmark
from celo.evaluation.report.caveats import caveats
from celo.evaluation.report.score_tables import overview
from celo.evaluation.report.sections import Sources
from celo.evaluation.scoreboard import scoreboard
from celo.evaluation.scores import REFERENCE
from celo.evaluation.store import Store
from celo.evaluation.summary import summarise
from celo.scripts.errors import exit_with


@dataclasses.dataclass(frozen=True)
class Report:
    """Turn stored results into scores, tables and figures.

    Attributes:
        folder: folder of results, as `celo evaluate` makes it.
        out: where the report goes; default the folder "report" among the results.
        envelope: for VeLO's speedup: an NPZ file of published envelopes, or another folder of results, whose
            Adam then gives them, as far as it was trained; without it that score is left out.
        optimizers: labels to compare, beside Adam; default all that were asked for.
        reps: bootstrap resamples.
        seed: of the resampling.
    """

    folder: Annotated[Path, tyro.conf.Positional]
    out: Path | None = None
    envelope: Path | None = None
    optimizers: tuple[str, ...] = ()
    reps: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        """Checks the numbers before anything is read."""
        if self.reps < 1:
            raise ValueError(f"reps is {self.reps}; expected 1 or more bootstrap resamples")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}; expected a whole number from 0 to {2**32 - 1}")


def selected(labels: Sequence[str], wanted: Sequence[str]) -> set[str]:
    """The labels to compare: those wanted, or all, and always the reference.

    Raises:
        ValueError: a label is not there.
    """
    for label in wanted:
        if label not in labels:
            raise unknown_name("optimizer", label, labels)
    return {*(wanted or labels), REFERENCE}


def envelopes(path: Path | None) -> tuple[dict[str, Envelope] | None, str]:
    """Envelopes of Adam by task, and in words where they are from; None and "" without a path."""
    if path is None:
        return None, ""
    if not path.is_dir():
        return read_envelopes(path), f"published, from {path.name}"
    cells = [cell for cell in Store(path).results() if cell.optimizer == REFERENCE]
    if not cells:
        raise ValueError(f"{path} holds no finished cell of {REFERENCE}, so it gives no envelope")
    steps = max(cell.num_steps for cell in cells)
    return {cell.task: envelope_of(cell) for cell in cells}, (
        f"Adam's own curves in {path.name}, {steps:,} steps long, so that no speedup is above {steps:,} over "
        "the number of steps of a run"
    )


def results(command: Report) -> tuple[list[CellResult], list[tuple[str, str]]]:
    """The finished cells of the optimizers to compare, and all pairs of task and optimizer asked for."""
    store = Store(command.folder, log=print)
    labels = list(dict.fromkeys(name.optimizer for name in store.expected))
    compared = selected(labels, command.optimizers)
    asked = [(name.task, name.optimizer) for name in store.expected if name.optimizer in compared]
    return [cell for cell in store.results() if cell.optimizer in compared], asked


def main(argv: list[str] | None = None) -> int:
    """Runs the command; 0 = the report is written."""
    with exit_with():
        command = tyro.cli(Report, args=argv, description=__doc__, prog="celo report")
        curves, origin = envelopes(command.envelope)
        board = scoreboard(*results(command), curves)
        summaries = summarise(board, command.reps, command.seed)
        sources = Sources(command.reps, command.seed, origin, Store(command.folder).provenance)
        out = command.out or command.folder / "report"
        page = write_benchmark(
            out, board, summaries, sources, log=lambda line: print(f"  {line}", flush=True)
        )
        print("\n".join(["", *caveats(board)]))
        if summaries:
            print(f"\n{overview(board, summaries).text()}\n")
    print(f"Report: {page}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
