"""The report of an evaluation as a folder: a page, Markdown, figures, tables as CSV, results.json."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from celo.evaluation.scores import ScoreTable

TITLE = "Optimizers against Adam at its best learning rate"
PAGE_FILE = "report.html"


class Written(NamedTuple):
    """A written report.

    Attributes:
        page: the page.
        text: the score table, the aggregates and the notes, for a terminal.
    """

    page: Path
    text: str


def write(
    folder: Path,
    table: ScoreTable,
    *,
    reps: int = 2000,
    seed: int = 0,
    title: str = TITLE,
    page_file: str = PAGE_FILE,
    envelopes: str = "",
    metrics: Sequence[Mapping[str, Any]] = (),
    log: Callable[[str], None] = lambda line: None,
) -> Written:
    """Write the report of an evaluation, each file whole.

    Equal rows and settings give equal files. Rows that were trained again give equal ones, too, but for
    times.csv, provenance.json, results.json and the last sections of the page, on run time and provenance.

    Args:
        folder: of the report; created if it does not exist.
        table: the scores.
        reps: number of bootstrap resamples.
        seed: seed of the resampling.
        title: heading of the page.
        page_file: name of the page; ``index.html`` in the report of a meta-training.
        envelopes: where the envelopes of VeLO's speedup are from, in words; "" if none were given.
        metrics: rows of the metrics of a meta-training, for a figure of the meta-loss.
        log: gets a line before every longer piece of work.

    Raises:
        ValueError: ``reps`` is below 1.
        OSError: the folder cannot be written.
    """
    # Imported late, so that a command's --help does not wait for matplotlib and pandas.
    from celo._core.files import write_atomically
    from celo.evaluation.checks import notes
    from celo.evaluation.report import page, records, tables
    from celo.evaluation.statistics import summarise
    from celo.meta.runs.files import json_bytes, json_ready

    summaries, said = summarise(table, reps, seed), notes(table)
    for place in (folder, folder / "figures", folder / "tables"):
        place.mkdir(parents=True, exist_ok=True)
    frames = {
        "scores": records.scores(summaries),
        "profiles": records.profiles(summaries),
        "runs": records.trainings(table, summaries),
        "times": records.times(table),
    }
    facts = {"reps": reps, "seed": seed, "envelopes": envelopes}
    content = page.Content(table, summaries, frames["runs"], frames["times"], facts, metrics)
    shown = (title, _subtitle(table), said, page.sections(content, folder / "figures", log))
    texts = {f"tables/{name}.csv": records.csv_bytes(frame) for name, frame in frames.items()}
    texts["tables/provenance.json"] = json_bytes(json_ready(records.provenance(table)))
    texts["results.json"] = json_bytes(json_ready(records.results(table, summaries)))
    texts["table.md"] = f"{tables.score_table(table).markdown()}\n".encode()
    texts["report.md"] = page.markdown_page(*shown).encode()
    texts[page_file] = page.html_page(*shown).encode()
    for name, text in texts.items():
        write_atomically(folder / name, text)
    return Written(folder / page_file, tables.described(table, summaries, said))


def _subtitle(table: ScoreTable) -> str:
    steps, seeds = table.requested.settings["steps"], len(table.seeds)
    return (
        f"{len(table.tasks)} of {len(table.all_tasks)} tasks scored, {seeds} seed{'s' * (seeds != 1)}, "
        f"{steps:,} steps, {len(table.labels) - 1} optimizers and Adam."
    )
