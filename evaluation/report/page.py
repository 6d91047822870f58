"""The page of a report: its sections, rendered as one HTML file and as Markdown."""

from __future__ import annotations

import collections
import itertools
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
from celo.evaluation.scores import NOISE, VELO, ScoreTable
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
    page = _Page(table, summaries, folder)
    log("figures of the scores")
    made = [page.scores(facts)] if summaries else []
    log("training curves")
    made += [page.tasks(), Section("Training curves", page.prose["curves"], pictures=page.curves())]
    if pictures := page.schedules():
        made.append(Section("Learned schedules", page.prose["schedules"], pictures=pictures))
    if metrics:
        picture = page.draw("meta_loss", figures.meta_loss(metrics), "Meta-loss over meta-iterations")
        made.append(Section("Meta-training", page.prose["meta_training"], pictures=[picture]))
    failed = tables.diverged(frames["runs"])
    made.append(Section("Diverged trainings", page.prose["diverged" if failed else "none_diverged"], failed))
    # What differs when the same is done again comes last.
    return [*made, *page.origin(frames["times"])]


class _Page:
    """Makes the sections of a score table; its figures go into a folder."""

    def __init__(self, table: ScoreTable, summaries: Sequence[Summary], folder: Path):
        self.table, self.summaries, self.folder = table, summaries, folder
        self.prose: dict[str, list[str]] = tomllib.loads((_HERE / "prose.toml").read_text(encoding="utf-8"))
        kinds = table.requested.optimizers
        self.look = style.looks({label: label != NOISE and kinds[label].learned for label in table.labels})

    def draw(self, name: str, figure: Figure, caption: str) -> Picture:
        picture = Picture(self.folder / file_name(name), caption)
        style.save(figure, picture.path)
        return picture

    def scores(self, facts: Mapping[str, str]) -> Section:
        noise = {one.score.name: one.aggregates[NOISE]["iqm"].value for one in self.summaries}
        velo = "without_envelopes" if self.table.envelopes is None else "envelopes" if VELO in noise else ""
        reading = [*self.prose["reading"], *self.prose.get(velo, [])]
        reading = [text.format(NOISE=NOISE, **noise, **facts) for text in reading]
        parts, profiles, intervals = [Section("How to read the scores", reading)], [], []
        for one in self.summaries:
            name, title = one.score.name, one.score.title
            parts.append(Section(title, [one.score.meaning], tables.aggregates(self.table, one)))
            if name == VELO:
                parts.append(Section("VeLO's columns", self.prose["velo"], tables.velo(self.table)))
            figure = figures.profiles(one, self.look)
            caption = f"Performance profile of the {title}, with 95% bands"
            profiles.append(self.draw(f"profile_{name}", figure, caption))
        for aggregate, one in itertools.product(("iqm", "optimality_gap"), self.summaries):
            figure = figures.intervals(one, aggregate, self.look)
            what = f"{tables.TITLES[aggregate]} of the {one.score.title}"
            caption = f"{what} with 95% intervals, by optimizer"
            intervals.append(self.draw(f"interval_{one.score.name}_{aggregate}", figure, caption))
        parts.append(Section("Performance profiles", self.prose["profiles"], pictures=profiles))
        said = [*tables.findings(self.table), *self.prose["scores"]]
        overview = tables.overview(self.table, self.summaries)
        return Section("Scores", said, overview, intervals, sections=parts)

    def tasks(self) -> Section:
        parts = [Section("Final training loss", self.prose["final_loss"], tables.final_losses(self.table))]
        for one in self.summaries:
            title = f"{one.score.title} by task"
            parts.append(Section(title, self.prose["by_task"], tables.task_scores(self.table, one)))
        if found := tables.corpora(self.table):
            parts.append(Section("Corpora and tokenizers", self.prose["corpora"], found))
        return Section("Tasks", self.prose["tasks"], tables.score_table(self.table), sections=parts)

    def curves(self) -> list[Picture]:
        """Training curves of every task with a finished pair."""
        made = []
        for task in self.table.all_tasks:
            if results := {label: own[task] for label, own in self.table.results.items() if task in own}:
                best = self.table.references.get(task)
                figure = figures.training_curves(task, results, best, self.look)
                made.append(
                    self.draw(f"curves_{task}", figure, f"Training loss of every optimizer on {task}")
                )
        return made

    def schedules(self) -> list[Picture]:
        """Step sizes by optimizer, then by task, wherever there is a learned scheduler."""
        by_label, by_task = collections.defaultdict(dict), collections.defaultdict(dict)
        for label, own in self.table.results.items():
            for task, result in own.items():
                eta = result.runs.eta
                if eta is not None and (eta != 1).any():  # without a scheduler all are 1
                    by_label[label][task] = by_task[task][label] = eta
        made = []
        for label, etas in by_label.items():
            caption = f"Step sizes that {label} sets on every task"
            made.append(self.draw(f"schedule_{label}", figures.schedules(label, etas), caption))
        for task, etas in by_task.items():
            caption = f"Step sizes of learned schedulers on {task}"
            made.append(self.draw(f"step_size_{task}", figures.step_sizes(task, etas, self.look), caption))
        return made

    def origin(self, times: pd.DataFrame) -> list[Section]:
        """Run time and provenance."""
        timed, started = tables.run_time(times), self.table.requested.provenance
        run_time = Section("Run time", self.prose["run_time"], timed)
        if len(timed.rows) > _MOST_ROWS:
            folded = Section("Every task and optimizer", table=timed, folded=True)
            run_time = run_time._replace(table=None, sections=[folded])
        code = json_bytes(json_ready(started)).decode().rstrip()
        parts = [Section("The evaluation started with", code=code, folded=True)] if started else []
        made_with = tables.environments(self.table)
        return [run_time, Section("Provenance", self.prose["provenance"], made_with, sections=parts)]


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
