"""The numbers behind a report as CSV files, one row per fact, for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from celo.evaluation.report.run_tables import first_failure, milliseconds
from celo.evaluation.scoreboard import Scoreboard
from celo.evaluation.selection import Chosen
from celo.evaluation.summary import Summary
from celo.meta.full_training import smooth

Row = dict[str, object]

TIMES = ("seconds", "compile_seconds", "trainings_at_once", "bytes_at_once", "device", "device_count")


def csv_bytes(rows: Iterable[Row]) -> bytes:
    """Rows of equal keys as CSV with a header; numbers with all their digits, None and NaN as empty."""
    rows = list(rows)
    columns = list(dict.fromkeys(column for row in rows for column in row))
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    for row in rows:
        # Only NaN differs from itself.
        writer.writerow({key: "" if value is None or value != value else value for key, value in row.items()})
    return buffer.getvalue().encode()


def scores(summaries: Sequence[Summary]) -> Iterator[Row]:
    """Every aggregate of every score, with its interval."""
    for summary in summaries:
        for label, own in summary.aggregates.items():
            found = {**own, "probability_of_improvement": summary.improvement[label]}
            for aggregate, estimate in found.items():
                yield {
                    "score": summary.scored.name,
                    "optimizer": label,
                    "aggregate": aggregate,
                    **estimate._asdict(),
                    "tasks": len(summary.scored.tasks),
                    "seeds": len(summary.scored.scores[label]),
                }


def profiles(summaries: Sequence[Summary]) -> Iterator[Row]:
    """Every point of every performance profile."""
    for summary in summaries:
        for label, profile in summary.profiles.items():
            for threshold, share, low, high in zip(*profile, strict=True):
                yield {
                    "score": summary.scored.name,
                    "optimizer": label,
                    "threshold": float(threshold),
                    "share": float(share),
                    "low": float(low),
                    "high": float(high),
                }


def runs(board: Scoreboard) -> Iterator[Row]:
    """Every run at the configuration scored: its losses, scores, and whether it diverged."""
    kinds = [f"score_{scored.name}" for scored in board.scored]  # a loss has one of these names too
    for label, own in board.runs.items():
        for task, run in own.items():
            for position, seed in enumerate(run.cell.seeds):
                found: dict[str, Any] = dict.fromkeys(kinds)
                for scored in board.scored:
                    if task in scored.tasks:
                        found[f"score_{scored.name}"] = scored.scores[label][
                            position, scored.tasks.index(task)
                        ]
                yield {**_run(label, run, position, seed), **found}


def times(board: Scoreboard) -> Iterator[Row]:
    """How long every cell took, and on what: what differs when the same is done again."""
    for label, own in board.runs.items():
        for task, run in own.items():
            info = run.cell.info
            yield {
                "task": task,
                "optimizer": label,
                "ms_per_step": milliseconds(run),
                **{name: info.get(name) for name in TIMES},
            }


def _run(label: str, run: Chosen, position: int, seed: int) -> Row:
    cell = run.cell
    diverged = bool(run.diverged[position])
    last = {name: float(values[run.index, position, -1]) for name, values in cell.evaluations.items()}
    return {
        "task": cell.task,
        "optimizer": label,
        "seed": seed,
        "num_steps": cell.num_steps,
        "configurations": len(cell.configurations),
        "configuration": " ".join(f"{key}={value!r}" for key, value in run.configuration.items()),
        "at_edge": run.edge is not None,
        "final_loss": float(run.final_loss[position]),
        "smoothed_loss": float(smooth(run.loss[position])[-1]),
        "diverged": diverged,
        "diverged_at_step": first_failure(run, position) if diverged else None,
        "key": cell.key,
        **{f"last_{name}": last.get(name) for name in sorted(last)},
    }
