"""VeLO's speedup: interpolation between points of an envelope, plateaus, and the published envelopes."""

import json
import math
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from celo.evaluation.envelope import (
    Envelope,
    envelope_of,
    envelopes_from,
    read_envelopes,
    without_envelope,
)
from celo.evaluation.speedup import baseline_steps
from tests.evaluation.rows import row

STEPS = np.arange(0.0, 60.0, 10.0)
PLATEAUS = Envelope(STEPS, np.array([4.0, 3.0, 3.0, 2.0, 1.0, 1.0]))


@pytest.mark.parametrize(
    ("loss", "steps"),
    [
        (9.0, 0.0),  # above the first: no extrapolation
        (4.0, 0.0),
        (3.5, 5.0),
        (3.0, 10.0),  # on a plateau: its first step
        (3.0 - 1e-9, 20.0),  # just below: after it
        (1.25, 37.5),
        (1.0, 40.0),  # on the last plateau
        (1.0 - 1e-9, 50.0),  # below everything: the horizon
        (-5.0, 50.0),
        (math.nan, 0.0),
        (math.inf, 0.0),
        (-math.inf, 0.0),
    ],
)
def test_interpolation_by_hand(loss, steps):
    assert baseline_steps(PLATEAUS, loss) == pytest.approx(steps, abs=1e-6)


@given(st.lists(st.floats(0.01, 1.0), min_size=2, max_size=9), st.floats(-1.0, 12.0))
def test_a_strictly_falling_envelope_is_interpolated_as_numpy_does(drops, loss):
    falling = Envelope(np.arange(len(drops)) * 7.0, 10.0 - np.cumsum(drops))
    expected = np.interp(loss, falling.loss[::-1], falling.steps[::-1])
    assert baseline_steps(falling, loss) == pytest.approx(expected, abs=1e-6)


def evaluated(losses, steps):
    """Rows from evaluations (settings, seeds, E)."""
    return [
        row(
            1.0,
            setting={"learning_rate": 0.1 * (i + 1)},
            seed=seed,
            evaluations={"train_loss": np.asarray(curve, np.float32)},
            evaluation_steps=np.asarray(steps),
        )
        for i, own in enumerate(losses)
        for seed, curve in enumerate(own)
    ]


def test_own_curves_give_the_envelope_by_hand():
    # Two learning rates, one seed.
    envelope = envelope_of(evaluated([[[4.0, 0.0, 0.0]], [[4.0, 8.0, math.nan]]], [0, 10, 20]), pieces=5)
    np.testing.assert_allclose(envelope.steps, [0, 5, 10, 15, 20])
    np.testing.assert_allclose(envelope.loss, [4, 3.9, 3.8, 3.705, 3.61])  # 4 * 0.95, 4 * 0.95²
    assert (envelope.evaluations, envelope.task_digest) == (3, "digest of task")


def test_a_seed_that_diverged_spoils_its_rate():
    losses = [[[1.0, 1.0], [1.0, math.nan]], [[3.0, 3.0], [3.0, 3.0]]]
    np.testing.assert_allclose(envelope_of(evaluated(losses, [0, 5]), 2).loss, [1, 1])


def test_no_envelope_of_nothing():
    with pytest.raises(ValueError, match="needs two or more evaluations of train_loss"):
        envelope_of([row(1.0, evaluations={"test_loss": np.zeros(3, np.float32)})])
    with pytest.raises(ValueError, match="needs two or more"):
        envelope_of([])
    with pytest.raises(ValueError, match="no finite loss at the first evaluation"):
        envelope_of(evaluated([[[math.nan] * 3]], [0, 1, 2]))


T5 = "google-t5/t5-small"
LM: dict[str, Any] = {
    "task": "TransformerLM_LM1B_MultiRuntime_0",
    "corpus": "lm1b",
    "vocabulary": T5,
    "task_digest": "d",
}


@pytest.mark.parametrize(
    ("changes", "envelope", "reason"),
    [
        ({}, {}, ""),
        ({"corpus": "wikitext2_valid"}, {}, "of the published corpus, the trainings are not"),
        ({"vocabulary": "byte-pair encoding"}, {}, "of the published tokenizer, the trainings are not"),
        ({"vocabulary": "t.json (SHA-256 0a)"}, {}, "of the published tokenizer, the trainings are not"),
        ({"vocabulary": "x"}, {"evaluations": 200, "task_digest": "d"}, ""),  # our own, on the same data
        ({"corpus": "wikitext2_valid"}, {"evaluations": 200}, ""),
        ({}, {"evaluations": 200, "task_digest": "e"}, "of other data or another definition"),
    ],
)
def test_an_envelope_of_other_data_says_nothing(changes, envelope: Any, reason):
    one = Envelope(np.array([0.0, 100.0]), np.array([2.0, 0.0]), **envelope)
    found = without_envelope([row(1.0, **(LM | changes))], one)
    assert (reason in found) if reason else found == ""


@pytest.mark.parametrize(
    ("steps", "loss", "message"),
    [
        ([[0.0, 1.0]], [[1.0, 2.0]], "envelope of a is not one"),
        ([[1.0, 0.0]], [[2.0, 1.0]], "envelope of a is not one"),
        ([[0.0, 1.0]], [2.0, 1.0], "expected"),
    ],
)
def test_an_envelope_must_be_one(steps, loss, message):
    with pytest.raises(ValueError, match=message):
        envelopes_from(np.array(["a"]), np.array(steps), np.array(loss))


def test_a_file_of_envelopes_must_be_one(tmp_path):
    with pytest.raises(FileNotFoundError, match="no file of envelopes"):
        read_envelopes(tmp_path / "absent.npz")
    (tmp_path / "junk.npz").write_bytes(b"junk")
    np.savez(tmp_path / "other.npz", names=np.array(["a"]))
    for name in ("junk.npz", "other.npz"):
        with pytest.raises(ValueError, match=rf"{name} is no file of envelopes"):
            read_envelopes(tmp_path / name)


def test_the_published_envelopes_agree_with_the_published_values(shared_path):
    envelopes = read_envelopes(shared_path("facts/speedup_over_adam.npz"))
    tasks = json.loads(shared_path("facts/velodrome.json").read_text())["tasks"]
    compared = 0
    for name, envelope in envelopes.items():
        published = tasks.get(name, {}).get("baseline_envelope_train_loss_adam_only") or {}
        for steps, loss in published.items():
            if loss is not None:
                found = np.interp(float(steps), envelope.steps, envelope.loss)
                assert found == pytest.approx(loss, rel=1e-5, abs=1e-6)  # written with six decimals
                compared += 1
        assert baseline_steps(envelope, envelope.loss[0] + 1) == 0
        assert baseline_steps(envelope, envelope.loss[-1] - 1) == 100_000
    assert compared > 100
