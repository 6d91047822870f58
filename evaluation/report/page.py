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
from celo.evaluation.report.escape import file_name, markdown_text
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
    """A part of a report, in the order of the fields.

    Attributes:
        title: its heading, or what to press where it is folded.
        texts: paragraphs.
        table: a table.
        pictures: figures.
        code: text shown as it is.
        folded: whether the reader has to open it.
        sections: smaller sections.
    """

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


class Content(NamedTuple):
    """What a report shows.

    Attributes:
        table: the scores.
        summaries: their aggregates.
        trainings: of `celo.evaluation.report.records.trainings`.
        times: of `celo.evaluation.report.records.times`.
        facts: words that fill the fixed text: ``resampling``, ``envelopes``.
        metrics: rows of the metrics of a meta-training; none for no figure of it.
    """

    table: ScoreTable
    summaries: Sequence[Summary]
    trainings: pd.DataFrame
    times: pd.DataFrame
    facts: Mapping[str, str]
    metrics: Sequence[Mapping[str, Any]] = ()


def sections(content: Content, folder: Path, log: Callable[[str], None]) -> list[Section]:
    """All sections in order; draws the figures into a folder on the way.

    Args:
        content: what to show.
        folder: of the figures; it exists.
        log: gets a line before every kind of figure.
    """
    prose = tomllib.loads((_HERE / "prose.toml").read_text(encoding="utf-8"))
    table = content.table
    look = style.looks(NOISE, {label: _learned(table, label) for label in table.labels})

    def draw(name: str, figure: Figure, caption: str) -> Picture:
        picture = Picture(folder / file_name(name), caption)
        style.save(figure, picture.path)
        return picture

    made = [_scores(content, prose, look, draw)] if content.summaries else []
    log("training curves")
    made += [
        _tasks(content, prose),
        Section("Training curves", prose["curves"], pictures=_curves(table, look, draw)),
    ]
    if pictures := _schedules(table, look, draw):
        made.append(Section("Learned schedules", prose["schedules"], pictures=pictures))
    if content.metrics:
        picture = draw("meta_loss", figures.meta_loss(content.metrics), "Meta-loss over meta-iterations")
        made.append(Section("Meta-training", prose["meta_training"], pictures=[picture]))
    failed = tables.diverged(content.trainings)
    made.append(Section("Diverged trainings", prose["diverged" if failed else "none_diverged"], failed))
    # What differs when the same is done again comes last.
    return [*made, *_origin(content, prose)]


def _scores(
    content: Content, prose: Mapping[str, list[str]], look: Any, draw: Callable[..., Picture]
) -> Section:
    table, summaries = content.table, content.summaries
    noise = {one.score.name: one.aggregates[NOISE]["iqm"].value for one in summaries}
    envelopes = (
        "without_envelopes" if table.envelopes is None else "envelopes" if "velo_speedup" in noise else ""
    )
    reading = [*prose["reading"], *prose.get(envelopes, [])]
    reading = [text.format(NOISE=NOISE, **noise, **content.facts) for text in reading]
    parts = [Section("How to read the scores", reading)]
    parts += [
        Section(one.score.title, [one.score.meaning], tables.aggregates(table, one)) for one in summaries
    ]
    profiles = [
        draw(
            f"profile_{one.score.name}",
            figures.profiles(one, look),
            f"Performance profile of the {one.score.title}, with 95% bands",
        )
        for one in summaries
    ]
    parts.append(Section("Performance profiles", prose["profiles"], pictures=profiles))
    intervals = [
        draw(
            f"interval_{one.score.name}_{name}",
            figures.intervals(one, name, look),
            f"{tables.TITLES[name]} of the {one.score.title} with 95% intervals, by optimizer",
        )
        for name in ("iqm", "optimality_gap")
        for one in summaries
    ]
    said = [*tables.findings(table), *prose["scores"]]
    return Section("Scores", said, tables.overview(table, summaries), intervals, sections=parts)


def _tasks(content: Content, prose: Mapping[str, list[str]]) -> Section:
    table = content.table
    parts = [Section("Final training loss", prose["final_loss"], tables.final_losses(table))]
    parts += [
        Section(f"{one.score.title} by task", prose["by_task"], tables.task_scores(one))
        for one in content.summaries
    ]
    if found := tables.corpora(table):
        parts.append(Section("Corpora and tokenizers", prose["corpora"], found))
    return Section("Tasks", prose["tasks"], tables.score_table(table), sections=parts)


def _curves(table: ScoreTable, look: Any, draw: Callable[..., Picture]) -> list[Picture]:
    """Training curves of every task with a finished pair."""
    found = {
        task: {label: own[task] for label, own in table.results.items() if task in own}
        for task in table.all_tasks
    }
    return [
        draw(
            f"curves_{task}",
            figures.training_curves(task, results, table.references.get(task), look),
            f"Training loss of every optimizer on {task}",
        )
        for task, results in found.items()
        if results
    ]


def _schedules(table: ScoreTable, look: Any, draw: Callable[..., Picture]) -> list[Picture]:
    """Step sizes by optimizer, then by task, wherever there is a learned scheduler."""
    by_label: dict[str, dict[str, Any]] = {}
    by_task: dict[str, dict[str, Any]] = {}
    for label, own in table.results.items():
        for task, result in own.items():
            eta = result.runs.eta
            if eta is not None and (eta != 1).any():  # without a scheduler all are 1
                by_label.setdefault(label, {})[task] = eta
                by_task.setdefault(task, {})[label] = eta
    made = [
        draw(
            f"schedule_{label}", figures.schedules(label, etas), f"Step sizes that {label} sets on every task"
        )
        for label, etas in by_label.items()
    ]
    return made + [
        draw(f"step_size_{task}", figures.step_sizes(task, etas, look), f"Step sizes of schedulers on {task}")
        for task, etas in by_task.items()
    ]


def _origin(content: Content, prose: Mapping[str, list[str]]) -> list[Section]:
    """Run time and provenance."""
    timed, begun = tables.run_time(content.times), content.table.requested.provenance
    run_time = Section(
        "Run time",
        prose["run_time"],
        sections=[Section("Every task and optimizer", table=timed, folded=True)],
    )
    if len(timed.rows) <= _MOST_ROWS:
        run_time = Section("Run time", prose["run_time"], timed)
    code = json_bytes(json_ready(begun)).decode().rstrip()
    parts = [Section("The evaluation started with", code=code, folded=True)] if begun else []
    provenance = Section(
        "Provenance", prose["provenance"], tables.environments(content.table), sections=parts
    )
    return [run_time, provenance]


def _learned(table: ScoreTable, label: str) -> bool:
    meaning = table.requested.optimizers.get(label)
    return meaning is not None and meaning.learned


def html_page(title: str, subtitle: str, notes: Sequence[str], parts: Sequence[Section]) -> str:
    """The report as one HTML page that refers to nothing outside it; jinja2 escapes all text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"breakable": _breakable, "code": _code, "interval": _interval, "key": _key}
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
    return Markup(re.sub(r"(?<=\w)([_/:])(?=\w)", r"\1<wbr>", str(escape(str(text)))))


def _code(text: str) -> Markup:
    """A sentence with what stands in backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


def _interval(text: str) -> Markup:
    """A cell's text, the interval at its end in a ``span``."""
    value, bracket, interval = str(text).partition(" [")
    if not (bracket and interval.endswith("]")):
        return _breakable(text)
    return Markup('{} <span class="interval">[{}</span>').format(value, interval)


def _key(cell: str) -> str:
    return str(cell.key) if isinstance(cell, Cell) else cell.lower()
