"""Curves that speedups read: evaluations, as published, or the loss of every step."""

import dataclasses

import numpy as np
import pytest

from celo.evaluation.checks import curve_words, notes
from celo.evaluation.choice import choose
from celo.evaluation.curves import ENOUGH, curve, kind_for
from celo.evaluation.scores import NOISE, score_table
from celo.evaluation.speedup import first_crossing, sustained
from celo.meta.full_training import smooth
from tests.evaluation.rows import curves, rows

STEPS = 1000


def evaluated(losses, every=10, **changes):
    """Rows whose losses alternate around a curve, and whose evaluations lie on it."""
    clean = np.atleast_2d(np.asarray(losses, np.float32))
    noise = 1.0 + 0.5 * (-1.0) ** np.arange(clean.shape[1], dtype=np.float32)
    at = np.append(np.arange(0, clean.shape[1], every), clean.shape[1])
    made = curves(clean * noise, evaluation_steps=at, evaluation_batches=5, **changes)
    return [
        dataclasses.replace(
            row,
            final_loss=float(own[-1]),
            evaluations={"train_loss": own[np.minimum(at, clean.shape[1] - 1)]},
        )
        for row, own in zip(made, clean, strict=True)
    ]


def falling(half_life):
    return 2.0 ** (-np.arange(STEPS) / half_life)


def test_a_curve_of_evaluations_ends_with_the_final_loss():
    runs = choose(evaluated([falling(300), falling(200)])).runs
    found = curve(runs, "evaluations")
    assert found.steps.tolist() == [*range(0, STEPS, 10), STEPS]
    np.testing.assert_array_equal(found.loss[:, -1], runs.final_loss)
    stored = np.stack([row.evaluations["train_loss"] for row in runs.rows])
    np.testing.assert_array_equal(found.loss[:, :-1], stored[:, :-1])
    np.testing.assert_allclose(found.smoothed, smooth(found.loss))
    every = curve(runs)
    assert every.steps.tolist() == list(range(1, STEPS + 1))
    np.testing.assert_array_equal(every.loss, runs.loss)


def test_crossings_count_the_steps_before_an_evaluation():
    losses, steps = [8.0, 0.0, 0.0, 0.0], [0, 10, 20, 25]
    np.testing.assert_allclose(smooth(losses), [8.0, 7.2, 6.48, 5.832])
    assert first_crossing(losses, 7.0, steps) == sustained(losses, 7.0, steps) == 25 / 20
    assert first_crossing(losses, 9.0, steps) == 25  # before the first step counts as one step
    assert first_crossing(losses, 5.0, steps) == 0
    assert sustained([8.0, 0.0, 90.0, 0.0], 7.5, steps) == 0


def test_speedups_read_the_curve_asked_for():
    own = [*evaluated([falling(200)] * 2), *evaluated([falling(100)] * 2, optimizer="celo", learned=True)]
    by_kind = {kind: score_table(own, kind=kind) for kind in (None, "evaluations", "steps")}
    assert {kind: table.curve for kind, table in by_kind.items()} == {
        None: "evaluations",
        "evaluations": "evaluations",
        "steps": "steps",
    }
    for kind, table in by_kind.items():
        runs, adam = table.results["celo"]["task"].runs, table.results[NOISE]["task"].runs
        target = curve(adam, kind or "evaluations").smoothed[:, -1].mean()
        read = curve(runs, kind or "evaluations")
        expected = first_crossing(read.loss, target, read.steps)
        np.testing.assert_array_equal(table.scores("speedup")["celo"][:, 0], expected)
    noise = {kind: table.scores("speedup")[NOISE] for kind, table in by_kind.items()}
    # The noise of single batches dips below its own mean; the evaluations here have none.
    np.testing.assert_allclose(noise["evaluations"], 1.0)
    assert (by_kind["evaluations"].scores("speedup")["celo"] > 1.5).all()
    words = curve_words(by_kind[None])
    assert "evaluations, every 10 steps over 5 batches and over 10 after the last step" in words
    assert "every step's batch" in curve_words(by_kind["steps"])


def test_the_final_loss_may_be_that_of_the_smoothed_curve():
    own = [*evaluated([falling(200)] * 2), *evaluated([falling(100)] * 2, optimizer="celo", learned=True)]
    for kind in ("evaluations", "steps"):
        table = score_table(own, kind=kind, smoothed=True)
        last = {
            label: curve(result["task"].runs, kind).smoothed[:, -1] for label, result in table.results.items()
        }
        expected = last[NOISE].mean() / last["celo"]
        np.testing.assert_allclose(table.scores("final_loss")["celo"][:, 0], expected)
        assert table.ratios("task", "celo")[0] == pytest.approx(last[NOISE].mean() / last["celo"].mean())
        assert curve_words(table).endswith("The final-loss score compares the last smoothed losses.")


def test_few_or_no_evaluations_fall_back_to_steps_and_are_named_if_asked_for():
    few = [*rows([[2, 2], [0.4, 0.6], [1, 1]]), *rows([0.5, 0.5], optimizer="celo")]
    assert kind_for(few) == score_table(few).curve == "steps"
    assert kind_for(evaluated([falling(200)], every=STEPS // (ENOUGH - 1))) == "evaluations"
    assert kind_for(evaluated([falling(200)], every=STEPS // (ENOUGH - 5))) == "steps"
    assert any(
        "Speedups read 3 evaluations only" in note for note in notes(score_table(few, kind="evaluations"))
    )
    none = [dataclasses.replace(row, evaluations={}) for row in few]
    with pytest.raises(ValueError, match="adam on task has no two evaluations of the training loss"):
        score_table(none, kind="evaluations")
    with pytest.raises(ValueError, match="Unknown kind of curve 'step'"):
        score_table(few, kind="step")
    with pytest.raises(ValueError, match="Unknown kind of curve"):
        curve(choose(few).runs, "all")


def test_a_list_that_is_tuned_on_the_tasks_is_named():
    own = [*rows([[2, 2], [0.4, 0.6], [1, 1]]), *rows([0.5, 0.5], optimizer="list", spec="list=optlist:3")]
    assert any(note.startswith("list: the published list of settings") for note in notes(score_table(own)))
