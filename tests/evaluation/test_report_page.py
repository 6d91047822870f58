"""The report of an evaluation as a folder of files, with any label, and in a browser."""

import csv
import json
import os
import re
import shutil
import subprocess
import xml.etree.ElementTree as ET
from html.parser import HTMLParser

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from celo.evaluation import report
from celo.evaluation.report import style
from celo.evaluation.report.escape import csv_text, file_name, markdown_text, plain
from celo.evaluation.report.page import Section, html_page, markdown_page
from celo.evaluation.scores import NOISE, score_table
from celo.evaluation.statistics import summarise
from tests.evaluation.rows import rows as trainings

CELO = "celo <1>"
VOID = {"meta", "img", "br", "wbr"}
NASTY = (
    r"costs $5 \frac{1 $",
    "a|b",
    "<script>alert(1)</script>",
    "`x` *y* _z_ [l](http://e) # h",
    "_hidden",
    "=1+HYPERLINK(0)",
    "line\nbreak\x1b[31m\x00\u2028",
    "{{ 7 * 7 }} {% raw %}",
    "优化器 🚀",
    "\"quoted\" & 'quoted'</style>",
    "../../etc/passwd",
    "x" * 300,
    'style="fill: #0072B2"',
)


def rows():
    adam = [[2, 2], [0.4, 0.6], [1, 1]]
    some = [*trainings(adam, "a"), *trainings([0.25, 1.0], "a", CELO)]
    return [*some, *trainings(adam, "b"), *trainings([2.0, 2.5], "b", CELO)]


def written(folder, some, curves=None, **options):
    table = score_table(some, envelopes=curves)
    return report.write(folder, table, summarise(table, 50), **options)


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    metrics = [{"stage": 1, "step": 20 * i, "meta_loss": 1.0 / i} for i in range(1, 5)]
    return written(tmp_path_factory.mktemp("report"), rows(), metrics=metrics)


class Checker(HTMLParser):
    """Collects the text of a page, what it refers to and whether its elements are closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.outside, self.text, self.tags = [], [], "", set()
        self.feed(text)
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.tags.add(tag)
        if tag not in VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "xlink:href") and not str(value).startswith(("data:", "#")):
                self.outside.append(value)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_and_refers_to_nothing_outside(page):
    text = page.read_text()
    checker = Checker(text)
    assert not checker.outside
    assert not re.search(r"@import|url\((?!#)|https?://(?!www\.w3\.org)", text.partition("<body>")[2])
    assert CELO in checker.text
    assert "<1>" not in text


def test_the_folder_holds_what_the_page_names(page):
    text = (page.parent / "report.md").read_text()
    pictures = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", text)
    assert len(pictures) == 3 * 2 + 3 + 2 + 1
    for picture in pictures:
        assert (page.parent / picture).read_bytes().startswith(b"\x89PNG")
        assert (page.parent / picture).with_suffix(".svg").exists()
    names = {path.name for path in (page.parent / "tables").iterdir()}
    assert names == {"scores.csv", "profiles.csv", "runs.csv", "times.csv", "provenance.json"}
    results = json.loads((page.parent / "results.json").read_text())
    assert [task["task"] for task in results["tasks"]] == ["a", "b"]
    assert (page.parent / "table.md").read_text() in text + "\n"


@pytest.mark.slow
def test_equal_rows_give_equal_files(page, tmp_path):
    metrics = [{"stage": 1, "step": 20 * i, "meta_loss": 1.0 / i} for i in range(1, 5)]
    again = written(tmp_path, rows(), metrics=metrics)
    for path in sorted(page.parent.rglob("*.*")):
        if path.is_file():
            assert (again.parent / path.relative_to(page.parent)).read_bytes() == path.read_bytes(), path


@pytest.mark.parametrize("left", [("a", CELO), ("b", CELO), None])
def test_an_unfinished_folder_is_reported_with_its_finished_trainings(tmp_path, monkeypatch, left):
    monkeypatch.setattr(style, "save", empty)
    some = [row for row in rows() if ((row.task, row.optimizer) != left if left else row.optimizer == CELO)]
    text = written(tmp_path, some).read_text()
    assert 'id="training-curves"' in text
    assert ('id="scores"' in text) == ("1 of 2 tasks scored" in text) == (left is not None)


def empty(figure, path):
    for kind in ("svg", "png"):
        path.with_name(f"{path.name}.{kind}").write_text("<svg></svg>")


@pytest.mark.slow
def test_any_label_and_task_passes_through_every_output(page, tmp_path):
    """Labels that mean something to mathtext, Markdown, HTML, jinja, CSV, terminals and file systems."""
    some = []
    for task in NASTY[:6]:
        some += trainings([[2, 2], [0.4, 0.6], [1, 1]], task, corpus=task, vocabulary=task, loss_unit=task)
    for i, label in enumerate(NASTY):
        for task in NASTY[:6]:
            eta = np.linspace(0.1, 1.0, 40, dtype=np.float32) if i == 0 else None
            some += trainings([0.25 + 0.1 * i, 1.0], task, label, eta=eta, versions={label: label})
    table = score_table(some)
    summaries = summarise(table, 20)
    html = Checker(report.write(tmp_path, table, summaries).read_text())
    assert html.tags <= Checker(page.read_text()).tags | {"code", "details", "li", "summary", "ul", "wbr"}
    for label in NASTY:
        assert plain(label) in html.text
    with open(tmp_path / "tables" / "runs.csv", newline="") as file:
        found = list(csv.DictReader(file))
    assert {row["optimizer"] for row in found} == {*map(csv_text, NASTY), NOISE}
    assert not [value for row in found for value in row.values() if value.startswith("=")]
    for line in (tmp_path / "table.md").read_text().splitlines():
        assert len(re.findall(r"(?<!\\)\|", line)) == 11
    printed = report.described(table, summaries)
    assert plain(printed.replace("\n", "")) == printed.replace("\n", "")
    for path in (tmp_path / "figures").glob("*.svg"):
        ET.parse(path)
    assert len(list((tmp_path / "figures").glob("*.png"))) == 9 + 6 + 1 + 6


@given(st.text())
def test_escaped_text_is_one_line_and_says_the_same(text):
    line = plain(text)
    assert "\n" not in line
    assert len(line) == len(text)
    assert re.sub(r"\\(?=[^\w\s])|\\(?=_)", "", markdown_text(text)).replace("\\", "") == line.replace(
        "\\", ""
    )
    assert not csv_text(text).lstrip().startswith(("=", "+", "-", "@"))
    assert re.fullmatch(r"[A-Za-z0-9_.@+~-]*", file_name(text))


def test_sections_in_both_forms():
    inside = Section("more", code="text", folded=True)
    parts = [Section("A & B", ("x < y, `code`",), sections=[inside])]
    html = html_page("T", "S", ["look"], parts)
    assert '<a href="#a-b">A &amp; B</a>' in html
    assert "x &lt; y, <code>code</code></p>" in html
    assert re.search(r"<details><summary>more</summary>\s*<pre>text</pre>\s*</details>", html)
    assert markdown_page("T", "S", ["look"], parts) == (
        "# T\n\nS\n\n> - look\n\n## A \\& B\n\nx \\< y, \\`code\\`\n\nmore\n\n    text\n"
    )


@pytest.mark.slow
def test_pressing_a_head_sorts_the_table_and_pressing_it_again_reverses_it(page, tmp_path):
    browsers = filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome")))
    browser = next(browsers, None) or pytest.skip("no browser on this machine")
    script = """const table = document.querySelector("table");
    const column = (i) => [...table.tBodies[0].rows].map((row) => row.cells[i].dataset.key);
    const press = (i) => { table.querySelectorAll("button")[i].click();
      return column(i).join(",") + ";" + table.querySelectorAll("th")[i].getAttribute("aria-sort"); };
    document.body.dataset.found = [press(1), press(1), press(0), press(0)].join("|");"""
    copy = tmp_path / "scripted.html"
    copy.write_text(page.read_text().replace("</body>", f"<script>{script}</script></body>"))
    root = ("--no-sandbox",) if os.geteuid() == 0 else ()
    command = [browser, "--headless", "--disable-gpu", *root, "--dump-dom", copy.as_uri()]
    dom = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout
    match = re.search(r'data-found="([^"]*)"', dom)
    assert match is not None, dom[-500:]
    down, up, names, turned = match.group(1).split("|")
    numbers, order = down.split(";")
    values = [float(value) for value in numbers.split(",")]
    assert (values, order) == (sorted(values, reverse=True), "descending")
    assert values[0] != values[1]
    assert up == ",".join(reversed(numbers.split(","))) + ";ascending"
    assert names.endswith("celo &lt;1&gt;;ascending")
    assert turned.startswith("celo &lt;1&gt;,")
