"""The report of an evaluation as a folder: a page, Markdown, figures, tables as CSV, results.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celo.evaluation.scores import ScoreTable
    from celo.evaluation.statistics import Summary

TITLE = "Optimizers against Adam at its best learning rate"
PAGE_FILE = "report.html"
MOST_TASKS = 12  # of the score table in a terminal


def write(
    folder: Path,
    table: ScoreTable,
    summaries: Sequence[Summary],
    *,
    title: str = TITLE,
    page_file: str = PAGE_FILE,
    resampling: str = "2,000 resamples, seed 0",
    envelopes: str = "",
    metrics: Sequence[Mapping[str, Any]] = (),
    log: Callable[[str], None] = lambda line: None,
) -> Path:
    """Write the report of an evaluation, each file whole.

    Equal rows and settings give equal files. Rows that were trained again give equal ones, too, but for
    times.csv, provenance.json, results.json and the last sections of the page, on run time and provenance.

    Args:
        folder: of the report; created if it does not exist.
        table: the scores.
        summaries: their aggregates, of `celo.evaluation.statistics.summarise`.
        title: heading of the page.
        page_file: name of the page; ``index.html`` in the report of a meta-training.
        resampling: how the intervals of the summaries were drawn, in words.
        envelopes: where the envelopes of VeLO's speedup are from, in words; "" if none were given.
        metrics: rows of the metrics of a meta-training, for a figure of the meta-loss.
        log: gets a line before every longer piece of work.

    Returns:
        The page.

    Raises:
        OSError: the folder cannot be written.
    """
    # Imported late, so that a command's --help does not wait for matplotlib and pandas.
    from celo._core.files import write_atomically
    from celo.evaluation.checks import notes
    from celo.evaluation.report import page, records, tables
    from celo.meta.runs.files import json_bytes, json_ready

    for place in (folder, folder / "figures", folder / "tables"):
        place.mkdir(parents=True, exist_ok=True)
    frames = {
        "scores": records.scores(summaries),
        "profiles": records.profiles(summaries),
        "runs": records.trainings(table, summaries),
        "times": records.times(table),
    }
    facts = {"resampling": resampling, "envelopes": envelopes}
    parts = page.sections(table, summaries, frames, facts, metrics, folder / "figures", log)
    shown = (title, _subtitle(table), notes(table), parts)
    texts = {f"tables/{name}.csv": records.csv_bytes(frame) for name, frame in frames.items()}
    if table.envelopes is not None:
        texts["tables/velo.csv"] = records.csv_bytes(records.velo(table))
    texts["tables/provenance.json"] = json_bytes(json_ready(records.provenance(table)))
    texts["results.json"] = json_bytes(json_ready(records.results(table, summaries)))
    texts["table.md"] = f"{tables.score_table(table).markdown()}\n".encode()
    texts["report.md"] = page.markdown_page(*shown).encode()
    texts[page_file] = page.html_page(*shown).encode()
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return folder / page_file


def described(table: ScoreTable, summaries: Sequence[Summary]) -> str:
    """The score table, the aggregates, the findings and the notes of a report as text for a terminal."""
    from celo.evaluation.checks import curve_words, notes
    from celo.evaluation.report import tables
    from celo.evaluation.report.escape import plain
    from celo.evaluation.scores import VELO

    shown = [tables.overview(table, summaries).text()] if summaries else []
    if len(table.all_tasks) <= MOST_TASKS:
        shown.insert(0, tables.score_table(table).text(grouped=True))
    if any(one.score.name == VELO for one in summaries):
        shown.append(tables.velo(table).text())
    said = [plain(text) for text in (*tables.findings(table), *notes(table), curve_words(table))]
    return "\n\n".join([*shown, "\n".join(said)]).rstrip()


def _subtitle(table: ScoreTable) -> str:
    from celo.evaluation.checks import curve_words

    steps, seeds = table.requested.settings["steps"], len(table.seeds)
    counted = (
        f"{len(table.tasks)} of {len(table.all_tasks)} tasks scored, {seeds} seed{'s' * (seeds != 1)}, "
        f"{steps:,} steps, {len(table.labels) - 1} optimizers and Adam."
    )
    return f"{counted} {curve_words(table)}".rstrip()
