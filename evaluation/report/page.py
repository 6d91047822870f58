"""The page of a report: its sections, rendered as one HTML file and as Markdown."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jinja2
import pandas as pd
from markupsafe import Markup, escape
from matplotlib.figure import Figure

from celo.evaluation.report import figures, style, tables
from celo.evaluation.report.escape import file_name, markdown_text, plain
from celo.evaluation.report.table import Cell, Table
from celo.evaluation.scores import NOISE, ScoreTable
from celo.evaluation.statistics import Summary
from celo.meta.runs.files import json_bytes, json_ready

_HERE = Path(__file__).parent
_MOST_ROWS = 60  # of a table that is not folded


class Picture(NamedTuple):
    """A figure of the page: its files without suffix, and what it shows."""

    path: Path
    caption: str

    @property
    def svg(self) -> Markup:
        """The figure as an element of the page; matplotlib has escaped the text inside."""
        return Markup(style.inline(self.path.with_name(f"{self.path.name}.svg").read_text(encoding="utf-8")))


class Section(NamedTuple):
    """A part of a report, in the order of the fields; where it is folded, its title opens it."""

    title: str
    texts: Sequence[str] = ()
    table: Table | None = None
    pictures: Sequence[Picture] = ()
    code: str = ""
    folded: bool = False
    sections: Sequence[Section] = ()

    @property
    def anchor(self) -> str:
        """Name of the heading in links."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-")


Draw = Callable[[str, Figure, str], Picture]


def sections(
    table: ScoreTable,
    summaries: Sequence[Summary],
    frames: Mapping[str, pd.DataFrame],
    facts: Mapping[str, str],
    metrics: Sequence[Mapping[str, Any]],
    folder: Path,
    log: Callable[[str], None],
) -> list[Section]:
    """All sections in order; draws the figures into an existing folder on the way.

    ``frames`` are ``runs`` and ``times`` of `celo.evaluation.report.records`; ``facts`` fill the fixed text:
    ``resampling``, ``envelopes``. The other arguments are as for `celo.evaluation.report.write`.
    """
    prose = tomllib.loads((_HERE / "prose.toml").read_text(encoding="utf-8"))
    kinds = table.requested.optimizers
    look = style.looks({label: label != NOISE and kinds[label].learned for label in table.labels})

    def draw(name: str, figure: Figure, caption: str) -> Picture:
        picture = Picture(folder / file_name(name), caption)
        style.save(figure, picture.path)
        return picture

    log("figures of the scores")
    made = [_scores(table, summaries, prose, facts, look, draw)] if summaries else []
    log("training curves")
    curves = Section("Training curves", prose["curves"], pictures=_curves(table, look, draw))
    made += [_tasks(table, summaries, prose), curves]
    if pictures := _schedules(table, look, draw):
        made.append(Section("Learned schedules", prose["schedules"], pictures=pictures))
    if metrics:
        picture = draw("meta_loss", figures.meta_loss(metrics), "Meta-loss over meta-iterations")
        made.append(Section("Meta-training", prose["meta_training"], pictures=[picture]))
    failed = tables.diverged(frames["runs"])
    made.append(Section("Diverged trainings", prose["diverged" if failed else "none_diverged"], failed))
    # What differs when the same is done again comes last.
    return [*made, *_origin(table, frames["times"], prose)]


def _scores(
    table: ScoreTable,
    summaries: Sequence[Summary],
    prose: Mapping[str, list[str]],
    facts: Mapping[str, str],
    look: Mapping[str, style.Look],
    draw: Draw,
) -> Section:
    noise = {one.score.name: one.aggregates[NOISE]["iqm"].value for one in summaries}
    velo = "without_envelopes" if table.envelopes is None else "envelopes" if "velo_speedup" in noise else ""
    reading = [*prose["reading"], *prose.get(velo, [])]
    parts = [
        Section("How to read the scores", [text.format(NOISE=NOISE, **noise, **facts) for text in reading])
    ]
    parts += [
        Section(one.score.title, [one.score.meaning], tables.aggregates(table, one)) for one in summaries
    ]
    pictures = []
    for one in summaries:
        caption = f"Performance profile of the {one.score.title}, with 95% bands"
        pictures.append(draw(f"profile_{one.score.name}", figures.profiles(one, look), caption))
    parts.append(Section("Performance profiles", prose["profiles"], pictures=pictures))
    pictures = []
    for name in ("iqm", "optimality_gap"):
        for one in summaries:
            caption = f"{tables.TITLES[name]} of the {one.score.title} with 95% intervals, by optimizer"
            figure = figures.intervals(one, name, look)
            pictures.append(draw(f"interval_{one.score.name}_{name}", figure, caption))
    said = [*tables.findings(table), *prose["scores"]]
    return Section("Scores", said, tables.overview(table, summaries), pictures, sections=parts)


def _tasks(table: ScoreTable, summaries: Sequence[Summary], prose: Mapping[str, list[str]]) -> Section:
    parts = [Section("Final training loss", prose["final_loss"], tables.final_losses(table))]
    for one in summaries:
        parts.append(Section(f"{one.score.title} by task", prose["by_task"], tables.task_scores(one)))
    if found := tables.corpora(table):
        parts.append(Section("Corpora and tokenizers", prose["corpora"], found))
    return Section("Tasks", prose["tasks"], tables.score_table(table), sections=parts)


def _curves(table: ScoreTable, look: Mapping[str, style.Look], draw: Draw) -> list[Picture]:
    """Training curves of every task with a finished pair."""
    made = []
    for task in table.all_tasks:
        if results := {label: own[task] for label, own in table.results.items() if task in own}:
            figure = figures.training_curves(task, results, table.references.get(task), look)
            made.append(draw(f"curves_{task}", figure, f"Training loss of every optimizer on {task}"))
    return made


def _schedules(table: ScoreTable, look: Mapping[str, style.Look], draw: Draw) -> list[Picture]:
    """Step sizes by optimizer, then by task, wherever there is a learned scheduler."""
    by_label: dict[str, dict[str, Any]] = {}
    by_task: dict[str, dict[str, Any]] = {}
    for label, own in table.results.items():
        for task, result in own.items():
            eta = result.runs.eta
            if eta is not None and (eta != 1).any():  # without a scheduler all are 1
                by_label.setdefault(label, {})[task] = eta
                by_task.setdefault(task, {})[label] = eta
    made = []
    for label, etas in by_label.items():
        caption = f"Step sizes that {label} sets on every task"
        made.append(draw(f"schedule_{label}", figures.schedules(label, etas), caption))
    for task, etas in by_task.items():
        caption = f"Step sizes of learned schedulers on {task}"
        made.append(draw(f"step_size_{task}", figures.step_sizes(task, etas, look), caption))
    return made


def _origin(table: ScoreTable, times: pd.DataFrame, prose: Mapping[str, list[str]]) -> list[Section]:
    """Run time and provenance."""
    timed, started = tables.run_time(times), table.requested.provenance
    run_time = Section("Run time", prose["run_time"], timed)
    if len(timed.rows) > _MOST_ROWS:
        folded = Section("Every task and optimizer", table=timed, folded=True)
        run_time = Section("Run time", prose["run_time"], sections=[folded])
    code = json_bytes(json_ready(started)).decode().rstrip()
    parts = [Section("The evaluation started with", code=code, folded=True)] if started else []
    made_with = tables.environments(table)
    return [run_time, Section("Provenance", prose["provenance"], made_with, sections=parts)]


def html_page(title: str, subtitle: str, notes: Sequence[str], parts: Sequence[Section]) -> str:
    """The report as one HTML page that refers to nothing outside it; jinja2 escapes all text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        finalize=lambda value: value if isinstance(value, Markup) else plain(str(value)),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"breakable": _breakable, "code": _code, "interval": _interval, "key": _key}
    environment.filters["verbatim"] = escape
    colours = {"light": style.variables(dark=False), "dark": style.variables(dark=True)}
    template = environment.get_template("page.html.jinja")
    return template.render(title=title, subtitle=subtitle, notes=notes, sections=parts, **colours)


def markdown_page(title: str, subtitle: str, notes: Sequence[str], parts: Sequence[Section]) -> str:
    """The report as Markdown, whose figures are files in a folder beside it."""
    head = [f"# {markdown_text(title)}", markdown_text(subtitle)]
    if notes:
        head.append("\n".join(f"> - {markdown_text(note)}" for note in notes))
    return "\n\n".join([*head, *(line for part in parts for line in _markdown(part, 2))]) + "\n"


def _markdown(section: Section, level: int) -> list[str]:
    title = markdown_text(section.title)
    lines = [title if section.folded else f"{'#' * level} {title}", *map(markdown_text, section.texts)]
    if section.table:
        lines.append(section.table.markdown())
    for picture in section.pictures:
        address = f"{picture.path.parent.name}/{picture.path.name}.png"
        lines.append(f"![{markdown_text(picture.caption)}]({address})")
    if section.code:
        lines.append(re.sub("^", "    ", section.code, flags=re.MULTILINE))
    return lines + [line for one in section.sections for line in _markdown(one, level + 1)]


def _breakable(text: str) -> Markup:
    """Text whose long words, names of tasks and paths, may be broken where they are joined."""
    return Markup(re.sub(r"(?<=\w)([_/:])(?=\w)", r"\1<wbr>", str(escape(plain(str(text))))))


def _code(text: str) -> Markup:
    """A sentence with what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(plain(str(text))))))


def _interval(text: str) -> Markup:
    """A cell's text, the interval at its end in a ``span``."""
    value, bracket, interval = plain(str(text)).partition(" [")
    if not (bracket and interval.endswith("]")):
        return _breakable(text)
    return Markup('{} <span class="interval">[{}</span>').format(value, interval)


def _key(cell: str) -> str:
    return str(cell.key) if isinstance(cell, Cell) else cell.lower()
