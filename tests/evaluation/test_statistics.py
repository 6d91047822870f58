"""Aggregates against matrices worked out by hand and against rliable; intervals that repeat."""

from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import array_shapes, arrays
from rliable import library, metrics

from celo.evaluation.statistics import (
    AGGREGATES,
    aggregates,
    performance_profile,
    probability_of_improvement,
)

# Two seeds of four tasks; sorted 0, .2, .5, .9, 1.1, 1.5, 2, 4.
SCORES = np.array([[0.0, 0.5, 1.1, 4.0], [0.2, 0.9, 1.5, 2.0]])
MATRICES = arrays(np.float64, array_shapes(min_dims=2, max_dims=2, max_side=5), elements=st.floats(0.0, 50.0))


def values(scores):
    return {name: estimate.value for name, estimate in aggregates(scores, reps=2).items()}


def test_by_hand():
    found = values(SCORES)
    assert found["iqm"] == pytest.approx((0.5 + 0.9 + 1.1 + 1.5) / 4)  # two of eight cut at each end
    assert found["mean"] == pytest.approx(10.2 / 8)
    assert found["median"] == pytest.approx((0.7 + 1.3) / 2)  # of the tasks' means .1, .7, 1.3, 3
    assert found["optimality_gap"] == pytest.approx((1 + 0.8 + 0.5 + 0.1) / 8)


def test_one_task_and_one_seed():
    found = aggregates(np.array([[0.5]]))
    assert {name: e.value for name, e in found.items()} == dict.fromkeys(AGGREGATES, 0.5)
    assert all(np.isnan([e.low, e.high]).all() for e in found.values())
    one_task = aggregates(np.array([[0.5], [1.5], [2.5]]), reps=200)
    assert one_task["iqm"].value == pytest.approx(1.5)
    assert one_task["mean"].low < 1.5 < one_task["mean"].high


def test_profile_by_hand_strictly_above():
    thresholds = np.array([-1.0, 0.0, 0.5, 1.0, 4.0, 5.0])
    profile = performance_profile(SCORES, thresholds, reps=50)
    np.testing.assert_allclose(profile.share, [1, 7 / 8, 5 / 8, 4 / 8, 0, 0])
    assert (profile.low <= profile.share).all()
    assert (profile.share <= profile.high).all()
    np.testing.assert_allclose(profile.share, library.score_distributions(SCORES, thresholds))
    assert np.isnan(performance_profile(SCORES[:1], thresholds).low).all()


def test_probability_of_improvement_by_hand():
    x, y = np.array([[1.0, 5.0], [3.0, 5.0]]), np.array([[2.0, 5.0], [0.0, 7.0]])
    # First task: 1>0, 3>2, 3>0 of four; second: two ties of four.
    estimate = probability_of_improvement(x, y, reps=100)
    assert estimate.value == pytest.approx((3 / 4 + 1 / 4) / 2)
    assert estimate.low <= estimate.value <= estimate.high
    assert probability_of_improvement(x, x, reps=2).value == 0.5


@given(MATRICES, st.integers(0, 9))
def test_probability_of_improvement_is_that_of_rliable(x, seed):
    y = np.random.default_rng(seed).permuted(x, axis=0).round() + seed % 2
    expected = metrics.probability_of_improvement(x, y)
    assert probability_of_improvement(x, y, reps=1).value == pytest.approx(expected)


def test_the_interval_is_the_one_of_rliable_after_seeding_numpy():
    def every(scores):
        return np.array([function(scores) for function in AGGREGATES.values()])

    state = np.random.get_state()
    try:
        np.random.seed(7)
        _, intervals = library.get_interval_estimates({"x": SCORES}, every, reps=300)
    finally:
        np.random.set_state(state)
    found = aggregates(SCORES, reps=300, seed=7)
    np.testing.assert_array_equal(
        intervals["x"], [[e.low for e in found.values()], [e.high for e in found.values()]]
    )


def test_the_same_seed_gives_the_same_interval_and_leaves_the_global_generator_alone():
    thresholds = np.linspace(0, 3, 7)
    before: Any = np.random.get_state()
    first = aggregates(SCORES, 100, seed=3), probability_of_improvement(SCORES, 2 - SCORES, 100, seed=3)
    band = performance_profile(SCORES, thresholds, 100, seed=3)
    after: Any = np.random.get_state()
    assert before[0] == after[0]
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2:] == after[2:]
    np.random.random(5)  # whatever the caller does in between
    again = aggregates(SCORES, 100, seed=3), probability_of_improvement(SCORES, 2 - SCORES, 100, seed=3)
    assert first == again
    np.testing.assert_array_equal(band.low, performance_profile(SCORES, thresholds, 100, seed=3).low)
    assert aggregates(SCORES, 100, seed=4) != first[0]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: aggregates(SCORES, reps=0), "reps is 0"),
        (lambda: aggregates(SCORES[0]), r"shape \(4,\); expected \(seeds, tasks\)"),
        (lambda: aggregates(np.zeros((3, 0))), r"shape \(3, 0\)"),
        (lambda: aggregates(np.array([[np.nan]])), "NaN or infinity"),
        (lambda: performance_profile(np.array([[np.inf]]), np.zeros(1)), "NaN or infinity"),
        (lambda: probability_of_improvement(SCORES, SCORES[:, :2]), "4 tasks cannot be compared with 2"),
    ],
)
def test_bad_scores_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
