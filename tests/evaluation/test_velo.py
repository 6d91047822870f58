"""VeLO's columns by hand and against the published tables, and the rows of a score table."""

import json

import numpy as np
import pytest

from celo.evaluation.envelope import Envelope, read_envelopes
from celo.evaluation.requested import requested_by
from celo.evaluation.scores import score_table
from celo.evaluation.speedup import baseline_steps
from celo.evaluation.velo import PERCENTILES, best_settings, columns, rows
from tests.evaluation.rows import rows as trainings

TASKS = 109
FALLING = Envelope(np.array([0.0, 400.0]), np.array([10.0, 0.0]))


def test_columns_by_hand():
    s = [0.05, 0.5, 2.0, 4.0, 90.0]
    found = columns(s)
    assert found.mean == pytest.approx((0.05 + 0.5 + 2 + 4 + 30) / 5)
    assert found.mean_inverse == pytest.approx((10 + 2 + 0.5 + 0.25 + 1 / 90) / 5)
    assert found.percentiles == pytest.approx((0.14, 0.23, 0.5, 2.0, 4.0))
    assert columns([0.0]) == (0.0, 10.0, (0.0,) * 5)  # a training that diverged


@pytest.mark.parametrize("wrong", [[], [1.0, np.nan], [-1.0], [[1.0]], [np.inf]])
def test_speedups_that_are_none_are_refused(wrong):
    with pytest.raises(ValueError, match="expected a finite number per task"):
        columns(wrong)


def bounds(row):
    """The lowest and the highest speedups of 109 tasks that have a published row's percentiles."""
    published = [max(0.0, value - 0.005) for value in row[3:]], [value + 0.005 for value in row[3:]]
    at = 100 * np.arange(TASKS) / (TASKS - 1)
    low = np.array([0.0, *published[0]])[np.searchsorted(PERCENTILES, at, side="right")]
    high = np.array([*published[1], 1e9])[np.searchsorted(PERCENTILES, at, side="left")]
    return low, high


@pytest.mark.parametrize("name", ["table1", "table2", "table3", "table4"])
def test_published_rows_lie_within_the_columns_that_their_percentiles_allow(shared_path, name):
    table = json.loads(shared_path("facts/velo_tables.json").read_text())[name]
    assert [f"{at}%" for at in PERCENTILES] == table["columns"][3:]
    uncapped = 0
    for row in table["rows"].values():
        low, high = (columns(one) for one in bounds(row))
        for least, value, most in zip(low.percentiles, row[3:], high.percentiles, strict=True):
            assert least <= value <= most
        assert low.mean - 0.005 <= row[1] <= high.mean + 0.005
        assert high.mean_inverse - 0.005 <= row[2] <= low.mean_inverse + 0.005
        with np.errstate(divide="ignore"):
            uncapped += (1 / bounds(row)[1]).mean() > row[2] + 0.005
    if name != "table2":
        assert uncapped  # without the cap of 10 the published means of 1/s would be impossible


def test_published_extended_normalizer_never_gives_a_higher_speedup(shared_path):
    adam = read_envelopes(shared_path("facts/speedup_over_adam.npz"))
    extended = read_envelopes(shared_path("facts/speedup_over_multiple_baselines.npz"))
    common = sorted(set(adam) & set(extended))
    assert len(common) > 100
    for task in common:
        losses = np.linspace(adam[task].loss[0], adam[task].loss[-1], 200)
        few = baseline_steps(extended[task], losses)
        assert (few <= baseline_steps(adam[task], losses) + 1e-6).all()


def table(*more):
    """Two tasks of 40 steps: an envelope that falls by 1 in 40 steps gives s = 10 - final loss."""
    rows = [
        *trainings([[9, 9], [8, 8], [4, 2]], "a"),
        *trainings([[9, 9], [5, 7], [9, 9]], "b"),
        *trainings([6.0, 7.0], "a", "celo"),
        *trainings([np.nan, 2.0], "b", "celo"),
        *more,
    ]
    return score_table(rows, requested_by(rows), {"a": FALLING, "b": FALLING})


def test_rows_of_a_score_table():
    found = {(row.name, row.trials): row.columns for row in rows(table())}
    assert list(found) == [("adam, 0.1", 1), ("celo", 1), ("adam", 3), ("best of all", 4)]
    assert found["adam, 0.1", 1] == columns([7.0, 1.0])
    assert found["celo", 1] == columns([3.5, 4.0])  # the mean over seeds, 0 for the one that diverged
    assert found["adam", 3] == columns([7.0, 4.0])
    assert found["best of all", 4] == columns([7.0, 4.0])


def test_a_list_of_settings_has_rows_for_its_beginnings():
    settings = tuple({"learning_rate": 0.1 * (i + 1)} for i in range(6))
    changes = {"settings": settings, "optimizer": "optlist:6", "spec": "optlist:6"}
    made = [
        *trainings([[9, 9], [8, 8], [7, 7], [6, 6], [5, 5], [1, 1]], "a", **changes),
        *trainings([[3, 3], [8, 8], [7, 7], [6, 6], [5, 5], [1, 1]], "b", **changes),
    ]
    found = {(row.name, row.trials): row.columns for row in rows(table(*made))}
    assert found["optlist:6, first 5", 5] == columns([5.0, 7.0])
    assert found["optlist:6", 6] == columns([9.0, 9.0])
    assert found["best baseline", 9] == columns([9.0, 9.0])
    assert found["best of all", 10] == columns([9.0, 9.0])


def test_the_best_single_settings_are_by_capped_mean_and_by_median():
    assert best_settings(np.array([[1.0, 1.0, 90.0], [9.0, 9.0, 9.0]])) == (0, 1)
    assert best_settings(np.array([[1.0, 1.0, 60.0], [11.0, 11.0, 11.0]])) == (1,)  # 62 / 3 without the cap


def test_without_envelopes_there_are_no_rows():
    assert rows(score_table(trainings([[1.0, 2.0]]))) == ()
