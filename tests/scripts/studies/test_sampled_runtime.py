"""The study of predicted times: resumes from its file, and reports errors of rows of known form."""

import json

import pytest

from celo.meta.tasks.sampled.names import configuration_of
from celo.scripts.studies import sampled_runtime


def rows(count):
    """Times proportional to the batch."""
    names = [f"sampled:image_mlp/{number}@digits" for number in range(count)]
    return {name: 1e-7 * configuration_of(name)["batch_size"] for name in names}


def test_finished_rows_are_not_measured_again(tmp_path, capsys, monkeypatch):
    path = tmp_path / "times.jsonl"
    path.write_text("".join(json.dumps({"name": n, "seconds": s}) + "\n" for n, s in rows(39).items()))
    measured = []
    monkeypatch.setattr(sampled_runtime, "make", measured.append)
    monkeypatch.setattr(sampled_runtime, "measure_seconds", lambda task, key: 1e-5)
    assert sampled_runtime.main(["--out", str(path), "--count", "40", "--dataset", "digits"]) == 0
    assert measured == ["sampled:image_mlp/39@digits"]
    assert len(path.read_text().splitlines()) == 40
    out = capsys.readouterr().out
    assert "30 configurations fitted" in out
    assert "10 held out" in out


def test_bad_input(capsys):
    for arguments, message in (
        (["--family", "image_mpl"], "image_mlp"),
        (["--dataset", "x"], "Unknown dataset"),
    ):
        with pytest.raises(SystemExit) as raised:
            sampled_runtime.main(["--out", "unused", *arguments])
        assert raised.value.code == 2
        assert message in capsys.readouterr().err
