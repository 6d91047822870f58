"""The command ``celo report``: a folder of results becomes a report, and what is wrong is said."""

import csv
import json

import numpy as np
import pytest

from celo.evaluation.store import Store, name_of
from celo.scripts.report import main
from tests.evaluation.cells import cell

ADAM = [[2, 2], [0.4, 0.6], [1, 1]]


def cells(steps=40):
    return [
        cell(ADAM, "a", steps=steps),
        cell([0.25, 1.0], "a", "celo", steps=steps),
        cell(ADAM, "b", steps=steps),
        cell([2.0, 2.5], "b", "celo", steps=steps),
    ]


def stored(folder, asked, finished):
    store = Store(folder)
    store.declare({"steps": 40}, [name_of(one) for one in asked], {"versions": {"jax": "0.0"}})
    for one in finished:
        store.write(one)
    return folder


def report(*arguments):
    return main([*map(str, arguments), "--reps", "20"])


def test_a_finished_folder_becomes_a_report(tmp_path, capsys):
    folder = stored(tmp_path / "results", cells(), cells())
    assert report(folder) == 0
    printed = capsys.readouterr().out
    assert "Adam* (noise reference)" in printed
    assert str(folder / "report" / "report.html") in printed
    assert "The evaluation was begun with" in (folder / "report" / "report.html").read_text()
    with open(folder / "report" / "tables" / "scores.csv") as file:
        assert {row["score"] for row in csv.DictReader(file)} == {
            "final_loss",
            "speedup",
            "sustained_speedup",
        }
    assert not Store(folder).missing()  # the report lies among the results and disturbs nothing


def test_a_half_finished_folder_says_what_is_missing(tmp_path, capsys):
    folder = stored(tmp_path, cells(), cells()[:3])
    assert report(folder, "--out", tmp_path / "out") == 0
    assert "Not finished (1 of 4 cells): celo on b." in capsys.readouterr().out
    assert "celo on b." in (tmp_path / "out" / "report.html").read_text()


def test_fewer_optimizers_bring_their_tasks_back(tmp_path, capsys):
    asked = [*cells(), cell([1.0, 1.0], "a", "star")]
    folder = stored(tmp_path, asked, cells())
    assert report(folder, "--optimizers", "celo") == 0
    assert "Not finished" not in capsys.readouterr().out


def test_envelopes_from_a_file_and_from_another_folder(tmp_path, capsys):
    folder = stored(tmp_path / "results", cells(), cells())
    np.savez(tmp_path / "e.npz", names=["a"], steps=[[0.0, 100.0]], loss=[[2.0, 0.0]])
    assert report(folder, "--envelope", tmp_path / "e.npz") == 0
    assert "VeLO's speedup is over 1 of the 2 scored tasks" in capsys.readouterr().out
    long = stored(tmp_path / "long", cells(80), cells(80))
    assert report(folder, "--envelope", long) == 0
    page = (folder / "report" / "report.html").read_text()
    assert "own curves in long, 80 steps long" in page
    printed = capsys.readouterr().out
    assert "fewer than 100 evaluations" in printed
    assert "longer than the runs" not in printed


def test_envelopes_of_other_tasks_do_not_go_unsaid(tmp_path, capsys):
    folder = stored(tmp_path / "results", cells(), cells())
    np.savez(tmp_path / "e.npz", names=["c"], steps=[[0.0, 100.0]], loss=[[2.0, 0.0]])
    assert report(folder, "--envelope", tmp_path / "e.npz") == 0
    said = (
        "VeLO's speedup is not scored, although envelopes were given; there is no envelope of Adam for: a, b."
    )
    assert said in capsys.readouterr().out
    text = (folder / "report" / "report.md").read_text()
    assert said in text
    assert "published, from" not in text


def refusal(capsys, *arguments):
    with pytest.raises(SystemExit) as stopped:
        report(*arguments)
    assert stopped.value.code == 2
    return capsys.readouterr().err


def test_an_empty_folder_is_refused_with_what_was_asked_for(tmp_path, capsys):
    folder = stored(tmp_path, cells(), [])
    said = refusal(capsys, folder)
    assert "no finished cell to report on; asked for: adam on a; celo on a; adam on b; celo on b" in said
    assert not (folder / "report").exists()


def test_what_is_no_folder_of_results_is_refused(tmp_path, capsys):
    assert "holds no evaluation" in refusal(capsys, tmp_path)


def test_a_folder_of_another_version_is_refused(tmp_path, capsys):
    folder = stored(tmp_path, cells(), cells())
    path = folder / "evaluation.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"format": 99}))
    assert "format 99" in refusal(capsys, folder)


def test_unknown_optimizers_and_bad_numbers_are_refused(tmp_path, capsys):
    folder = stored(tmp_path, cells(), cells())
    assert "Unknown optimizer 'cello'. Did you mean 'celo'?" in refusal(
        capsys, folder, "--optimizers", "cello"
    )
    assert "seed is -1" in refusal(capsys, folder, "--seed", "-1")
    assert "no file of envelopes" in refusal(capsys, folder, "--envelope", tmp_path / "absent.npz")


def test_a_damaged_cell_is_missing_and_said(tmp_path, capsys):
    folder = stored(tmp_path, cells(), cells())
    Store(folder).path(name_of(cells()[3])).write_bytes(b"junk")
    assert report(folder) == 0
    printed = capsys.readouterr().out
    assert "is damaged" in printed
    assert "Not finished (1 of 4 cells): celo on b." in printed
