"""A table of formatted numbers: aligned text for a terminal, Markdown, and rows for the page."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from celo.evaluation.report.escape import markdown_text, plain

DASH = "–"


class Cell(str):
    """Text of a table with the value it is sorted by; the text itself unless a ``key`` is given.

    >>> Cell("0.5 ± 0.1", 0.5).key, Cell("Adam").key
    (0.5, 'adam')
    """

    key: str | float

    def __new__(cls, text: str, key: float | None = None) -> Cell:
        """Text and key."""
        cell = super().__new__(cls, text)
        cell.key = text.lower() if key is None else float(key)
        return cell


class Table(NamedTuple):
    """Cells as text.

    Attributes:
        header: names of the columns.
        rows: their cells, `Cell` where a page sorts them by another value than their text.
        words: how many columns are left-aligned, from the first; the others are right-aligned.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1

    def text(self, grouped: bool = False) -> str:
        """Aligned with spaces, for a terminal.

        Args:
            grouped: whether the first column is a separate line above the rows that share it.
        """
        shown = (
            Table(self.header[1:], tuple(row[1:] for row in self.rows), self.words - 1) if grouped else self
        )
        indent = "  " if grouped else ""
        head, *lines = [indent + "  ".join(line).rstrip() for line in shown._aligned(plain)]
        made = [head, indent + "  ".join("-" * width for width in shown._widths(plain))]
        for i, line in enumerate(lines):
            if grouped and (i == 0 or self.rows[i][0] != self.rows[i - 1][0]):
                made.append(plain(self.rows[i][0]))
            made.append(line)
        return "\n".join(made)

    def markdown(self) -> str:
        """A Markdown table, aligned in its source too."""
        head, *body = [f"| {' | '.join(line)} |" for line in self._aligned(markdown_text)]
        widths = self._widths(markdown_text)
        rule = ["-" * width if i < self.words else "-" * (width - 1) + ":" for i, width in enumerate(widths)]
        return "\n".join([head, f"| {' | '.join(rule)} |", *body])

    def _widths(self, escape: Callable[[str], str]) -> list[int]:
        columns = zip(self.header, *self.rows, strict=True)
        return [max(2, *(len(escape(cell)) for cell in column)) for column in columns]

    def _aligned(self, escape: Callable[[str], str]) -> list[list[str]]:
        widths = self._widths(escape)
        pad = [str.ljust if i < self.words else str.rjust for i in range(len(widths))]
        rows = (self.header, *self.rows)
        return [[p(escape(c), w) for p, c, w in zip(pad, row, widths, strict=True)] for row in rows]


def number(value: float, digits: int = 2) -> Cell:
    """A number with decimals; a dash, sorted last, where there is none.

    >>> number(0.123), number(123456.0), number(math.nan)
    ('0.12', '1.2e+05', '–')
    """
    if math.isnan(value):
        return Cell(DASH, -math.inf)
    return Cell(f"{value:.{digits}f}" if abs(value) < 1e4 else f"{value:.2g}", value)


def estimate(value: float, low: float, high: float) -> Cell:
    """An estimate with its interval, or without where there is none.

    >>> estimate(1.0, 0.5, 1.5), estimate(1.0, math.nan, math.nan)
    ('1.00 [0.50, 1.50]', '1.00')
    """
    if math.isnan(low):
        return number(value)
    return Cell(f"{number(value)} [{number(low)}, {number(high)}]", value)
