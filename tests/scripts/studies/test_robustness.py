"""The study of where weights break: its arithmetic, its options, and one case from training to table."""

import json

import numpy as np
import pytest

from celo.scripts.studies import robustness

ROW = {
    "axis": "network",
    "value": "tanh",
    "steps": 5,
    "rate": 0.01,
    "adam": [1.0, 3.0],
    "learned": [2.0, 2.0],
}


def test_score_is_the_ratio_of_means_with_the_range_over_seeds():
    assert robustness.score(ROW) == (1.0, 0.5, 1.5)


def test_a_training_that_diverged_scores_zero():
    assert robustness.score(ROW | {"learned": [2.0, np.nan]}) == (0.0, 0.0, 0.5)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--axes", "widht"], "Did you mean 'width'"),
        (["--picture", "a.jpg"], "ends in .svg or .png"),
        (["--seeds", "1"], "seeds"),
    ],
)
def test_bad_input_is_refused_before_training(arguments, message, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        robustness.main(["--json", str(tmp_path / "found.json"), *arguments])
    assert message in capsys.readouterr().err


def test_finished_cases_are_shown_and_not_run_again(tmp_path, capsys, monkeypatch):
    path = tmp_path / "found.json"
    path.write_text(json.dumps([ROW]))
    monkeypatch.setattr(robustness, "cases", lambda data_dir: {("network", "tanh"): (pytest.fail, 5)})
    assert robustness.main(["--json", str(path), "--picture", str(tmp_path / "scores.png")]) == 0
    assert "1.00 [0.50, 1.50]" in capsys.readouterr().out
    assert (tmp_path / "scores.png").stat().st_size > 1000
