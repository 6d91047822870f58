"""A report as a list of blocks, which are written as one HTML page and as Markdown."""

from __future__ import annotations

import html
import re
from collections.abc import Sequence
from typing import NamedTuple, Protocol

from celo.evaluation.report import page
from celo.evaluation.report.page import Picture
from celo.evaluation.report.table import Table

# Sorts a table by the column whose head is pressed: numbers from the highest, words from A; again turns it.
SORTING = """for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.querySelectorAll("th")], body = table.tBodies[0];
  const key = (row, i) => row.cells[i].dataset.key;
  const value = (text) => text === "inf" ? Infinity : text === "-inf" ? -Infinity : Number(text);
  heads.forEach((head, i) => head.firstElementChild.addEventListener("click", () => {
    const rows = [...body.rows], numeric = rows.every((row) => !Number.isNaN(value(key(row, i))));
    const before = head.getAttribute("aria-sort");
    const up = before ? before === "descending" : !numeric;
    rows.sort((a, b) => {
      const x = key(a, i), y = key(b, i);
      const order = numeric ? (value(x) > value(y)) - (value(x) < value(y)) : x.localeCompare(y);
      return up ? order : -order;
    });
    heads.forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    body.append(...rows);
  }));
}
"""


class Block(Protocol):
    """A part of a report."""

    def html(self) -> str:
        """As HTML."""
        ...

    def markdown(self) -> str:
        """As Markdown."""
        ...


class Heading(NamedTuple):
    """A heading; those of level 2 make the table of contents."""

    text: str
    level: int = 2

    @property
    def anchor(self) -> str:
        """Its name in links."""
        return re.sub(r"[^a-z0-9]+", "-", self.text.lower()).strip("-")

    def html(self) -> str:
        """As HTML."""
        return f'<h{self.level} id="{self.anchor}">{html.escape(self.text)}</h{self.level}>\n'

    def markdown(self) -> str:
        """As Markdown."""
        return f"{'#' * self.level} {self.text}\n"


class Prose(NamedTuple):
    """A paragraph; quiet ones explain."""

    text: str
    quiet: bool = False

    def html(self) -> str:
        """As HTML."""
        kind = ' class="quiet"' if self.quiet else ""
        return f"<p{kind}>{html.escape(self.text)}</p>\n"

    def markdown(self) -> str:
        """As Markdown."""
        return f"{self.text}\n"


class Notice(NamedTuple):
    """Sentences that a reader must not miss."""

    sentences: tuple[str, ...]

    def html(self) -> str:
        """As HTML."""
        said = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in self.sentences)
        return f'<div class="notice" role="note"><ul>{said}</ul></div>\n'

    def markdown(self) -> str:
        """As Markdown."""
        return "".join(f"> - {sentence}\n" for sentence in self.sentences)


class Tabular(NamedTuple):
    """A table."""

    table: Table

    def html(self) -> str:
        """As HTML."""
        return f'<div class="wide">\n{self.table.html()}\n</div>\n'

    def markdown(self) -> str:
        """As Markdown."""
        return f"{self.table.markdown()}\n"


class Pictures(NamedTuple):
    """Figures side by side, as many in a row as fit, or wide ones below each other."""

    pictures: tuple[Picture, ...]
    wide: bool = False

    def html(self) -> str:
        """As HTML; the figures are inside."""
        shown = "".join(page.figure(picture, captioned=False) for picture in self.pictures)
        kind = "broad" if self.wide else "grid square" if len(self.pictures) == 4 else "grid"
        return f'<div class="{kind}">\n{shown}</div>\n'

    def markdown(self) -> str:
        """As Markdown, which refers to the PNG files."""
        return (
            "\n".join(f"![{p.caption}]({p.path.parent.name}/{p.path.stem}.png)" for p in self.pictures) + "\n"
        )


class Folded(NamedTuple):
    """Something long, shown when asked for."""

    title: str
    content: Tabular | str

    def html(self) -> str:
        """As HTML."""
        text = self.content
        inside = f"<pre>{html.escape(text)}</pre>" if isinstance(text, str) else text.html()
        return f"<details><summary>{html.escape(self.title)}</summary>\n{inside}</details>\n"

    def markdown(self) -> str:
        """As Markdown."""
        text = self.content
        inside = f"```\n{text}\n```" if isinstance(text, str) else text.markdown().rstrip("\n")
        return f"{self.title}\n\n{inside}\n"


def html_document(title: str, subtitle: str, blocks: Sequence[Block]) -> str:
    """The report as one HTML page without references to anything outside it."""
    heads = [block for block in blocks if isinstance(block, Heading) and block.level == 2]
    links = "\n".join(f'<a href="#{head.anchor}">{html.escape(head.text)}</a>' for head in heads)
    top = f'<h1>{html.escape(title)}</h1>\n<p class="quiet">{html.escape(subtitle)}</p>\n'
    body = f"{top}<nav>{links}</nav>\n{''.join(block.html() for block in blocks)}"
    return page.document(title, body, SORTING)


def markdown_document(title: str, subtitle: str, blocks: Sequence[Block]) -> str:
    """The report as Markdown, whose figures are files in a folder beside it."""
    return "\n".join([f"# {title}\n", f"{subtitle}\n", *(block.markdown() for block in blocks)])
