"""What `meta_train` is given and cannot use: refused with one clear error, nothing compiled, nothing left."""

import dataclasses

import jax.numpy as jnp
import pytest

import celo
from celo._core import safetensors_file
from celo.meta.data import DatasetNotFoundError
from celo.meta.trainer import Settings, meta_train
from tests.celo.checkpoint_contents import FLAT, HEADER, NOT_A_NUMBER, THETA, replaced
from tests.meta.tiny_recipe import QUIET, RECIPE

pytestmark = pytest.mark.usefixtures("stops")


def refused(tmp_path, error, message, recipe=RECIPE, settings=QUIET):
    """Meta-training raises, and leaves nothing behind."""
    run_dir = tmp_path / "run"
    with pytest.raises(error, match=message):
        meta_train(recipe, run_dir, settings)
    assert not run_dir.exists()


def test_a_variable_that_decides_is_checked(monkeypatch):
    monkeypatch.setenv("WANDB_MODE", "offlin")
    Settings()
    with pytest.raises(ValueError, match="'offlin'"):
        Settings(tracker="wandb")


@pytest.mark.usefixtures("no_hub")
def test_missing_data(tmp_path, monkeypatch):
    """The one error that names the set, the folder and the ways to get it."""
    monkeypatch.setenv("CELO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "data").mkdir()
    recipe = dataclasses.replace(RECIPE, validation_tasks=("ImageMLP_Mnist8_Relu32_bs64",))
    settings = dataclasses.replace(QUIET, data_dir=str(tmp_path / "data"))
    refused(tmp_path, DatasetNotFoundError, f"(?s)'mnist'.*{tmp_path / 'data'}.*CELO_DATA", recipe, settings)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "theta.safetensors"
    celo.save(path, "celo", {"stage": 1}, THETA)
    return path


def starting_from(path, **fields):
    return dataclasses.replace(RECIPE, init=str(path), **fields)


def test_checkpoints_that_are_missing_or_of_another_optimizer(tmp_path, saved):
    linear = tmp_path / "linear.safetensors"
    celo.save(linear, "celo", {"form": "linear"}, THETA)
    adam = starting_from(saved, optimizer="learnable_adam")
    for error, message, recipe in (
        (FileNotFoundError, "Did you mean 'theta.safetensors'", starting_from(tmp_path / "thet.safetensors")),
        (FileNotFoundError, "no packaged weights and no file 'cello'", starting_from("cello")),
        (ValueError, r"holds meta-parameters of Celo\(.*not of LearnableAdam", adam),
        (ValueError, "form='linear'.*not of .*form='exp'", starting_from(linear)),
        (ValueError, "form='linear'", RECIPE.change_stages({}, {"init": str(linear)})),
    ):
        refused(tmp_path, error, message, recipe)


def test_damaged_checkpoints(tmp_path, saved):
    """Cut short; and two that `celo.save` would not write, with a valid checksum."""
    saved.write_bytes(saved.read_bytes()[:-100])
    refused(tmp_path, ValueError, "truncated or corrupt", starting_from(saved))
    for flat, message in (
        (replaced("mlp/b2", NOT_A_NUMBER), "not finite"),
        (replaced("mlp/b0", FLAT["mlp/b0"][:-1]), "theta does not fit"),
    ):
        saved.write_bytes(safetensors_file.encode(HEADER, flat))
        refused(tmp_path, ValueError, message, starting_from(saved))


class Nothing:
    """A learned optimizer none of which the second stage trains."""

    def init(self, key):
        return {"rule": jnp.zeros(())}

    def trainable(self, theta, stage):
        return {"rule": stage == 1}


def test_stage_with_nothing_to_train(tmp_path, monkeypatch):
    """Found before the first stage, not after it."""
    monkeypatch.setattr(type(RECIPE), "learned", lambda self, stage: Nothing())
    refused(tmp_path, ValueError, "no leaf of theta is trainable in this stage")
