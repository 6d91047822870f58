"""Own Adam curves against a published envelope: constant and linear curves, by hand, and the command."""

import numpy as np
import pytest
from celo.evaluation.store import Store, name_of
from tests.evaluation.cells import RATES, cell

from celo.evaluation.agreement import agreement, agreements, table
from celo.evaluation.envelope import Envelope
from celo.scripts.agreement import main

PUBLISHED = Envelope(np.array([0.0, 100.0]), np.array([3.0, 1.0]))


def adam(losses, task="task", **changes):
    """Adam with these constant evaluations (rates, seeds) at steps 0, 20 and 40."""
    losses = np.asarray(losses, np.float32)
    evaluations = {"train_loss": np.repeat(losses[..., None], 3, axis=2)}
    return cell(
        losses, task, **{"evaluations": evaluations, "configurations": RATES[: len(losses)]} | changes
    )


def test_the_best_rate_is_that_of_the_mean_over_seeds():
    found = agreement(adam([[1.0, 9.0], [2.0, 4.0], [5.0, 5.0]]), PUBLISHED, 40)
    assert (found.best, found.inside, found.rates) == (1e-2, True, 3)
    assert found.own == 3.0
    assert found.per_seed.tolist() == [2.0, 4.0]
    assert found.published == pytest.approx(2.2)
    assert found.ratio == pytest.approx(3.0 / 2.2)


def test_curves_are_smoothed_and_linear_between_evaluations():
    one = adam([[2.0]], evaluations={"train_loss": np.array([[[2.0, 1.0, 1.0]]], np.float32)})
    at = {0: 2.0, 20: 1.95, 40: 0.95 * 1.95 + 0.05, 30: (1.95 + 0.95 * 1.95 + 0.05) / 2}
    for step, expected in at.items():
        assert agreement(one, PUBLISHED, step).own == pytest.approx(expected, rel=1e-6)
        assert agreement(one, PUBLISHED, step).per_seed == pytest.approx([expected], rel=1e-6)


def test_rates_that_diverge_are_passed_over_and_the_end_of_the_grid_is_told():
    found = agreement(adam([[np.nan, 0.1], [np.inf, np.inf], [1.0, 1.0]]), PUBLISHED, 40)
    assert (found.best, found.inside) == (1e-1, False)
    assert "0.1 (at the end of 3)" in table([found]).text()


def test_the_difference_is_told_in_standard_errors_of_both_means():
    found = agreement(adam([[2.0, 4.0]]), PUBLISHED, 40)  # 3.0, deviation sqrt(2); published 2.2
    assert found.standard_errors == pytest.approx(0.8 / (2.0 * (1 / 2 + 1 / 5)) ** 0.5)
    assert table([found]).rows[0][-1] == "+0.7"
    for alone in ([[2.0]], [[2.0, 2.0]]):  # nothing to tell an error by
        assert np.isnan(agreement(adam(alone), PUBLISHED, 40).standard_errors)
        assert table([agreement(adam(alone), PUBLISHED, 40)]).rows[0][-1] == "-"


@pytest.mark.parametrize("step", [-1, 41])
def test_steps_that_the_curves_do_not_reach_are_refused(step):
    with pytest.raises(ValueError, match=rf"step is {step}; the curves of task go from 0 to 40"):
        agreement(adam([[1.0]]), PUBLISHED, step)


def test_only_adam_is_compared_and_what_is_not_published_is_named():
    cells = [adam([[1.0]], "a"), adam([[1.0]], "b"), cell([1.0], "a", "celo")]
    found, unpublished = agreements(cells, {"a": PUBLISHED}, 40)
    assert [one.task for one in found] == ["a"]
    assert unpublished == ["b"]


def test_single_rates_count_as_one_grid():
    ones = [
        adam([[loss]], optimizer=f"adam@{i}", configurations=(RATES[i],)) for i, loss in ((1, 2.0), (0, 3.0))
    ]
    ((one,), _) = agreements(ones, {"task": PUBLISHED}, 40)
    assert (one.best, one.rates, one.inside, one.own) == (1e-2, 2, False, 2.0)
    with pytest.raises(ValueError, match="adam@1 and adam@5 on task differ in seeds or steps"):
        agreements([ones[0], adam([[1.0, 1.0]], optimizer="adam@5")], {"task": PUBLISHED}, 40)


@pytest.mark.parametrize(("loss", "code", "said"), [(2.2, 0, "1.000"), (2.4, 1, "Further off than 4%: a")])
def test_the_command_says_what_is_off(tmp_path, capsys, loss, code, said):
    store, one = Store(tmp_path / "results"), adam([[loss, loss]], "a")
    store.declare({"steps": 40}, [name_of(one)], {})
    store.write(one)
    np.savez(tmp_path / "published.npz", names=["a"], steps=PUBLISHED.steps[None], loss=PUBLISHED.loss[None])
    arguments = [str(store.folder), "--envelope", str(tmp_path / "published.npz"), "--step", "40"]
    assert main(arguments) == code
    assert said in capsys.readouterr().out


def test_the_command_names_rates_that_are_not_finished(tmp_path, capsys):
    store, one = Store(tmp_path / "results"), adam([[2.2, 2.2]], "a", optimizer="adam@1")
    others = [name_of(one)._replace(optimizer=label) for label in ("adam@5", "celo")]
    store.declare({"steps": 40}, [name_of(one), *others], {})
    store.write(one)
    np.savez(tmp_path / "published.npz", names=["a"], steps=PUBLISHED.steps[None], loss=PUBLISHED.loss[None])
    assert main([str(store.folder), "--envelope", str(tmp_path / "published.npz"), "--step", "40"]) == 0
    out = capsys.readouterr().out
    assert "Not finished" in out
    assert out.rstrip().endswith(": adam@5 on a")


@pytest.mark.parametrize(("optimizer", "task"), [("celo", "a"), ("adam", "b")])
def test_nothing_to_compare_is_no_agreement(tmp_path, capsys, optimizer, task):
    store, one = Store(tmp_path / "results"), adam([[1.0]], task, optimizer=optimizer)
    store.declare({"steps": 40}, [name_of(one)], {})
    store.write(one)
    np.savez(tmp_path / "published.npz", names=["a"], steps=PUBLISHED.steps[None], loss=PUBLISHED.loss[None])
    with pytest.raises(SystemExit) as ended:
        main([str(store.folder), "--envelope", str(tmp_path / "published.npz"), "--step", "40"])
    assert ended.value.code == 2
    assert "there is nothing to compare" in capsys.readouterr().err


def test_grids_that_diverged_altogether_and_cells_of_other_data_are_refused():
    with pytest.raises(ValueError, match="adam on task diverged at every learning rate by step 40"):
        agreement(adam([[np.nan], [np.inf], [np.nan]]), PUBLISHED, 40)
    ones = [adam([[1.0]], configurations=(RATES[i],), task_digest=digest) for i, digest in enumerate("ab")]
    with pytest.raises(ValueError, match="cells of task were trained on different data"):
        agreements(ones, {"task": PUBLISHED}, 40)


def test_a_bad_tolerance_is_refused(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        main([str(tmp_path), "--envelope", "x.npz", "--within", "2"])
    assert ended.value.code == 2
    assert "within is 2.0; expected a number between 0 and 1" in capsys.readouterr().err
