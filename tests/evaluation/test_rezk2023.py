"""The baselines of Rezk et al. 2023 against their table 8, and budgets by hand."""

import json
import math

import jax.numpy as jnp
import numpy as np
import pytest

from celo.evaluation import rezk2023
from celo.evaluation.optimizers import parse

BASELINES = {
    "Adam": rezk2023.adam,
    "NAdam": rezk2023.nadam,
    "NAdamW": rezk2023.nadamw,
    "HeavyBall": rezk2023.heavy_ball,
    "Nesterov": rezk2023.nesterov,
}


def test_the_schedule_warms_up_for_5_percent_and_ends_at_75():
    rates = np.array([rezk2023.schedule(1e-2, 1000)(t) for t in range(1000)])
    assert rates[0] == 0.0
    assert int(rates.argmax()) == 37
    assert rates.max() == pytest.approx(1e-2)
    assert rates[(37 + 750) // 2] == pytest.approx((1e-2 + 1e-4) / 2, rel=0.01)
    np.testing.assert_allclose(rates[750:], 1e-4, rtol=1e-5)
    assert (np.diff(rates[37:751]) < 0).all()
    assert np.isfinite(rezk2023.schedule(1e-2, 1)(0))
    with pytest.raises(ValueError, match="num_steps is 0"):
        rezk2023.schedule(1e-2, 0)


@pytest.mark.lenient(reason="optax raises a decay to an integer count")
@pytest.mark.parametrize("name", BASELINES)
def test_rates_are_those_of_table_8(shared_path, name):
    facts = json.loads(shared_path("facts/rezk2023.json").read_text())["table8_default_hyperparameters"][name]
    params, gradient = {"w": jnp.full(2, 1.0, jnp.float32)}, {"w": jnp.ones(2, jnp.float32)}
    if name in ("HeavyBall", "Nesterov"):
        made = BASELINES[name]()
        step = made.update(gradient, made.init(params), params)[0]["w"]
        expected = -facts["lr"] * (1 + facts["b1"] if name == "Nesterov" else 1)
        np.testing.assert_allclose(step, expected, rtol=1e-5)
        return
    made = BASELINES[name](40)  # 30 steps of schedule, 1 of warm-up
    first, state = made.update(gradient, made.init(params), params)
    np.testing.assert_array_equal(first["w"], 0.0)
    second, _ = made.update(gradient, state, params)
    # Equal gradients give a normalised step of 1, under Nesterov momentum a little more on early steps.
    decay = facts.get("l2", 0.0)
    size = -second["w"] / facts["lr"] - decay
    lookahead = facts["b1"] * (1 - facts["b1"] ** 2) / (1 - facts["b1"] ** 3)
    lookahead += (1 - facts["b1"]) / (1 - facts["b1"] ** 2)
    np.testing.assert_allclose(size, 1.0 if name == "Adam" else lookahead, rtol=1e-4)


@pytest.mark.parametrize("name", ["adam", "nadam", "nadamw", "heavy_ball", "nesterov"])
def test_they_are_optimizers_under_test_with_a_label(name):
    made = parse(f"rezk_{name}=celo.evaluation.rezk2023:{name}")
    assert (made.label, made.settings, made.learned) == (f"rezk_{name}", ({},), False)


def test_prompts_and_budgets_by_hand():
    assert rezk2023.prompt(10.0, [0.003]) == 3333
    assert rezk2023.prompt(10.0, [0.01, 0.02]) == 750  # the mean of 1,000 and 500
    assert rezk2023.prompt(0.001, [1.0]) == 1
    here = rezk2023.transferred_budget(600.0, 0.1, 0.3)
    assert here / 0.3 == pytest.approx(600.0 / 0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [((0.0, [1.0]), "budget is 0"), ((1.0, []), "got none"), ((1.0, [math.nan]), "step_seconds is nan")],
)
def test_a_prompt_of_nothing_is_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        rezk2023.prompt(*arguments)
