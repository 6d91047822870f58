"""One self-contained page: text, table and figures in a single HTML file, for light and dark screens."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_CSS = """
:root { color-scheme: light dark; --text: #1b1b1b; --quiet: #5a5a5a; --back: #ffffff; --line: #dddddd; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e8e8e8; --quiet: #a8a8a8; --back: #16181c; --line: #3a3d44; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--back);
  max-width: 78rem; margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2.2rem; }
p, li { max-width: 46rem; } .quiet, figcaption { color: var(--quiet); font-size: 0.9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 0.92rem; }
th, td { padding: 0.35rem 0.8rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
figure { margin: 0.8rem 0; }
figure img { max-width: 100%; box-sizing: border-box; padding: 0.6rem;
  background: #ffffff; border-radius: 8px; }
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
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{_CSS}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<ul>{said}</ul>
<div class="wide">
{table}
</div>
{noted}{"".join(_figure(picture) for picture in pictures)}</body>
</html>
"""


def _figure(picture: Picture) -> str:
    data = base64.b64encode(picture.path.read_bytes()).decode()
    caption = html.escape(picture.caption)
    return (
        f"<h2>{html.escape(picture.title)}</h2>\n"
        f'<figure><img src="data:image/svg+xml;base64,{data}" alt="{caption}">\n'
        f"<figcaption>{caption}</figcaption></figure>\n"
    )
