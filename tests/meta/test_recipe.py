"""Recipes as data: what presets are, what they build, and which fields are refused at construction."""

import dataclasses
import json
import math
import typing
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from celo._core.checks import Real, check_fields, whole
from celo.learned.celo import Celo
from celo.learned.learnable import LearnableAdam
from celo.meta.estimators import ESTIMATORS, PES, Backprop, ESSingle, FullES, TruncatedES
from celo.meta.estimators.augmentation import LEVELS
from celo.meta.estimators.expert import Expert
from celo.meta.estimators.horizons import Horizon
from celo.meta.presets import preset
from celo.meta.recipe import Recipe
from celo.meta.stage import Stage
from celo.meta.tasks import META_TRAINING
from celo.meta.trainer import Settings
from celo.scripts.devices import Devices


def test_paper_is_the_papers():
    """Every number of the published recipe."""
    recipe = preset("paper")
    assert recipe.tasks == META_TRAINING
    assert len(recipe.tasks) == 4
    assert [stage.trains for stage in recipe.stages] == ["rule", "scheduler"]
    for stage in recipe.stages:
        assert stage == Stage(
            trains=stage.trains,
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


def test_stages_follow_one_another():
    """A state at the border of two stages is the beginning of the later one; there may be any number."""
    stages = (Stage(iterations=8), Stage("scheduler", iterations=6), Stage("both", iterations=1))
    recipe = Recipe(stages=stages)
    assert recipe.ends() == (8, 14, 15)
    assert [recipe.stage_at(step) for step in (0, 7, 8, 13, 14, 15)] == [0, 0, 1, 1, 2, 2]
    assert Recipe(stages=stages[:1]).stage_at(8) == 0


def tuples(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in fields.items()}


@pytest.mark.parametrize("count", [1, 2, 3])
def test_configuration_is_json_that_makes_the_recipe_again(count):
    recipe = preset("quick")
    recipe = dataclasses.replace(recipe, stages=(*recipe.stages, Stage("both"))[:count])
    config = json.loads(json.dumps(recipe.config()))
    numbers = range(1, config.pop("stages") + 1)
    stages = tuple(Stage(**tuples(config.pop(f"stage{number}"))) for number in numbers)
    assert Recipe(**tuples(config), stages=stages) == recipe


def test_changes_of_stages():
    recipe = preset("quick")
    assert [stage.sigma for stage in recipe.change_stages({"sigma": 0.5}).stages] == [0.5, 0.5]
    assert [stage.sigma for stage in recipe.change_stages({}, {"sigma": 0.5}).stages] == [0.01, 0.5]


def test_optimizer_is_configured_by_options():
    """The stage decides whether its scheduler is in use, the options the rest."""
    recipe = Recipe(options=("form=linear",))
    assert recipe.learned(Stage("rule")) == Celo(stage=1, form="linear")
    for trains in ("scheduler", "both"):
        assert recipe.learned(Stage(trains)) == Celo(stage=2, form="linear")
    assert Recipe(optimizer="learnable_adam").learned(Stage("scheduler")) == LearnableAdam()


def test_stages_choose_families_and_checkpoint():
    names = ("ImageMLP_Digits8_Relu32_bs64", "ImageMLP_Digits8_Tanh32_bs64")
    stages = (Stage(), Stage("scheduler", tasks=names[1:], init="second"))
    recipe = Recipe(tasks=names[:1], init="first", stages=stages, validation_tasks=names)
    assert [recipe.families(n) for n in (0, 1)] == [names[:1], names[1:]]
    assert [recipe.checkpoint(n) for n in (0, 1)] == ["first", "second"]
    assert recipe.task_names() == names
    plain = Recipe(tasks=names, init="first")
    assert [plain.checkpoint(n) for n in (0, 1)] == ["first", ""]
    assert plain.families(1) == names


@pytest.mark.parametrize(
    ("name", "horizon"),
    [
        ("log_uniform", Horizon(10, 300)),
        ("constant", Horizon(300, 300)),
        ("curriculum", Horizon(10, 300, 20, 25)),
        ("curriculum", Horizon(200, 300, 300, 25)),  # it never starts above its end
        ("linear", Horizon(10, 300, knots=((0, 20), (1000, 300)))),
        ("piecewise", Horizon(10, 300, knots=((0, 20), (17, 49), (33, 122), (50, 300)))),
    ],
)
def test_horizons(name, horizon):
    low = 10 if name == "constant" else horizon.low
    assert Stage(iterations=50, horizon=name, horizon_low=low, horizon_high=300).horizons() == horizon


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("pes", PES),
        ("es_single", ESSingle),
        ("truncated_es", TruncatedES),
        ("full_es", FullES),
        ("backprop", Backprop),
    ],
)
def test_gradient_estimator(name, kind):
    stage = Stage(estimator=name, problems=3, truncation=7, sigma=0.1, augmentation="mixed")
    estimator = stage.gradient_estimator(Celo(stage=1), "axis")
    assert type(estimator) is kind
    assert (estimator.problems, estimator.length, estimator.sigma, estimator.axis) == (3, 7, 0.1, "axis")
    assert estimator.inner.augmentation.level == "mixed"


@pytest.mark.lenient(reason="optax raises a Python float to the power of an int32 count")
@pytest.mark.parametrize("schedule", ["constant", "cosine"])
@pytest.mark.parametrize("warmup", [0, 3])
def test_the_rate_rises_linearly_and_follows_the_schedule(schedule, warmup):
    """A cosine ends at zero with the stage; Adam's first update is the rate itself."""
    stage = Stage(
        iterations=warmup + 4, schedule=schedule, warmup=warmup, learning_rate=0.1, weight_decay=0.0
    )
    optimizer = stage.adamw()
    theta = jnp.zeros(1)
    state, found = optimizer.init(theta), []
    for _ in range(warmup + 5):
        updates, state = optimizer.update(jnp.ones(1), state, theta)
        found.append(-np.asarray(updates)[0])
    after = [(1 + math.cos(math.pi * i / 4)) / 2 if schedule == "cosine" else 1.0 for i in range(5)]
    rise = [(i + 1) / (warmup + 1) for i in range(warmup)]
    np.testing.assert_allclose(found, np.multiply(0.1, [*rise, *after]), atol=1e-6)


def test_settings_reach_the_estimator():
    stage = Stage(estimator="es_single", objective="final", resume_buffer=0.8)
    estimator = stage.gradient_estimator(Celo(stage=1), None)
    assert (estimator.objective, estimator.resume, estimator.inner.expert) == ("final", 0.8, None)
    imitating = Stage(expert="muon", iterations=500).gradient_estimator(Celo(stage=1), None)
    assert imitating.inner.expert == Expert("muon", 500, v_decay=0.999)


@pytest.mark.lenient(reason="optax raises a Python float to the power of an int32 count")
def test_clipping_limits_the_norm_before_adam():
    """Two gradients beyond the limit in the same direction are one to Adam."""
    stage = Stage(clip_norm=1.0, weight_decay=0.0)
    theta, small, large = jnp.zeros(2), jnp.array([0.06, 0.08]), jnp.array([6.0, 8.0])
    optimizer = stage.adamw()
    state = optimizer.init(theta)
    clipped = np.asarray(optimizer.update(large, optimizer.update(small, state, theta)[1], theta)[0])
    unit = np.asarray(optimizer.update(large / 10, optimizer.update(small, state, theta)[1], theta)[0])
    np.testing.assert_allclose(clipped, unit, rtol=1e-6)
    plain = dataclasses.replace(stage, clip_norm=0.0).adamw()
    state = plain.init(theta)
    free = np.asarray(plain.update(large, plain.update(small, state, theta)[1], theta)[0])
    assert not np.allclose(free, clipped, rtol=1e-2)


FILLED_IN = (Stage, Recipe, Settings, Devices)
WRONG: dict[str, tuple[Any, ...]] = {
    "int": (1.5, 2.0, True, math.nan, "3", None, (), -1, 10**30, 10**5000),
    "float": (True, "0.1", None, (), math.nan, math.inf, -math.inf, -1.0),
    "str": (1, None, True, ("a",), "a\0b", b"a"),
    "bool": (1, 0, "yes", None),
    "tuple": ("name", ["name"], None, 3, (1,), (None,), ("",)),
    "Literal": (1, None, True, "nonsense", ("a",)),
}


def kind_of(hint: Any) -> str:
    text = str(hint)
    return next(kind for kind in ("tuple", "Literal", "int", "float", "bool", "str") if kind in text)


@pytest.mark.parametrize("owner", FILLED_IN)
def test_every_field_is_checked(owner):
    """Types that look alike, NaN, infinities, numbers beyond what fits, texts where a list is meant."""
    hints = typing.get_type_hints(owner, include_extras=True)
    for field in dataclasses.fields(owner):
        hint = hints[field.name]
        for value in WRONG[kind_of(hint)]:
            if value is None and type(None) in typing.get_args(hint):
                continue
            with pytest.raises((TypeError, ValueError)) as raised:
                owner(**{field.name: value})
            named = field.name in str(raised.value) or field.name.replace("_", " ") in str(raised.value)
            assert named, f"{field.name} = {str(value)[:50]}: {raised.value}"
            assert len(str(raised.value)) < 500


def test_a_field_may_have_the_ends_of_its_range():
    @dataclasses.dataclass
    class Numbers:
        low: typing.Annotated[int, whole(1, 3)] = 1
        above: typing.Annotated[float, Real("a number above 0", lambda x: x > 0)] = 1
        maybe: int | None = None

    good: dict[str, Any]
    for good in ({"low": 3}, {"above": 1e-9}, {"maybe": -5}, {}):
        check_fields(Numbers(**good))
    bad: dict[str, Any]
    for bad in ({"low": 4}, {"above": 0}, {"maybe": 1.0}):
        with pytest.raises((TypeError, ValueError)):
            check_fields(Numbers(**bad))


DIGITS = "ImageMLP_Digits8_Relu32_bs64"


def wrong(**values: Any) -> Stage:
    """A stage with values that its types do not allow."""
    return Stage(**values)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: wrong(trains="rul"), "Unknown trains 'rul'. Did you mean 'rule'"),
        (lambda: Stage(iterations=0), "iterations is 0; expected a whole number from 1 to 1000000000"),
        (lambda: Stage(iterations=10**30), "iterations is a whole number of 100 bits; expected"),
        (lambda: Stage(learning_rate=0.0), "learning_rate is 0.0; expected a number above 0"),
        (lambda: Stage(weight_decay=-1.0), "weight_decay is -1.0; expected a number of at least 0"),
        (lambda: wrong(schedule="cosin"), "Unknown schedule 'cosin'. Did you mean 'cosine'?"),
        (lambda: Stage(horizon_low=3000), r"horizon range is \[3000, 2000\]; expected 1 <= low <= high"),
        (lambda: Stage(horizon="curriculum", horizon_low=3000), r"\[3000, 2000\]"),
        (lambda: wrong(estimator="es_singel"), "Unknown estimator 'es_singel'. Did you mean"),
        (lambda: Stage(resume_buffer=1.5), r"resume_buffer is 1.5; expected a number in \[0, 1\]"),
        (lambda: Stage(resume_buffer=0.8, estimator="full_es"), "resume_buffer is 0.8 and estimator"),
        (lambda: Stage(resume_buffer=0.8, estimator="backprop"), "resume_buffer is 0.8 and estimator"),
        (lambda: Stage(expert="adam", estimator="backprop"), "expert is 'adam' and estimator 'backprop'"),
        (lambda: Stage(estimator="schedule_es"), "trains is 'rule' and estimator 'schedule_es'"),
        (lambda: Stage(expert="adam", objective="final"), "expert is 'adam' and objective 'final'"),
        (lambda: Stage(warmup=9, iterations=9), "warmup is 9 and iterations 9; expected a shorter warm-up"),
        (lambda: Recipe("learnable_sgd", stages=(Stage(expert="adam"),)), "does not keep the running avera"),
        (lambda: Stage(augmentation_low=2e3), r"augmentation range is \[2000.0, 1000.0\]"),
        (lambda: Recipe("cello"), "Unknown optimizer 'cello'. Did you mean 'celo'"),
        (lambda: Recipe(tasks=("ImageMLP_Digit8_Relu32_bs64",)), f"Did you mean .*'{DIGITS}'"),
        (lambda: Recipe(validation_tasks=("mnist",)), "Unknown task 'mnist'. .*Known: "),
        (lambda: Recipe(stages=(Stage(tasks=("mnist",)),)), "Unknown task 'mnist'"),
        (lambda: Recipe(stages=(Stage(tasks=(DIGITS,) * 2),)), "named twice"),
        (lambda: Recipe(stages=()), "at least one stage, got none"),
        (lambda: Recipe(stages=(Stage(iterations=10**9),) * 3), "3000000000 iterations; expected at most"),
        (lambda: Recipe(options=("form",)), "option 'form' of the optimizer is not of the form NAME=VALUE"),
        (lambda: Recipe(options=("form=linaer",)), "form is 'linaer'; expected one of"),
        (lambda: Recipe(options=("stage=3",)), "option 'stage' of the optimizer follows from what a stage"),
        (lambda: Recipe(tasks=()), "at least one task family, got none"),
        (lambda: Recipe(tasks=(DIGITS,) * 2), f"named twice: {DIGITS}"),
        (lambda: Recipe(seed=2**32), "seed is 4294967296; expected a whole number from 0 to 4294967295"),
        (lambda: Devices(process_id=1), "process_id is 1 and num_processes 1"),
        (lambda: Devices(num_processes=2), "several processes need a coordinator"),
        (lambda: Devices(coordinator="somewhere"), "coordinator is 'somewhere'; expected HOST:PORT"),
    ],
)
def test_bad_values(build, message):
    with pytest.raises(ValueError, match=message):
        build()


def test_choices_are_those_there_are():
    """The annotations, which the command line shows, against the tables they stand for."""
    hints = typing.get_type_hints(Stage)
    assert set(typing.get_args(hints["estimator"])) == set(ESTIMATORS)
    assert typing.get_args(hints["augmentation"]) == LEVELS


def test_unknown_options():
    with pytest.raises(TypeError, match=r"celo has no option 'from'\. Did you mean 'form'"):
        Recipe(options=("from=linear",))


@pytest.mark.parametrize(("name", "near"), [("qick", "quick"), ("papers", "paper"), ("gpu", "cpu")])
def test_unknown_presets(name, near):
    with pytest.raises(ValueError, match=f"Unknown preset '{name}'. Did you mean .*'{near}'"):
        preset(name)
