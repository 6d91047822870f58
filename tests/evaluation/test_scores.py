"""Scores: selection, final loss, first and sustained crossings, divergence, and the table of all of them."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from celo.evaluation.choice import choose
from celo.evaluation.envelope import Envelope
from celo.evaluation.requested import Meaning, Pair, Requested, requested_by
from celo.evaluation.scores import NOISE, SCORES, final_loss_score, reference, score_table
from celo.evaluation.speedup import first_crossing, sustained
from celo.meta.full_training import smooth
from tests.evaluation.rows import RATES, curves, rows

LOSSES = st.integers(1, 30).flatmap(lambda n: arrays(np.float64, (2, n), elements=st.floats(0.0, 9.0)))


NAN = math.nan
ADAM = [[2, 2], [0.4, 0.6], [1, NAN]]
SPEEDUP, SUSTAINED = (one.of for one in SCORES[1:3])


def best(final, **changes):
    return choose(rows(final, **changes)).best


def runs(final, **changes):
    return choose(rows(final, **changes)).runs


def test_the_best_setting_has_the_lowest_mean_and_no_divergence():
    assert best([[0.9, 1.1], [0.2, 0.6], [3, 0.5]]) == 1
    assert best([[0.9, 1.1], [0.1, NAN], [2, 2]]) == 0
    assert best([[0.5, 0.5], [0.4, 0.6], [1, 1]]) == 0  # the first of equals
    assert best([[NAN, NAN, 0.1], [NAN, 0.9, 0.8], [NAN, 0.7, 0.8]]) == 2  # the fewest failures
    assert best([[NAN, NAN], [NAN, NAN], [NAN, NAN]]) == 0


def test_a_loss_that_is_not_finite_along_the_way_is_a_divergence():
    own = rows([[0.9, 0.9], [0.1, 0.1], [2, 2]])
    own[2].loss[3] = np.inf
    assert choose(own).best == 0
    chosen = choose(own[2:4]).runs
    assert chosen.diverged.tolist() == [True, False]
    assert (chosen.mean_final_loss, np.isnan(chosen.spread)) == (np.inf, True)


@pytest.mark.parametrize(
    ("final", "settings", "edge"),
    [
        ([[1, 1], [0.5, 0.5], [2, 2]], RATES, None),
        ([[1, 1], [0.5, 0.5], [0.1, 0.1]], RATES, ("learning_rate", 0.1)),
        ([[0.1, 1], [0.9, 0.5], [2, 2]], RATES, ("learning_rate", 0.001)),
        ([[0.1], [0.5], [2]], (RATES[1], RATES[0], RATES[2]), None),
        ([[0.1], [0.5], [2]], [rate | {"wd": 0.1} for rate in RATES], ("learning_rate", 0.001)),
        (
            [[0.1], [0.5], [2], [0.2], [0.6], [2]],
            [rate | {"wd": decay} for decay in (0.1, 0.2) for rate in RATES],
            ("learning_rate", 0.001),
        ),
        ([[0.5], [0.6]], RATES[:2], None),
        ([[0.1], [0.5], [2]], [{"learning_rate": 0.1 * i, "b1": 0.9 / i} for i in (1, 2, 3)], None),
        ([[0.5]], [{}], None),
    ],
)
def test_the_edge_of_a_grid_over_one_hyperparameter_is_noticed(final, settings, edge):
    assert choose(rows(final, settings=settings)).edge == edge


def test_final_loss_scores_by_hand():
    target = reference(runs([[2, 2], [0.4, 0.6], [1, NAN]]))
    assert target.loss == pytest.approx(0.5)
    np.testing.assert_allclose(final_loss_score(runs([0.25, 1.0, NAN]), target), [2.0, 0.5, 0.0])


def test_a_loss_of_zero_scores_high_but_finite_and_two_are_equal():
    zero = runs([0.0, 0.0])
    assert final_loss_score(zero, reference(zero)).tolist() == [1.0, 1.0]
    scores = final_loss_score(zero, reference(runs([1.0, 1.0])))
    assert np.isfinite(scores).all()
    assert (scores > 1e30).all()


def test_negative_losses_have_no_ratio():
    with pytest.raises(ValueError, match=r"celo on task has the final loss -0\.5; expected >= 0"):
        final_loss_score(runs([-0.5], optimizer="celo"), reference(runs([1.0])))


def test_crossings_by_hand():
    # Smoothed: 1, 1.8, 1.62, 1.458, 1.3122.
    dip = [1.0, 9.0, 0.0, 0.0, 0.0]
    np.testing.assert_allclose(smooth(dip), [1, 1.8, 1.62, 1.458, 1.3122])
    assert first_crossing(dip, 1.5) == 5  # at once, in one step of five
    assert sustained(dip, 1.5) == pytest.approx(5 / 4)
    assert first_crossing(dip, 1.4) == 5
    assert sustained(dip, 1.3122 + 1e-12) == 1.0  # with the last step
    assert (first_crossing(dip, 0.9), sustained(dip, 0.9)) == (0.0, 0.0)


@pytest.mark.parametrize("score", [SPEEDUP, SUSTAINED])
def test_a_training_that_reaches_the_target_and_then_diverges_scores_nothing(score):
    target = reference(choose(curves([[2.0, 2.0, 2.0, 2.0]])).runs)
    good = [1.0, 1.0, 1.0, 1.0]
    own = choose(curves([good, [1.0, 1.0, NAN, 1.0]], optimizer="celo")).runs
    assert score(own, target, None).tolist() == [4.0, 0.0]
    assert final_loss_score(own, target).tolist() == [2.0, 0.0]
    infinite = choose(curves([good], optimizer="celo", final_loss=math.inf)).runs
    assert [one.of(infinite, target, None).item() for one in SCORES[:3]] == [0] * 3


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


def full():
    return [
        *rows(ADAM, "a"),
        *rows([0.25, 1.0], "a", "celo"),
        *rows([[3, 3], [1, 1], [2, 2]], "b"),
        *rows([0.5, NAN], "b", "celo"),
    ]


def test_the_table_by_hand_with_the_noise_reference_first():
    table = score_table(full())
    assert (table.labels, table.tasks, table.seeds) == ((NOISE, "celo"), ("a", "b"), (0, 1))
    assert [kind.name for kind in table.kinds] == ["final_loss", "speedup", "sustained_speedup"]
    final = table.scores("final_loss")
    np.testing.assert_allclose(final["celo"], [[2.0, 2.0], [0.5, 0.0]], rtol=1e-6)
    np.testing.assert_allclose(final[NOISE], [[0.5 / 0.4, 1], [0.5 / 0.6, 1]], rtol=1e-6)
    for kind in table.kinds:
        scores = table.scores(kind.name)
        assert list(scores) == [NOISE, "celo"]
        assert scores["celo"][1, 1] == 0  # diverged
    for label in table.labels:
        assert (table.scores("sustained_speedup")[label] <= table.scores("speedup")[label]).all()
    assert (table.settings(NOISE), table.settings("celo")) == ((3,), (1,))


def test_both_ways_to_average_a_ratio_agree_with_the_scores():
    table = score_table(full())
    np.testing.assert_allclose(table.ratios("a", "celo"), (0.5 / 0.625, (2.0 + 0.5) / 2), rtol=1e-6)
    assert table.ratios("a", "celo")[1] == table.scores("final_loss")["celo"][:, 0].mean()
    assert table.ratios("b", "celo") == (0.0, 1.0)
    assert table.ratios("a", NOISE)[0] == pytest.approx(1.0)
    assert table.settings_beaten("a", "celo") == 2  # its mean is 0.625
    assert table.settings_beaten("b", "celo") == 0  # it diverged
    negative = score_table([*rows([-1.0], "a"), *rows([1.0], "a", "celo")])
    assert np.isnan(negative.ratios("a", "celo")).all()


def test_a_task_with_a_hole_is_left_out_for_all_but_its_rows_stay():
    own = full()
    table = score_table(own[:-1], requested_by(own))
    assert table.tasks == ("a",)
    assert table.missing == {("b", "celo"): 1}
    assert {scores.shape for scores in table.scores("speedup").values()} == {(2, 1)}
    assert set(table.results[NOISE]) == {"a", "b"}  # still there to be drawn
    assert table.best("b", "celo") is None


@pytest.mark.parametrize(
    ("adam", "celo", "reason"),
    [
        ([[NAN, 1]] * 3, [1, 1], "Adam diverged on some seed at every learning rate"),
        ([[-1, 1]] * 3, [1, 1], f"{NOISE} has the negative final loss -1"),
        ([[1, 1]] * 3, [-1, 1], "celo has the negative final loss -1"),
    ],
)
def test_a_task_that_cannot_be_scored_is_named_and_the_others_scored(adam, celo, reason):
    table = score_table([*full()[:8], *rows(adam, "c"), *rows(celo, "c", "celo")])
    assert (table.tasks, set(table.unscorable)) == (("a",), {"c"})
    assert reason in table.unscorable["c"]
    assert "c" not in table.references


def test_a_task_whose_data_differ_between_optimizers_is_named_and_not_scored():
    asked = requested_by(full())
    pairs = [Pair("b", "celo", "other") if pair[:2] == ("b", "celo") else pair for pair in asked.pairs]
    own = [*full()[:-2], *rows([0.5, 1.0], "b", "celo", task_digest="other")]
    table = score_table(own, Requested(asked.settings, asked.optimizers, tuple(pairs)))
    assert table.tasks == ("a",)
    assert table.mixed == {"b": "adam than for celo"}


def test_velos_speedup_is_over_the_tasks_with_an_envelope():
    envelope = Envelope(np.array([0.0, 100.0]), np.array([2.0, 0.0]))
    table = score_table(full(), envelopes={"b": envelope, "other": envelope})
    assert table.tasks_of("velo_speedup") == ("b",)
    np.testing.assert_allclose(table.scores("velo_speedup")["celo"], [[75 / 40], [0]])
    assert "there is no envelope" in table.no_envelope["a"]


def test_nothing_to_score_is_an_error_that_names_what_was_requested():
    shared = {"steps": 1, "seeds": 1, "seed": 0, "eval_batches": 0}
    asked = Requested(shared, {"adam": Meaning("adam", "d", False, ({},))}, (Pair("a", "adam", "d"),))
    with pytest.raises(ValueError, match="no finished training to report on; requested: adam on a"):
        score_table([], asked)
    with pytest.raises(ValueError, match="rows differ in steps: 30, 40"):
        score_table([*rows([1.0]), *rows([1.0], "a", steps=30)])
