"""Counts of a small repository made by hand."""

import pytest

from celo.scripts.studies import structure
from celo.scripts.studies.structure import imported_once, main, read, summary


@pytest.fixture
def root(tmp_path):
    files = {
        "celo/__init__.py": "",
        "celo/base.py": "def short():\n    return 1\n",
        "meta/long.py": "from celo.base import short\ndef long():\n" + "    short()\n" * 40,
        "scripts/run.py": "import celo.meta.long\nfrom celo import base\n",
        "tests/test_run.py": "import celo.scripts.run\n",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "celo" / "meta").symlink_to("../meta")
    return tmp_path


def test_a_small_repository(root):
    sources = read(root)
    assert imported_once(sources[:-1]) == ["meta.long"]
    found = summary(sources)
    assert (found["celo: files"], found["celo: lines"]) == (2, 2)
    assert (found["meta: files"], found["meta: lines"]) == (1, 42)
    assert found["source without tests and examples: lines"] == 46
    assert found["functions of more than 40 lines"] == 1


def test_two_columns(root, capsys, monkeypatch):
    monkeypatch.setattr(structure, "ROOT", root)
    monkeypatch.setattr(structure, "at_revision", lambda revision: [])
    assert main(["--against", "abc"]) == 0
    out = capsys.readouterr().out
    assert "| meta: lines " in out
    assert "Longest functions, working tree: meta.long.long (41), celo.base.short (2)" in out
    assert "Imported by one other file, working tree: meta.long" in out
