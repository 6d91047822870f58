"""Time to target: the arithmetic by hand and on published tables, and targets of stored trainings."""

import dataclasses
import json
import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given
from hypothesis.extra.numpy import arrays

from celo.evaluation.profiles import benchmark_score, performance_profile, ratios
from celo.evaluation.report.targets import markdown
from celo.evaluation.requested import requested_by
from celo.evaluation.targets import (
    Curves,
    quality,
    target,
    target_table,
    time_to_target,
    values_at,
)
from tests.evaluation.rows import row

STEPS = np.array([10.0, 20.0, 30.0, 40.0])
# Table 3 from tables 9 and 10, to three digits; the paper prints two and rounds some down.
TABLE_3 = {
    "train": {"Adam": 1.0, "NAdam": 0.238, "NAdamW": 0.359, "VeLO": 0.197, "VeLO Short": 0.172},
    "validation": {"Adam": 0.237, "NAdam": 0.0, "NAdamW": 0.490, "VeLO": 0.715, "VeLO Short": 0.746},
}


@pytest.fixture
def rezk(shared_path):
    return json.loads(shared_path("facts/rezk2023.json").read_text())


def published(facts, name, r_max=3.0):
    tasks = list(facts[name]["Adam"])
    times = [[math.inf if own[task] is None else own[task] for task in tasks] for own in facts[name].values()]
    scores = benchmark_score(ratios(np.array(times)), r_max)
    return dict(zip(facts[name], scores.tolist(), strict=True))


def printed(facts, name, column):
    return facts["scores_table3"][name][facts["scores_table3"]["columns"].index(column)]


@pytest.mark.parametrize("split", TABLE_3)
def test_scores_of_published_times(rezk, split):
    found = published(rezk, f"time_to_{split}_target_s")
    for name, expected in (TABLE_3[split] | {"HeavyBall": 0.0, "Nesterov": 0.0}).items():
        assert found[name] == pytest.approx(expected, abs=6e-4)
        assert found[name] == pytest.approx(printed(rezk, name, f"{split}_time"), abs=0.0151)


@pytest.mark.parametrize("split", TABLE_3)
def test_step_columns_follow_from_published_steps_with_another_r_max_but_for_one_number(rezk, split):
    """Tables 11 and 12 give the step columns of table 3 with r_max 1.5, not 3, and VeLO Short no 0.03."""
    short, wide = (published(rezk, f"steps_to_{split}_target", r_max) for r_max in (1.5, 3.0))
    column = {name: printed(rezk, name, f"{split}_step") for name in short}
    wrong = {name for name in short if abs(short[name] - column[name]) > 0.0151}
    assert wrong == ({"VeLO Short"} if split == "train" else set())
    assert sum(abs(wide[name] - column[name]) > 0.1 for name in wide) >= 3


@given(
    arrays(np.float64, (3, 4), elements=st.floats(1.0, 1e4) | st.just(math.inf)),
    st.floats(1.1, 20.0),
)
def test_the_score_is_the_integral_of_the_profile(times, r_max):
    own = ratios(times)
    edges = np.unique(np.concatenate([[1.0, r_max], own[(own > 1) & (own < r_max)]]))
    steps = performance_profile(own, edges[:-1])  # constant from each edge to the next
    expected = (steps * np.diff(edges)).sum(axis=1) / (r_max - 1)
    np.testing.assert_allclose(benchmark_score(own, r_max), expected, atol=1e-9)
    assert ((own >= 1.0) | np.isinf(own)).all()


def test_targets_and_times_by_hand():
    good = Curves(np.stack([STEPS] * 3), np.array([[4, 3, 2, 1], [5, 4, 3, 2], [9, 9, 9, np.nan]], float))
    poor = Curves(np.stack([STEPS] * 3), np.array([[4, 4, 3.5, 3]] * 3, float))
    assert values_at(good, 30.0).tolist() == [2, 3, 9]
    assert values_at(good, 9.0).tolist() == [math.inf] * 3
    assert values_at(good, 40.0).tolist() == [1, 2, math.inf]
    assert target([good, poor], 40.0) == 3.0  # after 30 of 40 steps, the median of the better one
    assert time_to_target(good, 3.0).tolist() == [20, 30, math.inf]
    assert time_to_target(good, 3.0, budget=25.0).tolist() == [20, math.inf, math.inf]
    assert time_to_target(poor, 3.0).tolist() == [40, 40, 40]
    assert quality(poor, 35.0) == (3.5, 0.0)
    assert quality(good, 30.0) == pytest.approx((14 / 3, np.std([2, 3, 9], ddof=1)))
    assert quality(good, 40.0)[0] == math.inf
    assert math.isnan(quality(good, 9.0)[0])  # no evaluation yet


def trainings(optimizer, losses, *, step_seconds=0.5, validation=None, task="task", **changes):
    """A row per trial of 40 steps, evaluated before the first step and after every ten."""
    names = {"train_loss": losses, "outer_valid_loss": validation}
    return [
        row(
            float(one[-1]),
            task,
            optimizer,
            seed=seed,
            evaluation_steps=np.array([0, *STEPS], np.int64),
            evaluations={
                name: np.array([own[seed][0], *own[seed]], np.float32)
                for name, own in names.items()
                if own is not None
            },
            step_seconds=step_seconds,
            **changes,
        )
        for seed, one in enumerate(losses)
    ]


FAST, SLOW = [[8, 4, 2, 2]] * 3, [[8, 8, 4, 2]] * 3


def compared(rows, **options):
    table = target_table(rows, requested_by(rows), **options)
    return table, {(one.split, one.unit): one for one in table.comparisons}


def test_steps_and_seconds_of_stored_trainings():
    rows = [*trainings("adam", SLOW), *trainings("celo", FAST, step_seconds=1.0)]
    table, found = compared(rows)
    steps, seconds = found["train", "steps"], found["train", "seconds"]
    assert (table.labels, table.tasks, table.trials) == (("adam", "celo"), ("task",), 3)
    assert (steps.budgets.tolist(), steps.targets.tolist()) == ([40.0], [2.0])
    assert steps.times.tolist() == [[40.0], [30.0]]
    assert steps.scores == pytest.approx([(3 - 4 / 3) / 2, 1.0])
    # The budget is what every trial had: Adam's 20 s, in which celo makes 20 steps.
    assert (seconds.budgets.tolist(), seconds.targets.tolist()) == ([20.0], [4.0])
    assert seconds.times.tolist() == [[15.0], [20.0]]
    assert [own[0] for own in seconds.quality] == [(2.0, 0.0), (4.0, 0.0)]
    assert seconds.reached.tolist() == [[3], [3]]


def test_a_trial_slowed_by_other_load_changes_no_time():
    rows = [*trainings("adam", SLOW), *trainings("celo", FAST, step_seconds=1.0)]
    slowed = [dataclasses.replace(rows[0], step_seconds=9.0), *rows[1:]]
    one, other = (compared(each)[1]["train", "seconds"] for each in (rows, slowed))
    assert (one.budgets, one.times.tolist()) == (other.budgets, other.times.tolist())


def test_what_has_no_validation_curve_or_time_is_left_out_with_the_reason():
    rows = [*trainings("adam", SLOW, step_seconds=math.nan), *trainings("celo", FAST, validation=FAST)]
    _, found = compared(rows)
    assert found["train", "seconds"].left_out == {"task": "the rows of adam hold no time per step"}
    assert found["validation", "steps"].left_out["task"].startswith("the rows of adam hold no validation")
    assert np.isnan(found["validation", "steps"].scores).all()
    assert found["train", "steps"].tasks == ("task",)
    rows = [*trainings("adam", SLOW, device="cpu"), *trainings("celo", FAST, device="gpu")]
    assert "different devices: cpu, gpu" in compared(rows)[1]["train", "seconds"].left_out["task"]
    rows = trainings("adam", [[8, math.nan, math.nan, math.nan]] * 3)
    assert "no optimizer has a finite loss" in compared(rows)[1]["train", "steps"].left_out["task"]


def test_unfinished_tasks_are_named():
    rows = [*trainings("adam", SLOW), *trainings("celo", FAST), *trainings("adam", SLOW, task="other")]
    late = trainings("celo", FAST, task="other")
    table = target_table([*rows, *late[:2]], requested_by([*rows, *late]))
    assert (table.tasks, table.left_out) == (("task",), {"other": "missing: celo (1 trainings)"})
    assert "other is left out: missing: celo (1 trainings)." in markdown(table)
    assert compared(rows)[0].left_out == {"other": "missing: celo (all)"}


def test_validation_has_its_own_targets():
    rows = [*trainings("adam", SLOW, validation=FAST), *trainings("celo", FAST, validation=SLOW)]
    _, found = compared(rows)
    assert found["validation", "steps"].times.tolist() == [[30.0], [40.0]]
    assert found["train", "steps"].times.tolist() == [[40.0], [30.0]]


def test_what_gives_no_targets_is_refused():
    two = [*trainings("adam", SLOW[:2]), *trainings("celo", FAST[:2])]
    with pytest.raises(ValueError, match="3 or more trials of every optimizer; these results have 2"):
        compared(two)
    unfinished = [*trainings("adam", SLOW), *trainings("celo", FAST, task="other")]
    with pytest.raises(ValueError, match="no task that every optimizer has finished"):
        compared(unfinished)
    with pytest.raises(ValueError, match=r"task: missing: celo \(1 trainings\)"):
        target_table(
            [*trainings("adam", SLOW), *trainings("celo", FAST)[:2]],
            requested_by([*trainings("adam", SLOW), *trainings("celo", FAST)]),
        )
    rows = trainings("adam", SLOW)
    with pytest.raises(ValueError, match="fraction is 0"):
        compared(rows, fraction=0)
    with pytest.raises(ValueError, match=r"r_max is 1\.0"):
        compared(rows, r_max=1.0)
