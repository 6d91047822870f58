"""Adam's curves against a published envelope: constant and linear curves, by hand, and the command."""

import dataclasses

import numpy as np
import pytest

from celo.evaluation.envelope import Envelope
from celo.scripts.studies.agreement import Curves, adam_curves, agreement, main, table
from tests.scripts.made import RATES, rows, store

PUBLISHED = Envelope(np.array([0.0, 100.0]), np.array([3.0, 1.0]))
STEPS = np.array([0, 20, 40])


def adam(losses):
    """Adam with these constant evaluations (rates, seeds) at steps 0, 20 and 40."""
    losses = np.asarray(losses, np.float32)
    return Curves("task", RATES[: len(losses)], STEPS, np.repeat(losses[..., None], 3, axis=2))


def test_the_best_rate_is_that_of_the_mean_over_seeds():
    found = agreement(adam([[1.0, 9.0], [2.0, 4.0], [5.0, 5.0]]), PUBLISHED, 40)
    assert (found.best, found.inside, found.rates) == (1e-2, True, 3)
    assert found.own == 3.0
    assert found.per_seed.tolist() == [2.0, 4.0]
    assert found.published == pytest.approx(2.2)
    assert found.ratio == pytest.approx(3.0 / 2.2)


def test_curves_are_smoothed_and_linear_between_evaluations():
    one = Curves("task", RATES[:1], STEPS, np.array([[[2.0, 1.0, 1.0]]], np.float32))
    at = {0: 2.0, 20: 1.95, 40: 0.95 * 1.95 + 0.05, 30: (1.95 + 0.95 * 1.95 + 0.05) / 2}
    for step, expected in at.items():
        assert agreement(one, PUBLISHED, step).own == pytest.approx(expected, rel=1e-6)
        assert agreement(one, PUBLISHED, step).per_seed == pytest.approx([expected], rel=1e-6)


def test_diverged_rates_do_not_count_and_the_end_of_the_grid_is_named():
    found = agreement(adam([[np.nan, 0.1], [np.inf, np.inf], [1.0, 1.0]]), PUBLISHED, 40)
    assert (found.best, found.inside) == (1e-1, False)
    assert "0.1 (at the end of 3)" in table([found])


def test_the_difference_in_standard_errors_of_both_means():
    found = agreement(adam([[2.0, 4.0]]), PUBLISHED, 40)  # 3.0, deviation sqrt(2); published 2.2
    assert found.standard_errors == pytest.approx(0.8 / (2.0 * (1 / 2 + 1 / 5)) ** 0.5)
    for alone in ([[2.0]], [[2.0, 2.0]]):  # no spread, hence no error
        assert np.isnan(agreement(adam(alone), PUBLISHED, 40).standard_errors)


@pytest.mark.parametrize(
    ("losses", "step", "message"),
    [
        ([[1.0]], -1, "step is -1; the curves of task go from 0 to 40"),
        ([[1.0]], 41, "step is 41; the curves of task go from 0 to 40"),
        ([[np.nan], [np.inf], [np.nan]], 40, "adam on task diverged at every learning rate by step 40"),
    ],
)
def test_impossible_comparisons(losses, step, message):
    with pytest.raises(ValueError, match=message):
        agreement(adam(losses), PUBLISHED, step)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1}, "rows of adam on a differ in seeds or evaluations"),
        ({"evaluation_steps": np.array([0, 10, 40])}, "differ in seeds or evaluations"),
        ({"task_digest": "other"}, "rows of a were trained on different data"),
    ],
)
def test_rows_that_do_not_belong_together_are_refused(change, message):
    made = rows([[2.0], [3.0]], "a", rates=RATES[:2])
    made[1] = dataclasses.replace(made[1], **change)
    with pytest.raises(ValueError, match=message):
        adam_curves(made)


def command(tmp_path, made, more=()):
    store(tmp_path / "results", made, more)
    np.savez(tmp_path / "published.npz", names=["a"], steps=PUBLISHED.steps[None], loss=PUBLISHED.loss[None])
    return [str(tmp_path / "results"), "--envelope", str(tmp_path / "published.npz"), "--step", "40"]


@pytest.mark.parametrize(("loss", "code", "said"), [(2.2, 0, "1.000"), (2.4, 1, "Further off than 4%: a")])
def test_the_command_names_tasks_that_differ(tmp_path, capsys, loss, code, said):
    assert main(command(tmp_path, rows([[loss, loss]], "a") + rows([[1.0]], "b"))) == code
    out = capsys.readouterr().out
    assert said in out
    assert "Without a published envelope: b" in out


def test_the_command_names_rates_that_are_not_finished(tmp_path, capsys):
    made = rows([[2.2, 2.2]], "a", "adam@1", (1.0,))
    assert main(command(tmp_path, made, more=("adam@5", "celo"))) == 0
    assert capsys.readouterr().out.rstrip().endswith(": adam@5 on a")
