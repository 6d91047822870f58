"""The table of the grid against arithmetic done by hand."""

import csv
import io

import pytest

from celo.ablations.grid import rows as rows_of
from celo.ablations.table import findings, label, records, table
from celo.evaluation.report.records import csv_bytes
from celo.evaluation.scores import score_table
from tests.scripts.made import rows

CELO, LINEAR = rows_of(["linear"])


def scores(**losses):
    """Scores of trainings on two tasks where the best Adam reaches 1."""
    made = [row for task in ("a", "b") for row in rows([[2, 2], [1, 1], [4, 4]], task)]
    for name, final in losses.items():
        made += [row for task in ("a", "b") for row in rows([final], task, name)]
    return score_table(made)


def test_findings_by_hand():
    """Celo scores 2 and 4 from two seeds, linear 0.5: below Celo in every pair of trainings."""
    made = scores(**{"celo.0": [0.5, 0.5], "celo.1": [0.25, 0.25], "linear.0": [2, 2]})
    celo, linear = findings(made, [0, 1], reps=20)
    assert (celo.row, linear.row) == (CELO, LINEAR)
    assert celo.by_seed == {0: pytest.approx(2), 1: pytest.approx(4)}
    assert celo.iqm.value == pytest.approx(3)
    assert (celo.gap.value, celo.better) == (0, None)
    assert linear.iqm.value == pytest.approx(0.5)
    assert linear.gap.value == pytest.approx(0.5)
    assert linear.better is not None
    assert linear.better.value == 0
    assert celo.speedup.value > linear.speedup.value == 0
    assert celo.sustained.value > linear.sustained.value == 0
    assert (celo.median.value, linear.median.value) == (pytest.approx(3), pytest.approx(0.5))

    shown = table([celo, linear])
    assert shown.rows[0][:6] == ("celo", "Celo as it is", "2", "3.00 [2.00, 4.00]", "1.20", "2.00, 4.00")
    assert shown.rows[0][7] == "1.14"
    assert shown.rows[0][-2:] == ("1.86", "–")
    assert shown.rows[1][2:5] == ("1", "0.50 [0.50, 0.50]", "1.07")
    assert shown.rows[1][7:10] == ("–", "0.50 [0.50, 0.50]", "0.12")
    assert shown.rows[1][-1] == "0.00 [0.00, 0.00]"

    kept = list(csv.DictReader(io.StringIO(csv_bytes(records([celo, linear])).decode())))
    assert [row["row"] for row in kept] == ["celo", "linear"]
    assert float(kept[0]["iqm"]) == pytest.approx(3)
    assert kept[0]["better"] == ""
    assert (kept[1]["paper_iqm"], kept[1]["paper_median"]) == ("1.07", "")
    assert kept[1]["paper_source"] == "table 3e"
    assert dict(pair.split(":") for pair in kept[0]["by_seed"].split()).keys() == {"0", "1"}


def test_released_weights_count_once_however_many_seeds():
    _, released = rows_of(["velo_4000"])
    (found,) = findings(scores(velo_4000=[0.5, 0.5]), [0, 1], reps=2)
    assert found.row == released
    assert list(found.by_seed) == [0]
    assert found.iqm.value == pytest.approx(2)
    assert label(released, 1) == "velo_4000"
    assert table([found]).rows[0][2:5] == ("–", "2.00 [2.00, 2.00]", "1.41")


def test_long_trainings_are_compared_with_celo_in_long_trainings():
    made = scores(**{"celo_2k.0": [1, 1], "celo_5k.0": [0.5, 0.5]})
    plain, longer = findings(made, [0], reps=2, celo="celo_2k")
    assert plain.better is None
    assert longer.better is not None
    assert longer.better.value == 1


def test_without_celo_nothing_is_compared_and_without_adam_nothing_is_scored():
    (linear,) = findings(scores(**{"linear.0": [2, 2]}), [0], reps=2)
    assert linear.better is None
    assert label(LINEAR, 0) == "linear.0"
    assert findings(score_table(rows([1.0, 2.0], "a", "celo.0")), [0]) == []
