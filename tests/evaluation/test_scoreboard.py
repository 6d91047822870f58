"""The scoreboard: rows, matrices, holes that are named and never averaged over."""

import dataclasses
import math

import numpy as np
import pytest

from celo.evaluation.coverage import coverage, told_apart
from celo.evaluation.envelope import Envelope
from celo.evaluation.report.caveats import caveats
from celo.evaluation.scoreboard import NOISE, scoreboard
from tests.evaluation.cells import cell

ADAM = [[2, 2], [0.4, 0.6], [1, math.nan]]


def full():
    return [
        cell(ADAM, "a"),
        cell([0.25, 1.0], "a", "celo"),
        cell([[3, 3], [1, 1], [2, 2]], "b"),
        cell([0.5, math.nan], "b", "celo"),
    ]


def by_name(board):
    return {scored.name: scored for scored in board.scored}


def test_matrices_by_hand_with_the_noise_reference_first():
    board = scoreboard(full())
    assert board.labels == (NOISE, "celo")
    assert board.tasks == ("a", "b")
    found = by_name(board)
    assert list(found) == ["final_loss", "speedup", "sustained_speedup"]
    np.testing.assert_allclose(found["final_loss"].scores["celo"], [[2.0, 2.0], [0.5, 0.0]])
    np.testing.assert_allclose(found["final_loss"].scores[NOISE], [[0.5 / 0.4, 1], [0.5 / 0.6, 1]], rtol=1e-6)
    for scored in board.scored:
        assert list(scored.scores) == [NOISE, "celo"]
        assert scored.scores["celo"][1, 1] == 0  # diverged
    assert not board.coverage.sentences()


def test_tuned_baselines_are_chosen_as_adam_is():
    cells = [*full(), cell([[0.1, 5.0], [0.5, 0.5], [9, 9]], "a", "sgd"), cell(ADAM, "b", "sgd")]
    board = scoreboard(cells)
    assert {task: board.runs["sgd"][task].index for task in "ab"} == {"a": 1, "b": 1}
    np.testing.assert_allclose(by_name(board)["final_loss"].scores["sgd"][:, 0], [1, 1], rtol=1e-6)


def test_the_sustained_speedup_is_never_above_the_first_crossing():
    found = by_name(scoreboard(full()))
    for label in (NOISE, "celo"):
        assert (found["sustained_speedup"].scores[label] <= found["speedup"].scores[label]).all()


def test_a_task_with_a_hole_is_left_out_for_all():
    board = scoreboard(full()[:3], expected=[("a", "adam"), ("a", "celo"), ("b", "adam"), ("b", "celo")])
    assert board.tasks == ("a",)
    for scored in board.scored:
        assert {matrix.shape for matrix in scored.scores.values()} == {(2, 1)}
    said = " ".join(board.coverage.sentences())
    assert "Not finished (1 of 4 cells): celo on b." in said
    assert "over the 1 of 2 tasks" in said
    assert "left out of every score, for all optimizers alike: b." in said
    assert set(board.runs[NOISE]) == {"a", "b"}  # still there to be drawn


def test_what_nobody_asked_for_is_a_hole_too():
    found = coverage(full()[:3])
    assert found.unasked == (("b", "celo"),)
    assert found.complete == ("a",)
    assert found.sentences()[0] == "Never asked for (1 of 4 cells): celo on b."


def test_without_adam_there_are_no_scores():
    board = scoreboard([full()[1]])
    assert board.scored == ()
    assert board.coverage.holes == (("a", "adam"),)


def test_a_task_where_adam_always_diverged_is_named_and_not_scored():
    nan = math.nan
    board = scoreboard([*full()[:2], cell([[nan, 1]] * 3, "c"), cell([1, 1], "c", "celo")])
    assert (board.tasks, set(board.unscorable)) == (("a",), {"c"})
    assert "Adam diverged" in board.unscorable["c"]
    assert "c" not in board.references


@pytest.mark.parametrize(("adam", "celo", "whose"), [(-1.0, 1.0, NOISE), (1.0, -1.0, "celo")])
def test_a_task_with_negative_losses_is_named_and_the_others_scored(adam, celo, whose):
    board = scoreboard([*full()[:2], cell([[adam, 1]] * 3, "c"), cell([celo, 1], "c", "celo")])
    assert (board.tasks, set(board.unscorable)) == (("a",), {"c"})
    assert f"{whose} has the negative final loss -1" in board.unscorable["c"]
    assert any(sentence.endswith("means anything, on: c.") for sentence in caveats(board))


def test_no_cell_is_refused_with_what_was_asked_for():
    with pytest.raises(ValueError, match="no finished cell to report on; asked for: adam on a"):
        scoreboard([], [("a", "adam")])


def test_velos_speedup_is_over_the_tasks_with_an_envelope():
    envelope = Envelope(np.array([0.0, 100.0]), np.array([2.0, 0.0]))
    velo = by_name(scoreboard(full(), envelopes={"b": envelope, "other": envelope}))["velo_speedup"]
    assert velo.tasks == ("b",)
    np.testing.assert_allclose(velo.scores["celo"], [[75 / 40], [0]])


LM = "TransformerLM_LM1B_MultiRuntime_0"
T5 = "published tokenizer google-t5/t5-small of 32,100 ids, 32,100 of them in use"
LM1B = f"lm1b (billion-word-benchmark/lm1b), 9 documents of its train file; {T5}"
OTHER = f"wikitext2_valid (Salesforce/wikitext), 9 documents of its train file; {T5}"
FITTED = "lm1b (billion-word-benchmark/lm1b), 9 documents; byte-pair encoding, trained on 9 documents"
FILE = LM1B.replace("published tokenizer google-t5/t5-small", "tokenizer of a file t.json (SHA-256 0a)")


def language_models(note, **changes):
    return [
        cell(final, LM, label, info={"data": note}, **changes)
        for label, final in (("adam", ADAM), ("celo", [0.5, 1.0]))
    ]


@pytest.mark.parametrize(
    ("note", "envelope", "left_out"),
    [
        (LM1B, {}, None),
        (OTHER, {}, "of the published corpus, the runs are not"),
        (FITTED, {}, "of the published tokenizer, the runs are not"),
        (FILE, {}, "of the published tokenizer, the runs are not"),
        (FITTED, {"evaluations": 200, "task_digest": "d"}, None),
        (OTHER, {"evaluations": 200, "task_digest": "d"}, None),  # our own, on the same data
        (OTHER, {"evaluations": 200}, None),  # of a folder from before digests
        (LM1B, {"evaluations": 200, "task_digest": "e"}, "of other data or another definition"),
    ],
)
def test_velos_speedup_leaves_out_tasks_whose_envelope_is_of_other_data(note, envelope, left_out):
    one = Envelope(np.array([0.0, 100.0]), np.array([2.0, 0.0]), **envelope)
    board = scoreboard(language_models(note, task_digest="d"), envelopes={LM: one})
    assert board.tasks == (LM,)
    assert ("velo_speedup" in by_name(board)) == (left_out is None)
    if left_out:
        assert left_out in board.without_envelope[LM]


def test_a_task_whose_data_differ_between_optimizers_is_named_and_not_scored():
    digests = [{"task_digest": digest} for digest in "aabc"]
    cells = [dataclasses.replace(one, **more) for one, more in zip(full(), digests, strict=True)]
    board = scoreboard(cells)
    assert board.tasks == ("a",)
    said = board.coverage.sentences()
    assert said[0] == (
        "b had other data or another definition for adam than for celo, so nothing compares them there."
    )
    assert "over the 1 of 2 tasks that every optimizer has finished on the same data" in said[1]
    assert said[1].endswith("alike: b.")


def test_two_corpora_under_one_name_are_told_apart_by_their_names():
    adam, celo = language_models(LM1B, task_digest="a")[0], language_models(OTHER, task_digest="b")[1]
    board = scoreboard([adam, celo])
    assert not board.scored
    assert "for adam (on lm1b) than for celo (on wikitext2_valid)" in board.coverage.sentences()[0]


def test_cells_from_before_digests_raise_no_alarm():
    old, new = full()[:2], [dataclasses.replace(one, task_digest="b") for one in full()[2:]]
    assert scoreboard([old[0], dataclasses.replace(old[1], task_digest="a"), *new]).tasks == ("a", "b")
    assert told_apart([("x", None), ("y", "1"), ("z", "1")]) == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({}, "two results of celo on a"),
        ({"optimizer": "star", "steps": 30}, "star on a took 30 steps and adam 40"),
        ({"optimizer": "star", "seeds": (5, 6)}, r"star on a has seeds \(5, 6\), adam on a \(0, 1\)"),
    ],
)
def test_cells_that_do_not_belong_together_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        scoreboard([*full(), cell([1.0, 1.0], "a", **({"optimizer": "celo"} | changes))])
