"""The command ``celo report``: a folder of results becomes a report, or one message and exit code 2."""

import csv
import json
import math

import numpy as np
import pytest

from celo.evaluation import requested, results
from celo.evaluation.envelope import envelope_of
from celo.evaluation.report import style
from celo.evaluation.requested import requested_by
from celo.scripts.report import envelopes, main
from tests.evaluation.rows import rows as trainings

ADAM = [[2, 2], [0.4, 0.6], [1, 1]]


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch):
    """Figures are tested elsewhere, and rendering them takes longer than everything else."""
    monkeypatch.setattr(
        style, "save", lambda figure, path: path.with_name(f"{path.name}.svg").write_text("<svg/>")
    )


def batches(steps=40):
    return [
        trainings(ADAM, "a", steps=steps),
        trainings([0.25, 1.0], "a", "celo", steps=steps),
        trainings(ADAM, "b", steps=steps),
        trainings([2.0, 2.5], "b", "celo", steps=steps),
    ]


def stored(folder, requests, finished):
    """A folder of results in which batches were requested and some are finished."""
    requested.declare(folder, requested_by([row for rows in requests for row in rows]))
    for rows in finished:
        results.write(folder, rows)
    return folder


def report(*arguments):
    return main([*map(str, arguments), "--reps", "20"])


def test_a_finished_folder_becomes_a_report(tmp_path, capsys):
    folder = stored(tmp_path / "results", batches(), batches())
    assert report(folder) == 0
    printed = capsys.readouterr().out
    assert "Adam* (noise reference)" in printed
    assert str(folder / "report" / "report.html") in printed
    assert "20 resamples, seed 0" in (folder / "report" / "report.html").read_text()
    with open(folder / "report" / "tables" / "scores.csv") as file:
        kinds = {row["score"] for row in csv.DictReader(file)}
    assert kinds == {"final_loss", "speedup", "sustained_speedup"}
    assert len(results.read(folder)) == 16  # the report lies among the results and disturbs nothing


@pytest.mark.parametrize("damaged", [False, True])
def test_what_is_missing_is_named(tmp_path, capsys, damaged):
    folder = stored(tmp_path, batches(), batches() if damaged else batches()[:3])
    if damaged:
        path = next(path for path in results.files(folder) if path.name.startswith("b--celo"))
        path.write_bytes(b"junk")
    assert report(folder, "--out", tmp_path / "out") == 0
    printed = capsys.readouterr().out
    assert "Not finished: celo on b (2 of 2 trainings)." in printed
    assert ("is skipped" in printed) == damaged
    assert "celo on b" in (tmp_path / "out" / "report.html").read_text()


def test_envelopes_from_a_file_and_from_another_folder(tmp_path, capsys):
    folder = stored(tmp_path / "results", batches(), batches())
    np.savez(tmp_path / "e.npz", names=["a"], steps=[[0.0, 100.0]], loss=[[2.0, 0.0]])
    assert report(folder, "--envelope", tmp_path / "e.npz") == 0
    assert "over 1 of the 2 scored tasks" in capsys.readouterr().out
    assert "published, from e.npz" in (folder / "report" / "report.html").read_text()
    long = stored(tmp_path / "long", batches(80), batches(80))
    assert report(folder, "--envelope", long) == 0
    assert "the curves of adam in long, 80 steps long" in (folder / "report" / "report.html").read_text()
    printed = capsys.readouterr().out
    assert "fewer than 100 evaluations" in printed
    assert "mean min(1/s, 10)" in printed
    with open(folder / "report" / "tables" / "velo.csv") as file:
        found = {row["row"]: float(row["mean"]) for row in csv.DictReader(file)}
    assert found == {"adam, 0.01": 2.0, "celo": 1.0, "adam": 2.0, "best of all": 2.0}


def test_a_normalizer_of_several_optimizers_is_at_most_each_of_theirs(tmp_path):
    rows = [trainings(ADAM, "a"), trainings([0.01, 0.01], "a", "radam"), trainings(ADAM, "b")]
    folder = stored(tmp_path / "long", rows, rows)
    (adam, _), (both, words) = (envelopes(folder, names) for names in (("adam",), ("adam", "radam")))
    assert (set(adam), set(both)) == ({"a", "b"}, {"a"})  # radam has no training on b
    assert words.startswith("the curves of adam, radam in long")
    alone = envelope_of(rows[1])
    assert (both["a"].loss <= adam["a"].loss).all()
    assert (both["a"].loss < adam["a"].loss).any()
    ends = [-1]  # where all three have an evaluation
    assert both["a"].loss[ends] == np.minimum(adam["a"].loss, alone.loss)[ends]
    assert report(folder, "--envelope", folder, "--normalizer", "adam", "radam", "--optimizers", "adam") == 0


def damaged_request(folder):
    path = folder / requested.REQUEST_FILE
    path.write_text(json.dumps({"settings": {}}))


def rows_of_celo_alone(folder):
    for path in results.files(folder):
        if "--adam--" in path.name:
            path.unlink()


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        (None, ("--optimizers", "cello"), "Unknown optimizer 'cello'. Did you mean 'celo'?"),
        (None, ("--seed", str(2**32)), f"seed is {2**32}"),
        (None, ("--reps", "10000000"), "reps is 10000000"),
        (None, ("--envelope", "absent.npz"), "absent.npz"),
        (None, ("--out", "{folder}/evaluation.json/report"), "evaluation.json"),
        (damaged_request, (), "does not describe an evaluation"),
        (rows_of_celo_alone, ("--envelope", "{folder}"), "no task with finished trainings of adam"),
        (None, ("--envelope", "{folder}", "--normalizer", "radm"), "Unknown optimizer 'radm'"),
        (
            None,
            ("--normalizer", "celo"),
            "--normalizer celo needs a folder of results as --envelope; got none",
        ),
        (None, ("--normalizer",), "names no optimizer"),
    ],
)
def test_bad_input_ends_in_one_message(tmp_path, refused, change, arguments, message):
    folder = stored(tmp_path / "results", batches(), batches())
    if change:
        change(folder)
    words = ["--reps", "20", *(argument.format(folder=folder) for argument in arguments)]
    assert message in refused(main, [folder, *words])
    assert not (folder / "report").exists()


def test_an_empty_folder_is_refused_with_what_was_requested(tmp_path, refused):
    folder = stored(tmp_path / "results", batches(), [])
    assert "requested: adam on a; celo on a" in refused(main, [folder])
    assert "holds no evaluation" in refused(main, [tmp_path])


def test_a_file_in_place_of_a_folder_is_refused(tmp_path, refused):
    (tmp_path / "file").touch()
    message = f"error: {tmp_path / 'file'} is a file; expected a folder of results"
    assert refused(main, [tmp_path / "file"]) == message


def test_a_training_of_one_seed_that_diverged_everywhere_is_reported(tmp_path, capsys):
    rows = [
        trainings([math.nan], "a", settings=({"learning_rate": 1.0},)),
        trainings([math.nan], "a", "celo"),
    ]
    folder = stored(tmp_path, rows, rows)
    assert report(folder) == 0
    assert "No task can be scored" in capsys.readouterr().out
