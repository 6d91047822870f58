"""The table of a comparison, as aligned text, Markdown and HTML, and its findings in words."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from typing import NamedTuple

from celo.evaluation.selection import Chosen
from celo.evaluation.task_comparison import TaskComparison


class Table(NamedTuple):
    """Cells as text; the first column is left-aligned, the others right-aligned.

    Attributes:
        header: names of the columns.
        rows: their cells.
        keys: what to sort each cell by, in a page whose reader can sort; without them there is no sorting.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    keys: tuple[tuple[str | float, ...], ...] = ()

    def text(self) -> str:
        """Aligned with spaces, for a terminal."""
        rule = tuple("-" * width for width in self._widths())
        return "\n".join(self._line(row, "  ") for row in (self.header, rule, *self.rows))

    def markdown(self) -> str:
        """A Markdown table, aligned in its source too."""
        widths = self._widths()
        rule = ("-" * widths[0], *("-" * (width - 1) + ":" for width in widths[1:]))
        return "\n".join(f"| {self._line(row, ' | ')} |" for row in (self.header, rule, *self.rows))

    def html(self) -> str:
        """An HTML table; what cells hold in brackets at their end, as intervals, is set apart."""
        if not self.keys:
            return self._html("", [f"<th>{html.escape(cell)}</th>" for cell in self.header], self.rows)
        head = [f'<th><button type="button">{_breakable(cell)}</button></th>' for cell in self.header]
        return self._html(' class="sortable"', head, self.rows, self.keys)

    def _html(
        self,
        kind: str,
        head: Sequence[str],
        rows: Sequence[Sequence[str]],
        keys: Sequence[Sequence[str | float]] = (),
    ) -> str:
        lines = []
        for i, row in enumerate(rows):
            sorting = [f' data-key="{html.escape(str(key))}"' for key in keys[i]] if keys else [""] * len(row)
            texts = [
                _breakable(cell) if keys and not place else _cell(cell) for place, cell in enumerate(row)
            ]
            cells = zip(texts, sorting, strict=True)
            lines.append("<tr>" + "".join(f"<td{key}>{text}</td>" for text, key in cells) + "</tr>")
        body = "\n".join(lines)
        return f"<table{kind}>\n<thead><tr>{''.join(head)}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>"

    def _widths(self) -> list[int]:
        return [max(map(len, column)) for column in zip(self.header, *self.rows, strict=True)]

    def _line(self, row: Sequence[str], separator: str) -> str:
        first, *others = self._widths()
        cells = [row[0].ljust(first), *(c.rjust(w) for c, w in zip(row[1:], others, strict=True))]
        return separator.join(cells).rstrip() if separator.isspace() else separator.join(cells)


def _breakable(text: str) -> str:
    """Text in HTML whose long words, names of tasks and paths, may be broken where they are joined."""
    return re.sub(r"(?<=\w)([_/:])(?=\w)", r"\1<wbr>", html.escape(text))


def _cell(text: str) -> str:
    """A cell's text in HTML, an interval at its end in a ``span``."""
    value, bracket, interval = text.partition(" [")
    if not (bracket and interval.endswith("]")):
        return html.escape(text)
    return f'{html.escape(value)} <span class="interval">{html.escape(bracket[1:] + interval)}</span>'


def comparison_table(outcomes: Sequence[TaskComparison]) -> Table:
    """A row per task: Adam's best rate and its final loss, each learned optimizer's final loss and score.

    Args:
        outcomes: one per task, with the same labels of learned optimizers.

    Returns:
        The table. Final losses are means over seeds with the standard deviation; a score is
        ``L_Adam* / L_opt``, its mean over seeds; "beats" counts Adam's rates that end higher; "diverged"
        counts trainings, Adam's of all rates first.

    Raises:
        ValueError: if there is no outcome.
    """
    if not outcomes:
        raise ValueError("a table needs at least one task, got none")
    labels = list(outcomes[0].learned)
    header = ["task", "steps", "Adam's rate", "Adam"]
    for label in labels:
        header += [label, "score", "beats"]
    return Table((*header, "diverged"), tuple(_row(outcome, labels) for outcome in outcomes))


def _row(outcome: TaskComparison, labels: Sequence[str]) -> tuple[str, ...]:
    rate, rates = outcome.learning_rates[outcome.best], len(outcome.learning_rates)
    cells = [outcome.task, str(outcome.adam.num_steps), f"{rate:.2g}", _loss(outcome.best_adam)]
    for label in labels:
        score = float(outcome.scores(label).mean())
        cells += [_loss(outcome.learned[label]), _score(score), f"{outcome.rates_beaten(label)} of {rates}"]
    every = [outcome.adam.diverged, *(outcome.learned[label].diverged for label in labels)]
    cells.append(" + ".join(f"{diverged.sum()}/{diverged.size}" for diverged in every))
    return tuple(cells)


def _loss(runs: Chosen) -> str:
    mean, deviation = runs.mean_final_loss, runs.spread
    if not math.isfinite(mean):
        return "diverged"
    return f"{mean:.3g}" if math.isnan(deviation) else f"{mean:.3g} ± {deviation:.2g}"


def _score(score: float) -> str:
    if math.isnan(score):
        return "none"
    return f"{score:.2f}" if score < 100 else f"{score:.0f}"


def findings(outcomes: Sequence[TaskComparison], label: str) -> list[str]:
    """What a comparison says about one learned optimizer, wins and losses alike, in sentences.

    Args:
        outcomes: one per task.
        label: which learned optimizer.

    Returns:
        A sentence on where it ends lower than the best Adam, one on where it does not, and warnings about
        best rates at the end of the grid and about divergence.
    """
    better = [o.task for o in outcomes if o.learned[label].mean_final_loss < o.best_adam.mean_final_loss]
    worse = [o.task for o in outcomes if o.task not in better]
    rates = len(outcomes[0].learning_rates)
    sentences = []
    if better:
        sentences.append(
            f"{label}, trained once and not tuned, ends lower than the best of Adam's {rates} rates on: "
            f"{', '.join(better)}."
        )
    if worse:
        sentences.append(f"{label} does not reach the best of Adam's {rates} rates on: {', '.join(worse)}.")
    edge = [o.task for o in outcomes if o.best_adam.edge]
    if edge:
        sentences.append(
            "Adam's best rate is at the end of the grid, so a better one may lie beyond, on: "
            f"{', '.join(edge)}."
        )
    failed = [o.task for o in outcomes if o.learned[label].diverged.any()]
    if failed:
        sentences.append(f"{label} diverged on at least one seed (score 0 there) on: {', '.join(failed)}.")
    return sentences


def described(outcomes: Sequence[TaskComparison]) -> str:
    """The table and the findings about every learned optimizer, as text for a terminal."""
    said = [sentence for label in outcomes[0].learned for sentence in findings(outcomes, label)]
    return "\n".join([comparison_table(outcomes).text(), "", *said])
