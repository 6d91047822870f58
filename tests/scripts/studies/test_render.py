"""Numbers of the documentation come from kept results."""

import json

import pytest

from celo.scripts.studies.render import main

TABLE = "| task | loss |\n| ---- | ---: |\n| a    |    1 |\n"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "docs" / "results").mkdir(parents=True)
    (tmp_path / "docs" / "results" / "table.csv").write_text("task,loss,other\na,1,x\n")
    numbers = {"cpu": {"iqm": [1.0249, 2]}, "rows": [{"task": "a", "loss": 1}], "text": "19 of 21"}
    (tmp_path / "docs" / "results" / "numbers.json").write_text(json.dumps(numbers))
    return tmp_path


def block(name, text="old"):
    return f"Before <!-- render: {name} -->{text}<!-- end --> after.\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("numbers.json:cpu.iqm.0:.2f", "1.02"),
        ("numbers.json:cpu.iqm.1", "2"),
        ("numbers.json:text", "19 of 21"),
        ("table.csv:task,loss", f"\n{TABLE}"),
        ("numbers.json:rows", f"\n{TABLE}"),
    ],
)
def test_blocks_are_rewritten_and_checked(root, capsys, name, text):
    page = root / "docs" / "page.md"
    page.write_text(block(name))
    (root / "README.md").write_text("No block.")
    assert main(["--root", str(root), "--check"]) == 1
    assert page.read_text() == block(name)
    assert main(["--root", str(root)]) == 0
    assert page.read_text() == block(name, text)
    assert main(["--root", str(root), "--check"]) == 0
    assert capsys.readouterr().out == f"differs from the results: {page}\nrendered: {page}\n"


def test_the_pages_of_the_repository_agree_with_the_kept_results():
    assert main(["--check"]) == 0


@pytest.mark.parametrize(
    "text",
    [
        block("absent.csv"),
        block("../page.md"),
        block("../results/table.csv"),
        block("table.csv:nothing"),
        block("numbers.json:cpu"),
        block("numbers.json:cpu.iqm.9"),
        block("numbers.json:text:.2f"),
        "<!-- render: table.csv --> without an end",
    ],
)
def test_bad_blocks_change_no_page(root, capsys, text):
    (root / "README.md").write_text(block("numbers.json:text") + text)
    before = (root / "README.md").read_text()
    with pytest.raises(SystemExit) as ended:
        main(["--root", str(root)])
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")
    assert (root / "README.md").read_text() == before
