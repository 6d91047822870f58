"""What every learned optimizer learns, as a program: resumable runs, a figure, a table, exit codes."""

import json

import numpy as np
import pytest

from celo.meta.presets import preset
from celo.scripts.studies import learning_curves
from celo.scripts.studies.learning_curves import LearningCurve, LearningCurves, table


def curve(label="celo", losses=(3.0, 3.0, 2.0, 1.0)):
    steps = 10 * np.arange(1, len(losses) + 1)
    paired = np.array([[2.0, 1.0], [5.0, 2.0]])
    return LearningCurve(label, "rate 0.001", steps, np.array(losses), paired, 0.25)


def test_a_row_shows_both_ends_and_the_paired_difference():
    numbers = ("3.000", "1.500", "3.500", "1.500", "-2.0000 ± 1.0000", "0.25")
    assert curve().row() == ("celo", "rate 0.001", *numbers)
    assert "first 20" in table([curve()])


def test_recipes_are_the_preset_for_the_optimizer(tmp_path):
    command = LearningCurves(run_dir=tmp_path, iterations=7, seed=3)
    first, second = (command.recipe("celo", number) for number in (1, 2))
    assert (len(first.stages), first.seed, first.stages[0].iterations) == (1, 3, 7)
    assert (first.stages[0].trains, second.stages[0].trains) == ("rule", "scheduler")
    assert second.checkpoint(0) == str(tmp_path / "celo" / "theta.safetensors")
    assert first.stages[0].horizon_high == preset("quick").stages[0].horizon_high
    assert "ff_mult=30.0" in learning_curves.settings(command.recipe("velo_s", 1))
    assert learning_curves.settings(first) == "rate 0.001"


def test_a_meta_loss_that_is_not_finite_is_an_error(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(
        LearningCurves, "trained", lambda self: [curve(), curve("velo", (1.0, np.nan, 1.0, 1.0))]
    )
    monkeypatch.setattr(learning_curves, "set_up", lambda devices: None)
    assert learning_curves.main(["--out", str(tmp_path)]) == 1
    assert "error: a meta-loss of velo is not finite" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.lenient(reason="optax's AdamW raises a float to an integer count")
def test_it_learns_and_resumes(tmp_path, monkeypatch, capsys):
    """Gradient descent with a learned rate, for real; the second time nothing is trained again."""
    monkeypatch.setattr(learning_curves, "set_up", lambda devices: None)
    arguments = ["--run-dir", str(tmp_path / "runs"), "--out", str(tmp_path / "out"), "--problems", "4"]
    arguments += ["--optimizers", "learnable_sgd", "--iterations", "20"]
    assert learning_curves.main(arguments) == 0
    first = capsys.readouterr().out
    assert (tmp_path / "out" / "learning_curves.png").stat().st_size > 5000
    run = tmp_path / "runs" / "learnable_sgd"
    before, after = np.array(json.loads((run / "paired.json").read_text())).T
    assert np.mean(after) < np.mean(before)
    metrics = (run / "metrics.jsonl").read_bytes()
    assert learning_curves.main(arguments) == 0
    assert capsys.readouterr().out == first
    assert (run / "metrics.jsonl").read_bytes() == metrics
