"""One self-contained page: text, tables and figures in a single HTML file, for light and dark screens."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from celo.evaluation.report.dark import adapted

_CSS = """
:root { color-scheme: light dark; --text: #1b1b1b; --quiet: #5a5a5a; --back: #ffffff; --line: #e2e2e2;
  --strong: #9a9a9a; --soft: #f6f6f4; --mark: #b45309; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8e8e8; --quiet: #a8a8a8; --back: #16181c; --line: #2e3138; --strong: #6a6e77;
    --soft: #1e2127; --mark: #f0b429; }
}
* { box-sizing: border-box; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
  max-width: 82rem; margin: 2rem auto 4rem; padding: 0 1.2rem; overflow-wrap: break-word; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 0.4rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 0.4rem; } h3 { font-size: 1rem; margin: 1.6rem 0 0.3rem; }
p, li { max-width: 46rem; } .quiet, figcaption { color: var(--quiet); font-size: 0.9rem; }
p { margin: 0.4rem 0 0.8rem; }
nav { font-size: 0.9rem; margin: 0.6rem 0 1rem; } nav a { margin-right: 1.1rem; white-space: nowrap; }
a { color: inherit; text-decoration-color: var(--strong); text-underline-offset: 0.2em; }
.notice { border-left: 3px solid var(--mark); background: var(--soft); padding: 0.5rem 1rem 0.6rem;
  margin: 1rem 0; font-size: 0.92rem; max-width: 52rem; }
.notice ul { margin: 0.2rem 0; padding-left: 1.1rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.92rem; }
th, td { padding: 0.35rem 0.8rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th { font-weight: 600; vertical-align: bottom; border-bottom: 1px solid var(--strong); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.sortable td:first-child, .sortable th:first-child { position: sticky; left: 0; background: var(--back);
  white-space: normal; min-width: 11rem; max-width: 19rem; overflow-wrap: break-word; }
.sortable th { white-space: normal; min-width: 4.5rem; }
.sortable button { all: unset; cursor: pointer; color: inherit; }
.sortable button:hover { text-decoration: underline; text-underline-offset: 0.2em; }
.sortable button:focus-visible { outline: 2px solid var(--mark); outline-offset: 2px; }
th[aria-sort=ascending] button::after { content: " \\2191"; }
th[aria-sort=descending] button::after { content: " \\2193"; }
.interval { color: var(--quiet); font-size: 0.88em; }
figure { margin: 0.8rem 0; } figure img { max-width: 100%; height: auto; display: block; }
.grid { display: grid; gap: 0.6rem 1.4rem; align-items: start; margin: 0.6rem 0;
  grid-template-columns: repeat(auto-fill, minmax(min(100%, 21rem), 1fr)); }
.grid.square { max-width: 56rem; grid-template-columns: repeat(auto-fill, minmax(min(100%, 24rem), 1fr)); }
.grid figure { margin: 0; } .grid img { width: 100%; }
.broad { display: grid; gap: 1rem; } .broad img { width: 100%; max-width: 46rem; }
details { margin: 0.5rem 0; } summary { cursor: pointer; }
pre { overflow-x: auto; font-size: 0.82rem; line-height: 1.4; background: var(--soft); padding: 0.7rem 1rem; }
@media (max-width: 40rem) {
  body { margin-top: 1.2rem; padding: 0 0.9rem; } th, td { padding: 0.35rem 0.5rem; }
  .sortable td:first-child, .sortable th:first-child { min-width: 6rem; max-width: 8.5rem;
    font-size: 0.95em; }
}
@media print { .wide { overflow-x: visible; } nav { display: none; } }
"""


class Picture(NamedTuple):
    """A figure of the page.

    Attributes:
        path: its SVG file.
        title: heading above it.
        caption: what it shows, below it; also read out where it cannot be seen.
    """

    path: Path
    title: str
    caption: str


def document(title: str, body: str, script: str = "") -> str:
    """A whole HTML document without references to anything outside it.

    Args:
        title: of its window.
        body: what is in it, as HTML.
        script: run when the body is there.
    """
    end = f"<script>\n{script}</script>\n" if script else ""
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{_CSS}</style>
</head>
<body>
{body}{end}</body>
</html>
"""


def page(
    title: str, table: str, findings: Sequence[str], notes: Sequence[str], pictures: Sequence[Picture]
) -> str:
    """The page as HTML; the pictures are inside it, so the file can be sent on by itself.

    Args:
        title: heading of the page.
        table: the table, as HTML.
        findings: sentences above the table.
        notes: sentences below it: what was measured and with what.
        pictures: figures in order.

    Returns:
        A whole document without references to anything outside it.
    """
    said = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in findings)
    noted = "".join(f'<p class="quiet">{html.escape(sentence)}</p>\n' for sentence in notes)
    shown = "".join(f"<h2>{html.escape(picture.title)}</h2>\n{figure(picture)}" for picture in pictures)
    body = f"""<h1>{html.escape(title)}</h1>
<ul>{said}</ul>
<div class="wide">
{table}
</div>
{noted}{shown}"""
    return document(title, body)


def figure(picture: Picture, captioned: bool = True) -> str:
    """A picture as HTML, with the file's content inside; its lines and letters follow the screen's theme.

    Args:
        picture: the picture.
        captioned: whether its caption is shown, or only read out.
    """
    data = base64.b64encode(adapted(picture.path.read_text(encoding="utf-8")).encode()).decode()
    caption = html.escape(picture.caption)
    below = f"<figcaption>{caption}</figcaption>" if captioned else ""
    return f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{caption}">\n{below}</figure>\n'
