"""What a sweep runs and what it chooses."""

import dataclasses
from pathlib import Path

import pytest

from celo.evaluation.suites import suites
from celo.meta.presets import PAPER_RATES, preset
from celo.meta.selection import Selected
from celo.meta.sweep import RATES, choose, default_rates, trials
from celo.meta.tasks import META_TRAINING, META_VALIDATION, TASKS, WIDER_META_TRAINING

RECIPE = dataclasses.replace(preset("cpu"), validation_tasks=META_VALIDATION)


def test_the_tasks_that_choose_are_neither_trained_on_nor_evaluated():
    others = {*META_TRAINING, *WIDER_META_TRAINING}.union(*suites().values())
    assert not others.intersection(META_VALIDATION)
    assert {*META_VALIDATION} <= TASKS.keys()
    assert any(name.startswith("RNNLM") and "bytes" in name for name in META_VALIDATION)


def test_rates_are_the_papers_or_around_a_published_one():
    assert default_rates("celo") == RATES == (3e-5, 5e-5, 1e-4, 3e-4, 1e-3)
    for name, centre in PAPER_RATES.items():
        rates = default_rates(name)
        assert len(rates) == 5
        assert rates[2] == centre
        assert rates == tuple(sorted(rates))


def test_a_trial_for_every_rate_and_seed():
    found = trials(RECIPE, [1e-4, 3e-4], [5, 6])
    assert list(found) == [(1e-4, 5), (3e-4, 5), (1e-4, 6), (3e-4, 6)]
    one = found[3e-4, 6]
    assert one.label == "rate0.0003.6"
    assert one.recipe == dataclasses.replace(RECIPE.change_stages({"learning_rate": 3e-4}), seed=6)
    assert len({trial.label for trial in found.values()}) == 4


@pytest.mark.parametrize(
    ("recipe", "rates", "seeds", "message"),
    [
        (RECIPE, [], [0], r"rates is \(\); expected one or more"),
        (RECIPE, [1e-4, 1.0000001e-4], [0], "rates is .* all different"),
        (RECIPE, [1e-4], [1, 1], r"seeds is \(1, 1\); expected"),
        (RECIPE.change_stages({"outer": "celo"}), [1e-4], [0], "every stage has a learned outer optimizer"),
        (RECIPE, [-1.0], [0], "learning_rate is -1.0; expected a number above 0"),
        (
            preset("cpu"),
            [1e-4],
            [0],
            "ImageMLP_Mnist8_Relu32_bs64: meta-trained on, and so no task to choose by",
        ),
    ],
)
def test_what_cannot_be_swept_is_refused(recipe, rates, seeds, message):
    with pytest.raises(ValueError, match=message):
        trials(recipe, rates, seeds)


def selected(losses):
    return {key: Selected(Path("theta"), loss, {"task": loss}) for key, loss in losses.items()}


def test_the_choice_is_the_lowest_mean_with_paired_differences():
    """Seed 1 is hard for all; the difference between rates is the same 0.5 in each seed but one."""
    found = choose(
        selected({(0.1, 0): 2.0, (0.1, 1): 5.0, (0.1, 2): 3.0, (0.3, 0): 1.5, (0.3, 1): 4.5, (0.3, 2): 2.4})
    )
    assert (found.rate, found.seed) == (0.3, 0)
    low, high = found.rates
    assert (low.rate, low.seeds, high.rate, high.behind) == (0.1, (0, 1, 2), 0.3, None)
    assert low.loss.mean == pytest.approx(10 / 3)
    assert low.behind is not None
    assert low.behind.mean == pytest.approx(1.6 / 3)
    assert 0 < low.behind.low < low.behind.mean < low.behind.high  # separated, though the losses are not
    assert low.loss.low < high.loss.mean < low.loss.high


def test_a_rate_with_runs_to_do_is_shown_and_not_chosen():
    found = choose(selected({(0.1, 0): 1.0, (0.3, 0): 2.0, (0.3, 1): 3.0, (1.0, 1): 9.0}))
    assert (found.rate, found.seed) == (0.3, 0)
    assert [one.seeds for one in found.rates] == [(0,), (0, 1), (1,)]
    assert [one.behind and one.behind.mean for one in found.rates] == [-1.0, None, 6.0]
    with pytest.raises(ValueError, match="no finished run"):
        choose({})
