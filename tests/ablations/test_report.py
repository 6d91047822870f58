"""The table of the grid against arithmetic done by hand."""

import csv
import io

import pytest

from celo.ablations.carry_out import Trial, trials
from celo.ablations.grid import rows
from celo.ablations.report import findings, records, table
from celo.evaluation.report.records import csv_bytes
from celo.evaluation.scoreboard import scoreboard
from tests.evaluation.cells import cell

CELO, LINEAR = rows(["linear"])


def board(**losses):
    """Scores of cells on two tasks where the best Adam reaches 1."""
    cells = [cell([[2, 2], [1, 1], [4, 4]], task) for task in ("a", "b")]
    cells += [cell(final, task, label) for label, final in losses.items() for task in ("a", "b")]
    return scoreboard(cells)


def test_trials_take_all_rows_from_one_seed_before_the_next():
    asked = trials([CELO, LINEAR], [3, 5])
    assert [trial.label for trial in asked] == ["celo.3", "linear.3", "celo.5", "linear.5"]


@pytest.mark.parametrize("seeds", [[], [1, 1]])
def test_seeds_are_checked(seeds):
    with pytest.raises(ValueError, match="one or more, all different"):
        trials([CELO], seeds)


def test_findings_by_hand():
    """Celo scores 2 and 4 from two seeds, linear 0.5: below Celo in every pair of runs."""
    made = board(**{"celo.0": [0.5, 0.5], "celo.1": [0.25, 0.25], "linear.0": [2, 2]})
    celo, linear = findings(made, [Trial(CELO, 0), Trial(CELO, 1), Trial(LINEAR, 0)], reps=20)
    assert (celo.row, linear.row) == (CELO, LINEAR)
    assert celo.by_seed == {0: pytest.approx(2), 1: pytest.approx(4)}
    assert celo.iqm.value == pytest.approx(3)
    assert celo.gap.value == 0
    assert celo.better is None
    assert linear.iqm.value == pytest.approx(0.5)
    assert linear.gap.value == pytest.approx(0.5)
    assert linear.better is not None
    assert linear.better.value == 0
    assert celo.speedup.value > 1 > linear.speedup.value == 0

    shown = table([celo, linear])
    assert shown.rows[0][:5] == ("celo", "Celo as it is", "2", "3.00 [2.00, 4.00]", "2.00, 4.00")
    assert shown.rows[0][-2:] == ("–", "1.20")
    assert shown.rows[1][2:6] == ("1", "0.50 [0.50, 0.50]", "–", "0.50 [0.50, 0.50]")
    assert shown.rows[1][-2:] == ("0.00 [0.00, 0.00]", "1.07")

    kept = list(csv.DictReader(io.StringIO(csv_bytes(records([celo, linear])).decode())))
    assert [row["row"] for row in kept] == ["celo", "linear"]
    assert float(kept[0]["iqm"]) == pytest.approx(3)
    assert kept[0]["better"] == ""
    assert kept[1]["published"] == "1.07"
    assert dict(pair.split(":") for pair in kept[0]["by_seed"].split()).keys() == {"0", "1"}


def test_without_celo_there_is_nothing_to_compare_with():
    (linear,) = findings(board(**{"linear.0": [2, 2]}), [Trial(LINEAR, 0)], reps=2)
    assert linear.better is None


def test_without_scores_there_is_no_finding():
    assert findings(scoreboard([cell([1.0, 2.0], "a", "celo.0")]), [Trial(CELO, 0)]) == []
