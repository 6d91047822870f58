"""The report of an evaluation as a folder of files, and in a browser."""

import os
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from celo.evaluation.scoreboard import NOISE, scoreboard
from celo.evaluation.summary import summarise
from tests.evaluation.cells import cell

from celo.evaluation.envelope import Envelope
from celo.evaluation.report.benchmark import write_benchmark
from celo.evaluation.report.document import Folded, Heading, Notice, Prose, html_document, markdown_document
from celo.evaluation.report.sections import Sources

SOURCES = Sources(50, 0, "", {"versions": {"jax": "0.0"}})
CELO = "celo <1>"
VOID = {"meta", "img", "br", "wbr"}


def cells():
    adam = [[2, 2], [0.4, 0.6], [1, 1]]
    some = [cell(adam, "a"), cell([0.25, 1.0], "a", CELO)]
    return [*some, cell(adam, "b"), cell([2.0, 2.5], "b", CELO)]


def written(folder, some):
    board = scoreboard(some) if isinstance(some, list) else some
    return write_benchmark(folder, board, summarise(board, 50), SOURCES)


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return written(tmp_path_factory.mktemp("report"), cells())


class Checker(HTMLParser):
    """Collects what a page refers to and whether its elements are closed."""

    def __init__(self):
        super().__init__()
        self.open, self.outside = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href") and not str(value).startswith(("data:", "#")):
                self.outside.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_and_refers_to_nothing_outside(report):
    checker = Checker()
    text = report.read_text()
    checker.feed(text)
    assert not checker.open
    assert not checker.outside
    assert not re.search(r"@import|url\(|https?://(?!www\.w3\.org)", text.partition("<body>")[2])
    assert "celo &lt;1&gt;" in text
    assert "<1>" not in text


def test_the_page_says_which_speedup_is_which_and_what_the_noise_row_means(report):
    text = report.read_text()
    assert "First crossing is the paper&#x27;s speedup" in text
    assert "Sustained counts from the step" in text
    assert "is the best Adam&#x27;s own runs scored against their mean" in text
    first = re.search(r'<tbody>\n<tr><td data-key="[^"]*">([^<]*)', text)
    assert first is not None
    assert first.group(1) == NOISE
    assert "its optimality gap 0" in text


def test_the_page_says_what_velos_speedup_needs_or_how_to_read_it(report, tmp_path):
    assert "it needs `celo report --envelope`" in (report.parent / "report.md").read_text()
    envelope = Envelope(np.array([0.0, 100.0]), np.array([2.0, 0.0]))
    board = scoreboard(cells(), envelopes={"a": envelope})
    text = written(tmp_path, board).read_text()
    assert "--envelope" not in text
    assert "need not be 1 even without noise" in text


def test_markdown_refers_to_figures_that_are_there(report):
    text = (report.parent / "report.md").read_text()
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert len(pictures) == 3 * 2 + 3 + 2
    for picture in pictures:
        assert (report.parent / picture).read_bytes().startswith(b"\x89PNG")
        assert (report.parent / picture).with_suffix(".svg").exists()
    assert {path.name for path in (report.parent / "tables").iterdir()} == {
        *("scores.csv", "profiles.csv", "runs.csv", "times.csv", "provenance.json")
    }


@pytest.mark.slow
def test_equal_results_give_equal_files(report, tmp_path):
    again = written(tmp_path, cells())
    for path in sorted(report.parent.rglob("*.*")):
        if path.is_file():
            assert (again.parent / path.relative_to(report.parent)).read_bytes() == path.read_bytes(), path


def test_a_half_finished_folder_is_reported_with_its_holes(tmp_path):
    text = written(tmp_path, cells()[:3]).read_text()
    assert "Never asked for (1 of 4 cells): celo &lt;1&gt; on b." in text
    assert "1 of 2 tasks scored" in text


def test_without_any_score_the_page_shows_what_is_there(tmp_path):
    text = written(tmp_path, [cells()[1]]).read_text()
    assert "There is no task to score" in text
    assert 'id="training-curves"' in text
    assert 'id="scores"' not in text


def test_blocks_in_both_forms():
    blocks = [Heading("A & B"), Prose("x < y"), Notice(("look",)), Folded("more", "text")]
    html = html_document("T", "S", blocks)
    assert '<a href="#a-b">A &amp; B</a>' in html
    assert "<p>x &lt; y</p>" in html
    assert "<details><summary>more</summary>\n<pre>text</pre></details>" in html
    assert markdown_document("T", "S", blocks) == (
        "# T\n\nS\n\n## A & B\n\nx < y\n\n> - look\n\nmore\n\n```\ntext\n```\n"
    )


@pytest.fixture(scope="module")
def browser():
    names = ("chromium", "chromium-browser", "google-chrome", "chrome")
    found = next(filter(None, map(shutil.which, names)), None)
    if found is None:
        pytest.skip(f"no browser on this machine; looked for {', '.join(names)}")

    def run(page, *options):
        root = ("--no-sandbox",) if os.geteuid() == 0 else ()
        command = [found, "--headless", "--disable-gpu", "--hide-scrollbars", *root, *options, page.as_uri()]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout

    return run


def scripted(page, folder, script):
    """The page with a script run at its end, which writes what it finds into the body's ``data-found``."""
    copy = folder / "scripted.html"
    copy.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
    return copy


def found(dom):
    match = re.search(r'data-found="([^"]*)"', dom)
    assert match is not None, dom[-500:]
    return match.group(1)


WIDTHS = """const frame = document.createElement("iframe"); frame.style.width = "WIDTHpx";
frame.srcdoc = "<!doctype html>" + document.documentElement.outerHTML.replaceAll("<script", "<template");
frame.onload = () => { const root = frame.contentDocument.documentElement;
  document.body.dataset.found = root.scrollWidth + " of " + root.clientWidth; };
document.body.append(frame);"""


@pytest.mark.slow
@pytest.mark.parametrize("width", [390, 1280])
def test_nothing_sticks_out_sideways(report, browser, tmp_path, width):
    script = WIDTHS.replace("WIDTH", str(width))
    dom = browser(scripted(report, tmp_path, script), "--dump-dom", "--virtual-time-budget=5000")
    content, shown = map(int, found(dom).split(" of "))
    assert content <= shown
    assert abs(shown - width) < 20


@pytest.mark.slow
def test_pressing_a_head_sorts_the_table_and_pressing_it_again_turns_it(report, browser, tmp_path):
    script = """const table = document.querySelectorAll("table.sortable")[0];
    const column = (i) => [...table.tBodies[0].rows].map((row) => row.cells[i].dataset.key);
    const press = (i) => { table.querySelectorAll("button")[i].click();
      return column(i).join(",") + ";" + table.querySelectorAll("th")[i].getAttribute("aria-sort"); };
    document.body.dataset.found = [press(1), press(1), press(0), press(0)].join("|");"""
    down, up, names, turned = found(browser(scripted(report, tmp_path, script), "--dump-dom")).split("|")
    numbers, order = down.split(";")
    values = [float(value) for value in numbers.split(",")]
    assert (values, order) == (sorted(values, reverse=True), "descending")
    assert values[0] != values[1]
    assert up == ",".join(reversed(numbers.split(","))) + ";ascending"
    assert names.endswith("celo &lt;1&gt;;ascending")
    assert turned.startswith("celo &lt;1&gt;,")


@pytest.mark.slow
def test_pictures_differ_between_light_and_dark_and_are_shown_in_both(report, browser, tmp_path):
    from PIL import Image

    seen = {}
    for theme, number in (("light", 1), ("dark", 0)):
        picture = tmp_path / f"{theme}.png"
        setting = f"--blink-settings=preferredColorScheme={number}"
        browser(report, setting, "--window-size=1000,2400", f"--screenshot={picture}")
        with Image.open(picture) as image:
            assert image.size == (1000, 2400)
            seen[theme] = image.convert("RGB")
            colours = image.convert("RGB").getcolors(maxcolors=2**24)
        assert colours is not None
        assert len(colours) > 500  # text, tables and figures, not an empty page
    assert sum(seen["light"].getpixel((2, 2))) > 700
    assert sum(seen["dark"].getpixel((2, 2))) < 120
