"""Tables, findings and the page, cell by cell."""

import json
import math
from html.parser import HTMLParser

import pytest
from celo.evaluation.comparison import Comparison
from tests.evaluation.outcomes import outcome

from celo.evaluation.report.table import Table, comparison_table, described, findings
from celo.evaluation.report.write import write_report

WON = outcome([[2, 4], [0.4, 0.6], [4, 4]], {"Celo": [0.25, 0.25]}, task="won")
LOST = outcome([[2, 4], [0.4, 0.6], [4, math.nan]], {"Celo": [1.0, math.inf]}, task="lost <b>")


def test_cells_by_hand():
    table = comparison_table([WON, LOST])
    assert table.header == ("task", "steps", "Adam's rate", "Adam", "Celo", "score", "beats", "diverged")
    assert table.rows[0] == (
        *("won", "40", "0.01", "0.5 ± 0.14", "0.25 ± 0"),
        *("2.00", "3 of 3", "0/6 + 0/2"),
    )
    assert table.rows[1] == (
        *("lost <b>", "40", "0.01", "0.5 ± 0.14", "diverged"),
        *("0.25", "0 of 3", "1/6 + 1/2"),
    )


def test_one_seed_has_no_deviation_and_large_scores_no_decimals():
    table = comparison_table([outcome([[0.5]], {"Celo": [0.001]})])
    assert table.rows[0][3:6] == ("0.5", "0.001", "500")


def test_several_learned_optimizers_get_columns_each():
    table = comparison_table([outcome([[1.0]], {"Celo": [0.5], "VeLO": [2.0]})])
    assert table.header[4:10] == ("Celo", "score", "beats", "VeLO", "score", "beats")
    assert table.rows[0][5:10:3] == ("2.00", "0.50")
    assert table.rows[0][-1] == "0/1 + 0/1 + 0/1"


def test_text_and_markdown_are_aligned():
    table = Table(("a", "bb"), (("long", "1"), ("x", "222")))
    assert table.text().splitlines() == ["a      bb", "----  ---", "long    1", "x     222"]
    assert table.markdown().splitlines() == [
        "| a    |  bb |",
        "| ---- | --: |",
        "| long |   1 |",
        "| x    | 222 |",
    ]


def test_findings_tell_wins_and_losses():
    said = findings([WON, LOST], "Celo")
    assert said[0].startswith("Celo, trained once and not tuned, ends lower than the best of Adam's 3 rates")
    assert said[0].endswith("on: won.")
    assert said[1] == "Celo does not reach the best of Adam's 3 rates on: lost <b>."
    assert said[2] == "Celo diverged on at least one seed (score 0 there) on: lost <b>."
    assert len(said) == 3
    edge = outcome([[3.0], [2.0], [1.0]], {"Celo": [1.0]})
    assert findings([edge], "Celo") == [
        "Celo does not reach the best of Adam's 3 rates on: task.",
        "Adam's best rate is at the end of the grid, so a better one may lie beyond, on: task.",
    ]


def test_the_description_holds_table_and_findings():
    text = described([WON, LOST])
    assert comparison_table([WON, LOST]).text() in text
    assert all(sentence in text for sentence in findings([WON, LOST], "Celo"))


def test_an_empty_table_is_refused():
    with pytest.raises(ValueError, match="at least one task, got none"):
        comparison_table([])


class Page(HTMLParser):
    """Collects the open tags, what is fetched from elsewhere, and the text."""

    def __init__(self, text):
        super().__init__()
        self.open, self.sources, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.sources += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_a_report_is_complete_and_needs_no_network(tmp_path):
    rows = [{"stage": 1, "step": 20 * i, "meta_loss": 1.0 / i} for i in range(1, 5)]
    folder = tmp_path / "new" / "report"
    path = write_report(folder, "Celo & Adam", [WON, LOST], Comparison(seeds=2), rows)
    assert sorted(file.name for file in folder.iterdir()) == [
        *("index.html", "loss_curves.png", "loss_curves.svg", "meta_loss.png", "meta_loss.svg"),
        *("results.json", "schedule.png", "schedule.svg", "table.md"),
    ]
    page = Page(path.read_text())
    assert page.open == []
    assert len(page.sources) == 3
    assert all(source.startswith("data:image/svg+xml;base64,") for source in page.sources)
    assert "Celo & Adam" in page.text
    assert "lost <b>" in page.text
    assert "prefers-color-scheme: dark" in page.text
    assert (folder / "table.md").read_text() == comparison_table([WON, LOST]).markdown() + "\n"
    results = json.loads((folder / "results.json").read_text())
    assert [task["task"] for task in results["tasks"]] == ["won", "lost <b>"]
    assert len(results["learning_rates"]) == 14
    assert results["provenance"]["versions"]["jax"]


def test_a_report_without_meta_training_has_no_picture_of_it(tmp_path):
    write_report(tmp_path, "title", [WON], Comparison(seeds=2))
    assert not list(tmp_path.glob("meta_loss*"))
