"""The report of an evaluation as a folder: a page, the same as Markdown, figures, and tables as CSV."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from celo._core.files import write_atomically
from celo.evaluation.report import records
from celo.evaluation.report.document import html_document, markdown_document
from celo.evaluation.report.drawing import Drawing
from celo.evaluation.report.looks import looks
from celo.evaluation.report.sections import Sources, blocks
from celo.evaluation.scoreboard import Scoreboard
from celo.evaluation.summary import Summary
from celo.meta.runs.files import json_bytes, json_ready

PAGE_FILE = "report.html"
TEXT_FILE = "report.md"
TITLE = "Optimizers against Adam at its best learning rate"


def write_benchmark(
    folder: Path,
    board: Scoreboard,
    summaries: Sequence[Summary],
    sources: Sources,
    log: Callable[[str], None] = lambda line: None,
) -> Path:
    """Writes report.html, report.md, figures/ (SVG, PNG) and tables/ (CSV), each file as a whole.

    Equal cells and settings give equal files. Cells that were trained again give equal ones, too, but for
    times.csv, provenance.json and the sections on run time and provenance, which are the last of the page.

    Args:
        folder: where; created if it is not there.
        board: the scores.
        summaries: their aggregates, of `celo.evaluation.summary.summarise`.
        sources: what the report is made from.
        log: gets a line before every longer piece of work.

    Returns:
        The page.
    """
    for place in (folder, folder / "figures", folder / "tables"):
        place.mkdir(parents=True, exist_ok=True)
    _write_tables(folder / "tables", board, summaries)
    drawing = Drawing(folder / "figures", looks(board), log)
    made, subtitle = blocks(board, summaries, drawing, sources), _subtitle(board)
    write_atomically(folder / TEXT_FILE, markdown_document(TITLE, subtitle, made).encode())
    write_atomically(folder / PAGE_FILE, html_document(TITLE, subtitle, made).encode())
    return folder / PAGE_FILE


def _write_tables(folder: Path, board: Scoreboard, summaries: Sequence[Summary]) -> None:
    tables = {
        "scores": records.scores(summaries),
        "profiles": records.profiles(summaries),
        "runs": records.runs(board),
        "times": records.times(board),
    }
    for name, rows in tables.items():
        write_atomically(folder / f"{name}.csv", records.csv_bytes(rows))
    made_with = [
        {
            "task": task,
            "optimizer": label,
            **{name: getattr(run.cell, name) for name in ("key", "task_digest", "code_digest")},
            "info": dict(run.cell.info),
        }
        for label, own in board.runs.items()
        for task, run in own.items()
    ]
    write_atomically(folder / "provenance.json", json_bytes(json_ready(made_with)))


def _subtitle(board: Scoreboard) -> str:
    steps = sorted({run.cell.num_steps for own in board.runs.values() for run in own.values()})
    length = f"{steps[0]:,}" if len(steps) == 1 else f"{steps[0]:,} to {steps[-1]:,}"
    tasks, seeds = len(board.tasks), len(board.seeds)
    return (
        f"{tasks} of {len(board.coverage.tasks)} tasks scored, {seeds} seed{'s' * (seeds != 1)}, "
        f"{length} steps, {len(board.labels) - 1} optimizers and Adam."
    )
