"""The notes at the top of a report: score tables, each with the note it causes."""

import math
from typing import Any

import numpy as np
import pytest

from celo.evaluation.checks import notes, wide
from celo.evaluation.envelope import Envelope
from celo.evaluation.requested import Pair, Requested, requested_by
from celo.evaluation.scores import score_table
from tests.evaluation.rows import rows

NAN = math.nan
GOOD = [*rows([[1, 1], [0.5, 0.5], [2, 2]], "a"), *rows([0.5, 0.6], "a", "celo")]
MORE = [*rows([[1, 1], [0.5, 0.5], [2, 2]], "b"), *rows([0.5, 0.6], "b", "celo")]
LM = "TransformerLM_LM1B_MultiRuntime_0"


def text_rows(**changes: Any):
    both: dict[str, Any] = {"corpus": "lm1b", "vocabulary": "google-t5/t5-small"} | changes
    return [*rows([[1, 1], [0.5, 0.5], [2, 2]], LM, **both), *rows([0.5, 0.6], LM, "celo", **both)]


def envelope(steps, evaluations=200):
    return Envelope(np.array([0.0, steps]), np.array([2.0, 0.0]), evaluations, "digest of a")


def test_a_clean_table_calls_for_nothing():
    assert notes(score_table([*GOOD, *MORE])) == []


def celo(**changes):
    return [*GOOD[:6], *rows([0.5, 0.6], "a", "celo", **changes)]


@pytest.mark.parametrize(
    ("own", "sentence"),
    [
        (GOOD, "There is one scored task, a: aggregates are over its seeds."),
        ([one for one in GOOD if one.seed == 0], "There is one seed, so there are no intervals"),
        (
            [*GOOD, *rows([[1, 1], [2, 2], [0.5, 0.5]], "b"), *MORE[6:]],
            "is at an end of the grid; a better one",
        ),
        (
            [*GOOD, *rows([1.0, NAN], "a", "sgd@1")],
            "diverged, each scored 0, on: a (1 of 2).",
        ),
        ([*GOOD, *MORE[:6]], "Never requested: celo on b."),
        (
            [*GOOD, *MORE[:6], *rows([-1, 1], "b", "celo")],
            "as celo has the negative final loss -1,",
        ),
        (GOOD[6:], "No task can be scored"),
        ([*GOOD, *rows([0.01, 0.5], "a", "star")], "scores on a span a factor of 60 (from 0.83 to 50)"),
        (celo(versions={"jax": "0.1"}), "versions of libraries are compared (jax 0.0; jax 0.1), on: a."),
        (celo(revision="b+"), "different git revisions are compared (abc; b+)"),
        (celo(device="gpu"), "different kinds of device are compared (cpu; gpu)"),
        (celo(numerics="jax_x=1"), "numerical settings of JAX are compared (defaults; jax_x=1)"),
        (
            text_rows(corpus="wikitext2_valid"),
            f"instead of lm1b, tokenizer google-t5/t5-small: {LM}.",
        ),
        (
            text_rows(vocabulary="bpe"),
            f"Trained on the corpus lm1b, tokenizer bpe: {LM}. The",
        ),
    ],
)
def test_each_thing_to_be_careful_with_has_its_sentence(own, sentence):
    said = notes(score_table(own))
    assert any(sentence in one for one in said), said


def test_what_is_missing_is_counted_and_the_tasks_that_scores_leave_out_are_named():
    asked = requested_by([*GOOD, *MORE])
    said = notes(score_table([*GOOD, *MORE[:-1]], asked))
    assert said[0] == "Not finished: celo on b (1 of 2 trainings)."
    assert said[1] == (
        "Scores are over the 1 of 2 tasks that every optimizer finished on the same data; left out: b."
    )
    pairs = [Pair("b", "celo", "other") if pair[:2] == ("b", "celo") else pair for pair in asked.pairs]
    mixed = Requested(asked.settings, asked.optimizers, tuple(pairs))
    table = score_table([*GOOD, *MORE[:6], *rows([1, 1], "b", "celo", task_digest="other")], mixed)
    assert notes(table)[0].startswith("b had other data or another definition for adam than for celo")


@pytest.mark.parametrize(
    ("envelopes", "sentence"),
    [
        ({"b": envelope(100.0)}, "VeLO's speedup is not scored; there is no envelope of Adam: a."),
        ({"a": envelope(100.0, 20)}, "has fewer than 100 evaluations, and smoothing leaves it too high"),
        ({"a": envelope(30.0)}, "cannot exceed 1, on: a (30 of 40 steps)."),
    ],
)
def test_envelopes_that_say_little_are_named(envelopes, sentence):
    said = notes(score_table(GOOD, envelopes=envelopes))
    assert any(sentence in one for one in said), said


def test_wide_names_the_span_of_a_task_and_ignores_diverged_trainings():
    table = score_table([*GOOD, *MORE, *rows([0.01, 0.5], "a", "star"), *rows([0.5, NAN], "b", "star")])
    assert set(wide(table)) == {"a"}
    low, high = wide(table)["a"]
    assert (low, high) == (pytest.approx(0.5 / 0.6), pytest.approx(50, rel=1e-5))
    assert wide(score_table(GOOD[6:])) == {}
