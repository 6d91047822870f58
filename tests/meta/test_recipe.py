"""Recipes as data: what presets are, what they build, and what is refused at construction."""

import dataclasses
import json
import math
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from celo.learned.celo import Celo
from celo.learned.learnable import LearnableAdam
from celo.meta.estimators import PES, FullES, TruncatedES
from celo.meta.estimators.horizons import Constant, Curriculum, LogUniform
from celo.meta.recipe import PRESETS, Recipe, Stage, preset
from celo.meta.tasks import META_TRAINING


def test_paper_is_the_papers():
    """Every number of the published recipe."""
    recipe = preset("paper")
    assert recipe.tasks == META_TRAINING
    assert len(recipe.tasks) == 4
    for part, stage in enumerate(recipe.plan(), 1):
        assert stage == Stage(
            part=part,
            iterations=100_000,
            learning_rate=3e-4,
            weight_decay=1e-4,
            clip_norm=0.0,
            schedule="constant",
            estimator="pes",
            problems=8,
            truncation=50,
            sigma=0.01,
            horizon="log_uniform",
            horizon_low=100,
            horizon_high=2000,
            augmentation="global",
            augmentation_low=1e-3,
            augmentation_high=1e3,
        )


def test_presets_are_two_stages_on_what_their_machine_has():
    assert all([stage.part for stage in recipe.plan()] == [1, 2] for recipe in PRESETS.values())
    assert all("Digits" in name for name in preset("quick").tasks)
    assert all("Svhn" not in name for name in preset("cpu").tasks)
    assert sum(stage.iterations for stage in preset("cpu").plan()) >= 7500


def test_plan_stops_after_the_first_stage():
    recipe = dataclasses.replace(preset("quick"), stages=1)
    assert recipe.plan() == (recipe.stage1,)


def test_stages_follow_one_another():
    """A state at the border of two stages is the beginning of the second."""
    recipe = dataclasses.replace(preset("quick"), stage1=Stage(iterations=8), stage2=Stage(2, iterations=6))
    assert recipe.ends() == (8, 14)
    assert [recipe.stage_at(step) for step in (0, 7, 8, 13, 14)] == [0, 0, 1, 1, 1]
    assert dataclasses.replace(recipe, stages=1).stage_at(8) == 0


def tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}


@pytest.mark.parametrize("name", PRESETS)
def test_configuration_is_json_that_makes_the_recipe_again(name):
    config = json.loads(json.dumps(preset(name).config()))
    stages: dict[str, Any] = {part: Stage(**tuples(config.pop(part))) for part in ("stage1", "stage2")}
    assert Recipe(**tuples(config) | stages) == preset(name)


def test_optimizer_is_configured_by_options():
    """The stage decides whether its scheduler is in use, the options the rest."""
    recipe = Recipe(options=("form=linear",))
    assert recipe.learned(1) == Celo(stage=1, form="linear")
    assert recipe.learned(2) == Celo(stage=2, form="linear")
    assert Recipe(optimizer="learnable_adam").learned(2) == LearnableAdam()


def test_stages_choose_families_and_checkpoint():
    names = ("ImageMLP_Digits8_Relu32_bs64", "ImageMLP_Digits8_Tanh32_bs64")
    recipe = Recipe(
        tasks=names[:1], init="first", stage2=Stage(2, tasks=names[1:], init="second"), validation_tasks=names
    )
    assert [recipe.families(n) for n in (0, 1)] == [names[:1], names[1:]]
    assert [recipe.checkpoint(n) for n in (0, 1)] == ["first", "second"]
    assert set(recipe.task_names()) == set(names)
    plain = Recipe(tasks=names, init="first")
    assert [plain.checkpoint(n) for n in (0, 1)] == ["first", ""]
    assert plain.families(1) == names


@pytest.mark.parametrize(
    ("name", "horizon"),
    [
        ("log_uniform", LogUniform(10, 300)),
        ("constant", Constant(300)),
        ("curriculum", Curriculum(10, 20, 300, 25)),
    ],
)
def test_horizons(name, horizon):
    assert Stage(iterations=50, horizon=name, horizon_low=10, horizon_high=300).horizons() == horizon


def test_a_curriculum_never_starts_above_its_end():
    assert Stage(horizon="curriculum", horizon_low=200, horizon_high=300).horizons().maximum == 300


@pytest.mark.parametrize(("name", "kind"), [("pes", PES), ("truncated_es", TruncatedES), ("full_es", FullES)])
def test_gradient_estimator(name, kind):
    stage = Stage(estimator=name, problems=3, truncation=7, sigma=0.1, augmentation="mixed")
    estimator = stage.gradient_estimator(Celo(stage=1), "axis")
    assert type(estimator) is kind
    assert (estimator.problems, estimator.length, estimator.sigma, estimator.axis) == (3, 7, 0.1, "axis")
    assert estimator.inner.augmentation.level == "mixed"


@pytest.mark.lenient(reason="optax raises a Python float to the power of an int32 count")
def test_cosine_schedule_ends_at_zero_with_the_stage():
    """The n-th of n updates is half a step's rate from the last; Adam's first update is the rate itself."""
    stage = Stage(iterations=4, schedule="cosine", learning_rate=0.1, weight_decay=0.0)
    optimizer = stage.outer_optimizer()
    theta = jnp.zeros(1)
    state = optimizer.init(theta)
    found = []
    for _ in range(5):
        updates, state = optimizer.update(jnp.ones(1), state, theta)
        found.append(-np.asarray(updates)[0])
    expected = [0.1 * (1 + math.cos(math.pi * i / 4)) / 2 for i in range(5)]
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.lenient(reason="optax raises a Python float to the power of an int32 count")
def test_clipping_limits_the_norm_before_adam():
    """Two gradients beyond the limit in the same direction are one to Adam."""
    stage = Stage(clip_norm=1.0, weight_decay=0.0)
    theta, small, large = jnp.zeros(2), jnp.array([0.06, 0.08]), jnp.array([6.0, 8.0])
    optimizer = stage.outer_optimizer()
    state = optimizer.init(theta)
    clipped = np.asarray(optimizer.update(large, optimizer.update(small, state, theta)[1], theta)[0])
    unit = np.asarray(optimizer.update(large / 10, optimizer.update(small, state, theta)[1], theta)[0])
    np.testing.assert_allclose(clipped, unit, rtol=1e-6)
    plain = dataclasses.replace(stage, clip_norm=0.0).outer_optimizer()
    state = plain.init(theta)
    free = np.asarray(plain.update(large, plain.update(small, state, theta)[1], theta)[0])
    assert not np.allclose(free, clipped, rtol=1e-2)


BAD_STAGES = [
    ({"part": 4}, r"part is 4; expected 1 \(update rule\), 2 \(scheduler\) or 3 \(both\)"),
    ({"iterations": 0}, "iterations is 0; expected at least 1"),
    ({"problems": 0}, "problems is 0; expected at least 1"),
    ({"truncation": 0}, "truncation is 0; expected at least 1"),
    ({"learning_rate": -1e-3}, "learning_rate is -0.001; expected a positive number"),
    ({"learning_rate": 0.0}, "learning_rate is 0.0"),
    ({"learning_rate": math.nan}, "learning_rate is nan"),
    ({"learning_rate": math.inf}, "learning_rate is inf"),
    ({"sigma": 0.0}, "sigma is 0.0; expected a positive number"),
    ({"sigma": -0.1}, "sigma is -0.1"),
    ({"weight_decay": -1.0}, "weight_decay is -1.0; expected 0 or a positive number"),
    ({"weight_decay": math.nan}, "weight_decay is nan"),
    ({"clip_norm": -1.0}, "clip_norm is -1.0"),
    ({"schedule": "cosin"}, "Unknown schedule 'cosin'. Did you mean 'cosine'?"),
    ({"estimator": "PES"}, "Unknown estimator 'PES'. Known: full_es, pes, truncated_es"),
    ({"estimator": "truncated"}, "Did you mean 'truncated_es'?"),
    ({"horizon": "loguniform"}, "Unknown horizon 'loguniform'. Did you mean 'log_uniform'"),
    ({"horizon_low": 0}, r"horizon range is \[0, 2000\]"),
    ({"horizon_low": 3000}, r"horizon range is \[3000, 2000\]; expected 1 <= low <= high"),
    ({"horizon": "curriculum", "horizon_low": 3000}, r"\[3000, 2000\]"),
    ({"augmentation": "tensors"}, "Unknown augmentation level 'tensors'. Did you mean 'tensor'"),
    ({"augmentation_low": 2e3}, r"augmentation range is \[2000.0, 1000.0\]"),
]


@pytest.mark.parametrize(("fields", "message"), BAD_STAGES)
def test_bad_stages(fields, message):
    with pytest.raises(ValueError, match=message):
        Stage(**fields)


BAD_RECIPES = [
    ({"optimizer": "cello"}, "Unknown optimizer 'cello'. Did you mean 'celo'"),
    ({"tasks": ("ImageMLP_Digit8_Relu32_bs64",)}, "Did you mean .*'ImageMLP_Digits8_Relu32_bs64'"),
    ({"validation_tasks": ("mnist",)}, "Unknown task 'mnist'. .*Known: "),
    ({"stage2": Stage(2, tasks=("mnist",))}, "Unknown task 'mnist'"),
    ({"stage1": Stage(1, tasks=("ImageMLP_Digits8_Relu32_bs64",) * 2)}, "named twice"),
    ({"options": ("form",)}, "option 'form' of the optimizer is not of the form NAME=VALUE"),
    ({"options": ("form=linaer",)}, "form is 'linaer'; expected one of"),
    ({"options": ("stage=3",)}, "option 'stage' of the optimizer follows from the part that a stage trains"),
    ({"tasks": ()}, "at least one task family, got none"),
    ({"tasks": ("ImageMLP_Digits8_Relu32_bs64",) * 2}, "named twice: ImageMLP_Digits8_Relu32_bs64"),
    ({"validation_tasks": ("ImageMLP_Digits8_Relu32_bs64",) * 2}, "named twice"),
    ({"stages": 3}, "stages is 3; expected 1 or 2"),
    ({"seed": -1}, r"seed is -1; expected 0 to 2\*\*32 - 1"),
    ({"seed": 2**32}, "seed is 4294967296"),
    ({"validate_every": -1}, "validate_every is -1; expected 0"),
    ({"validation_steps": 0}, "validation_steps is 0; expected at least 1"),
    ({"validation_seeds": 0}, "validation_seeds is 0"),
    ({"iterations_per_call": 0}, "iterations_per_call is 0"),
]


@pytest.mark.parametrize(("fields", "message"), BAD_RECIPES)
def test_bad_recipes(fields, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(preset("quick"), **fields)


def test_unknown_options():
    with pytest.raises(TypeError, match=r"celo has no option 'from'\. Did you mean 'form'"):
        Recipe(options=("from=linear",))


@pytest.mark.parametrize(("name", "near"), [("qick", "quick"), ("papers", "paper"), ("gpu", "cpu")])
def test_unknown_presets(name, near):
    with pytest.raises(ValueError, match=f"Unknown preset '{name}'. Did you mean .*'{near}'"):
        preset(name)
