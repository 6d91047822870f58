"""A first stage shared by recipes: the same theta, bit for bit, as if each had trained it."""

import dataclasses

import jax
import numpy as np
import pytest

import celo
from celo.meta import trainer
from celo.meta.recipe import Recipe
from celo.meta.runs.fingerprint import arrays_fingerprint
from celo.meta.runs.metrics import read_metrics
from celo.meta.trainer import THETA_FILE, meta_train
from tests.meta.tiny_recipe import QUIET, RECIPE, STAGE

BY_TENSOR = dataclasses.replace(RECIPE, options=("tensor_features=True",))


@pytest.mark.slow
@pytest.mark.lenient(reason="optax raises a Python float to the power of an int32 count")
def test_a_shared_first_stage_gives_what_both_stages_in_one_run_give(tmp_path):
    """The scheduler by tensor has other meta-parameters, and the same rule."""
    whole = meta_train(BY_TENSOR, tmp_path / "whole", QUIET)
    first = meta_train(RECIPE.first_stage(), tmp_path / "first", QUIET)
    settings = dataclasses.replace(QUIET, first_stage=str(tmp_path / "first"))
    shared = meta_train(BY_TENSOR, tmp_path / "shared", settings)
    assert arrays_fingerprint(shared.theta) == arrays_fingerprint(whole.theta)
    (tmp_path / "first" / THETA_FILE).unlink()
    again = meta_train(BY_TENSOR, tmp_path / "shared", settings)  # finished, it needs no first stage
    assert arrays_fingerprint(again.theta) == arrays_fingerprint(whole.theta)
    assert arrays_fingerprint(shared.theta["mlp"]) == arrays_fingerprint(first.theta["mlp"])
    assert [row["stage"] for row in read_metrics(tmp_path / "shared" / "metrics.jsonl")] == [2, 2]


def test_what_the_rule_does_not_read_makes_no_other_first_stage():
    plain = RECIPE.first_stage()
    assert plain.stages == (STAGE,)
    assert BY_TENSOR.first_stage() == plain
    assert dataclasses.replace(RECIPE, options=("form=linear",)).first_stage() == plain
    assert RECIPE.change_stages({"sigma": 0.02}, {}).first_stage() != plain
    both = dataclasses.replace(BY_TENSOR).change_stages({"trains": "both"}, {})
    assert both.first_stage().options == BY_TENSOR.options
    velo = Recipe("velo_s", options=("ff_mult=30.0",))
    assert velo.first_stage().options == velo.options


@pytest.fixture
def made(tmp_path, stops):
    """A finished run of the first stage, as `meta_train` records it, without training."""
    first = RECIPE.first_stage()
    data = {name: arrays_fingerprint(trainer.make(name, None)) for name in first.task_names()}
    learned = first.learned(first.stages[0])
    theta = jax.tree.map(np.asarray, learned.init(jax.random.key(1)))
    config = first.config() | {"data": data, "initial_theta": {}}
    celo.save(tmp_path / THETA_FILE, "celo", {"stage": 1}, theta, {"recipe": config})
    return str(tmp_path)


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (RECIPE.change_stages({"sigma": 0.02}, {}), "stage1 .*'sigma': 0.01.*, not .*'sigma': 0.02"),
        (dataclasses.replace(RECIPE, seed=1), "it has seed 0, not 1"),
        (dataclasses.replace(RECIPE, tasks=("ImageMLP_Digits8_Tanh32_bs64",)), "it has data "),
        (RECIPE.first_stage(), "the recipe has one stage; expected two or more"),
        (RECIPE.change_stages({}, {"init": "celo"}), "stage 2 starts from celo; give one"),
    ],
)
def test_another_first_stage_is_refused(made, tmp_path, recipe, message):
    settings = dataclasses.replace(QUIET, first_stage=made)
    with pytest.raises(ValueError, match=message):
        meta_train(recipe, tmp_path / "run", settings)
    assert not (tmp_path / "run").exists()


def test_an_unfinished_first_stage_is_refused(tmp_path):
    settings = dataclasses.replace(QUIET, first_stage=str(tmp_path))
    with pytest.raises(FileNotFoundError, match="the run of the first stage is not finished"):
        meta_train(RECIPE, tmp_path / "run", settings)
