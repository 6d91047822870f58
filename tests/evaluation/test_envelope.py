"""VeLO's speedup: interpolation between points of an envelope, plateaus, and the published envelopes."""

import json
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from celo.evaluation.envelope import (
    Envelope,
    baseline_steps,
    envelope_of,
    envelopes_from,
    read_envelopes,
    velo_speedup_score,
)
from celo.evaluation.selection import choose
from celo.meta.full_training import smooth
from tests.evaluation.cells import cell

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


@given(st.lists(st.integers(0, 2), min_size=2, max_size=9), st.lists(st.floats(-1.0, 12.0), min_size=2))
def test_a_lower_loss_never_needs_fewer_steps(drops, losses):
    envelope = Envelope(np.arange(len(drops)) * 7.0, 10.0 - np.cumsum(drops))
    steps = baseline_steps(envelope, np.sort(losses))
    assert (np.diff(steps) <= 1e-9).all()
    assert ((steps >= 0) & (steps <= envelope.steps[-1])).all()


def test_the_score_is_relative_to_the_runs_own_steps_and_0_where_it_diverged():
    runs = choose(cell([3.5, 0.5, math.nan], optimizer="celo", steps=10))
    np.testing.assert_allclose(velo_speedup_score(runs, PLATEAUS), [0.5, 5.0, 0.0])


def test_own_curves_give_the_envelope_by_hand():
    # Two learning rates, one seed, evaluations at 0, 10, 20.
    losses = np.array([[[4.0, 0.0, 0.0]], [[4.0, 8.0, np.nan]]], np.float32)
    own = cell(
        [[1.0], [1.0]], evaluations={"train_loss": losses}, evaluation_steps=np.array([0, 10, 20]), steps=20
    )
    envelope = envelope_of(own, pieces=5)
    np.testing.assert_allclose(envelope.steps, [0, 5, 10, 15, 20])
    np.testing.assert_allclose(envelope.loss, [4, 3.9, 3.8, 3.705, 3.61])  # 4 * 0.95, 4 * 0.95²


def test_own_envelope_is_a_minimum_over_rates_and_steps_and_ignores_a_rate_from_its_divergence_on():
    losses = np.array([[[4.0, 0.0, 9.0, 90.0]], [[4.0, 4.0, np.nan, np.nan]]])
    own = cell(
        [[1.0], [1.0]], evaluations={"train_loss": losses}, evaluation_steps=np.arange(4) * 10, steps=30
    )
    smoothed = smooth(losses[0, 0], 0.95)
    assert smoothed[2] > smoothed[1]
    np.testing.assert_allclose(envelope_of(own, 4).loss, [4, smoothed[1], smoothed[1], smoothed[1]])


def test_a_seed_that_diverged_spoils_its_rate():
    losses = np.array([[[1.0, 1.0], [1.0, np.nan]], [[3.0, 3.0], [3.0, 3.0]]])
    own = cell(
        [[1.0, 1.0]] * 2, evaluations={"train_loss": losses}, evaluation_steps=np.array([0, 5]), steps=5
    )
    np.testing.assert_allclose(envelope_of(own, 2).loss, [1, 1])


def test_no_envelope_of_nothing():
    with pytest.raises(ValueError, match="adam on task has 3 evaluations of"):
        envelope_of(cell([1.0], evaluations={"test_loss": np.zeros((1, 1, 3))}))
    with pytest.raises(ValueError, match="no finite loss at the first evaluation"):
        envelope_of(cell([1.0], evaluations={"train_loss": np.full((1, 1, 3), np.nan)}))


def test_an_envelope_must_be_one(tmp_path):
    names, steps = np.array(["a"]), np.array([[0.0, 1.0]])
    with pytest.raises(ValueError, match="envelope of a is not one"):
        envelopes_from(names, steps, np.array([[1.0, 2.0]]))
    with pytest.raises(ValueError, match="envelope of a is not one"):
        envelopes_from(names, steps[:, ::-1], np.array([[2.0, 1.0]]))
    with pytest.raises(ValueError, match="expected"):
        envelopes_from(names, steps, np.array([2.0, 1.0]))
    with pytest.raises(FileNotFoundError, match="no file of envelopes"):
        read_envelopes(tmp_path / "absent.npz")
    (tmp_path / "junk.npz").write_bytes(b"junk")
    with pytest.raises(ValueError, match=r"junk\.npz is no file of envelopes"):
        read_envelopes(tmp_path / "junk.npz")
    np.savez(tmp_path / "other.npz", names=names)
    with pytest.raises(ValueError, match=r"other\.npz is no file of envelopes"):
        read_envelopes(tmp_path / "other.npz")


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
