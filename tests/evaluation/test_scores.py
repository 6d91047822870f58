"""Scores of single runs: selection, final loss, first and sustained crossings, divergence."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from celo.evaluation.scores import final_loss_score, reference, speedup_score, sustained_speedup_score
from celo.evaluation.selection import Chosen, best_configuration, choose
from celo.evaluation.speedup import first_crossing, sustained
from celo.meta.full_training import smooth
from tests.evaluation.cells import RATES, cell, curve

LOSSES = st.integers(1, 30).flatmap(lambda n: arrays(np.float64, (2, n), elements=st.floats(0.0, 9.0)))


def test_the_best_configuration_has_the_lowest_mean_and_no_divergence():
    assert best_configuration(cell([[0.9, 1.1], [0.2, 0.6], [3, 0.5]])) == 1
    assert best_configuration(cell([[0.9, 1.1], [0.1, math.nan], [2, 2]])) == 0
    assert best_configuration(cell([[0.5, 0.5], [0.4, 0.6], [1, 1]])) == 0  # the first of equals


def test_a_loss_that_is_not_finite_along_the_way_is_a_divergence_too():
    one = cell([[0.9, 0.9], [0.1, 0.1], [2, 2]])
    one.loss[1, 0, 3] = np.inf
    assert best_configuration(one) == 0


def test_where_every_configuration_diverged_somewhere_the_fewest_failures_win():
    nan = math.nan
    assert best_configuration(cell([[nan, nan, 0.1], [nan, 0.9, 0.8], [nan, 0.7, 0.8]])) == 2
    assert best_configuration(cell([[nan, nan], [nan, nan], [nan, nan]])) == 0


def test_the_edge_of_a_grid_is_noticed():
    assert choose(cell([[1, 1], [0.5, 0.5], [2, 2]])).edge is None
    assert choose(cell([[1, 1], [0.5, 0.5], [0.1, 0.1]])).edge == ("learning_rate", 0.1)
    assert choose(cell([[0.1, 1], [0.9, 0.5], [2, 2]])).edge == ("learning_rate", 0.001)
    unsorted = (RATES[1], RATES[0], RATES[2])
    assert choose(cell([[0.1], [0.5], [2]], configurations=unsorted)).edge is None
    with_constant = [rate | {"weight_decay": 0.1} for rate in RATES]
    assert choose(cell([[0.1], [0.5], [2]], configurations=with_constant)).edge == ("learning_rate", 0.001)


def test_no_grid_has_no_edge():
    assert choose(cell([0.5, 0.5])).edge is None
    assert choose(cell([[0.5], [0.6]], configurations=RATES[:2])).edge is None
    searched = [{"learning_rate": 0.1 * i, "b1": 0.9 / i} for i in (1, 2, 3)]
    assert choose(cell([[0.1], [0.5], [2]], configurations=searched)).edge is None


def test_final_loss_scores_by_hand():
    best = reference(choose(cell([[2, 2], [0.4, 0.6], [1, math.nan]])))
    assert best is not None
    assert best.loss == pytest.approx(0.5)
    runs = choose(cell([0.25, 1.0, math.nan], optimizer="celo"))
    np.testing.assert_allclose(final_loss_score(runs, best), [2.0, 0.5, 0.0])


def test_the_target_is_the_mean_of_the_smoothed_last_losses():
    adam = choose(curve([[4.0, 1.0], [2.0, 1.0]]))
    best = reference(adam)
    assert best is not None
    assert best.target == pytest.approx((4 * 0.9 + 0.1 + 2 * 0.9 + 0.1) / 2)


def test_no_reference_where_adam_always_diverged():
    assert reference(choose(cell([[math.nan, 1], [1, math.nan], [math.inf, 1]]))) is None


def test_a_loss_of_zero_scores_high_but_finite_and_two_are_equal():
    best = reference(choose(cell([0.0, 0.0])))
    some = reference(choose(cell([1.0, 1.0])))
    assert best is not None
    assert some is not None
    zero = choose(cell([0.0, 0.0], optimizer="celo"))
    assert final_loss_score(zero, best).tolist() == [1.0, 1.0]
    assert np.isfinite(final_loss_score(zero, some)).all()
    assert (final_loss_score(zero, some) > 1e30).all()


def test_negative_losses_have_no_ratio():
    best = reference(choose(cell([1.0])))
    assert best is not None
    with pytest.raises(ValueError, match=r"celo on task has the final loss -0\.5; a score is a ratio"):
        final_loss_score(choose(cell([-0.5], optimizer="celo")), best)
    with pytest.raises(ValueError, match=r"adam on task has the final loss -0\.5"):
        reference(choose(cell([-0.5])))


def test_crossings_by_hand():
    # Smoothed: 1, 1.8, 1.62, 1.458, 1.3122.
    dip = [1.0, 9.0, 0.0, 0.0, 0.0]
    np.testing.assert_allclose(smooth(dip), [1, 1.8, 1.62, 1.458, 1.3122])
    assert first_crossing(dip, 1.5) == 5  # at once, in one step of five
    assert sustained(dip, 1.5) == pytest.approx(5 / 4)
    assert first_crossing(dip, 1.4) == 5
    assert sustained(dip, 1.3122 + 1e-12) == 1.0  # with the last step
    assert (first_crossing(dip, 0.9), sustained(dip, 0.9)) == (0.0, 0.0)


def test_equality_reaches_the_target_and_a_late_rise_loses_it():
    assert first_crossing([2.0, 2.0], 2.0) == sustained([2.0, 2.0], 2.0) == 2.0
    rises = [1.0, 1.0, 1.0, 9.0]
    assert (first_crossing(rises, 1.0), sustained(rises, 1.0)) == (4.0, 0.0)


@pytest.mark.parametrize("score", [speedup_score, sustained_speedup_score])
def test_a_run_that_reaches_the_target_and_then_diverges_scores_nothing(score):
    best = reference(choose(curve([[2.0, 2.0, 2.0, 2.0]])))
    assert best is not None
    good = [1.0, 1.0, 1.0, 1.0]
    runs = choose(curve([good, [1.0, 1.0, math.nan, 1.0]], optimizer="celo"))
    assert score(runs, best).tolist() == [4.0, 0.0]
    assert final_loss_score(runs, best).tolist() == [2.0, 0.0]


def test_only_the_final_loss_being_infinite_is_a_divergence():
    best = reference(choose(cell([1.0])))
    runs = Chosen(cell([1.0], final_loss=np.array([[np.inf]], np.float32), optimizer="celo"), 0)
    assert best is not None
    assert [f(runs, best).item() for f in (final_loss_score, speedup_score, sustained_speedup_score)] == [
        0
    ] * 3


@given(LOSSES, st.floats(0.0, 9.0))
def test_crossings_agree_with_their_definition(losses, target):
    steps = losses.shape[1]
    for row, first, last in zip(
        losses, first_crossing(losses, target), sustained(losses, target), strict=True
    ):
        below = [value <= target for value in smooth(row)]
        kept = [t for t in range(steps) if all(below[t:])]
        assert first == (steps / (below.index(True) + 1) if any(below) else 0)
        assert last == (steps / (kept[0] + 1) if kept else 0)
        assert last <= first <= steps


@given(LOSSES, st.floats(0.0, 9.0), st.floats(0.0, 3.0))
def test_an_easier_target_is_never_reached_later(losses, target, easier):
    for score in (first_crossing, sustained):
        assert (score(losses, target + easier) >= score(losses, target)).all()
