"""Scores and summaries against arithmetic done by hand."""

import json

import numpy as np
import pytest

from celo.evaluation.selection import choose, mean_final_loss
from celo.meta.runs import files
from tests.evaluation.cells import cell
from tests.evaluation.outcomes import outcome

NAN, INF = float("nan"), float("inf")


def test_scores_by_hand():
    """Adam's means are 3, 0.5 and 4; its best rate is the second; scores are 0.5 over each seed's loss."""
    result = outcome([[2, 4], [0.4, 0.6], [4, 4]], {"Celo": [0.25, 1.0]})
    assert result.best == 1
    np.testing.assert_allclose(mean_final_loss(result.adam), [3, 0.5, 4], rtol=1e-6)
    np.testing.assert_allclose(result.scores("Celo"), [2.0, 0.5], rtol=1e-6)
    np.testing.assert_allclose(result.best_adam.final_loss, [0.4, 0.6], rtol=1e-6)
    assert result.rates_beaten("Celo") == 2  # its mean is 0.625
    np.testing.assert_allclose(result.best_adam.spread, np.sqrt(0.02), rtol=1e-6)


@pytest.mark.parametrize("failure", [NAN, INF])
def test_a_diverged_seed_rules_a_rate_out(failure):
    """The second rate would have been the best, had it not failed on one seed."""
    result = outcome([[1.0, 1.0], [0.01, failure]], {"Celo": [0.5, failure]})
    assert result.best == 0
    np.testing.assert_array_equal(mean_final_loss(result.adam), [1.0, INF])
    np.testing.assert_allclose(result.scores("Celo"), [2.0, 0.0])
    assert result.learned["Celo"].mean_final_loss == INF
    assert result.rates_beaten("Celo") == 0


def test_a_divergence_on_the_way_counts_too():
    """A loss that was infinite once is no success, however the training ended."""
    loss = np.ones((1, 2, 5), np.float32)
    loss[0, 1, 2] = INF
    runs = choose(cell([1.0, 1.0], loss=loss))
    np.testing.assert_array_equal(runs.diverged, [False, True])
    assert runs.mean_final_loss == INF
    assert np.isnan(runs.spread)


def test_without_an_adam_that_works_there_is_no_score():
    result = outcome([[NAN], [INF]], {"Celo": [0.5]})
    assert np.isnan(result.scores("Celo")).all()
    assert result.rates_beaten("Celo") == 2


@pytest.mark.parametrize(("adam", "celo"), [(-1.0, 0.5), (1.0, -0.5)])
def test_with_negative_losses_there_is_no_score(adam, celo):
    assert np.isnan(outcome([[adam], [2.0]], {"Celo": [celo]}).scores("Celo")).all()


def test_the_summary_is_json_and_holds_the_numbers():
    result = outcome([[2, 4], [0.4, 0.6], [NAN, 4]], {"Celo": [0.25, 1.0]}, steps=7)
    summary = json.loads(files.json_bytes(files.json_ready(result.summary())))
    assert (summary["task"], summary["num_steps"], summary["seeds"]) == ("task", 7, 2)
    assert summary["adam"]["best_learning_rate"] == pytest.approx(1e-2)
    assert [rate["diverged"] for rate in summary["adam"]["rates"]] == [0, 0, 1]
    assert summary["adam"]["rates"][2]["final_loss"] == "Infinity"
    assert summary["adam"]["rates"][2]["final_losses"] == ["NaN", 4.0]
    learned = summary["learned"]["Celo"]
    assert learned["score"] == pytest.approx(1.25)
    assert learned["final_losses"] == [0.25, 1.0]
    assert learned["rates_beaten"] == 2
