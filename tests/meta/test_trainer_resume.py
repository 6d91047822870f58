"""What must be the same when a run resumes: data and initial checkpoints; and a run that is finished."""

import contextlib
import dataclasses
import io
import os
from typing import Any

import jax
import numpy as np
import pytest

import celo
from celo.meta import trainer
from celo.meta.initial_theta import initial_theta, starting_points
from celo.meta.runs.checkpoints import Checkpoints
from celo.meta.runs.config_file import read_config
from celo.meta.runs.fingerprint import arrays_fingerprint
from celo.meta.runs.metrics import read_metrics
from celo.meta.tasks import make
from celo.meta.trainer import BEST_FILE, THETA_FILE, meta_train
from tests.meta import tiny_recipe
from tests.meta.tiny_recipe import QUIET, STAGE, TASK, StoppedError

RECIPE = dataclasses.replace(tiny_recipe.RECIPE, optimizer="learnable_adam", validate_every=2)
lenient = pytest.mark.lenient(reason="optax promotes types: 0.9 ** count in its Adam")


def write_theta(path, shift):
    """A checkpoint to start from; by another shift it holds other numbers."""
    theta = celo.learned_optimizer("learnable_adam").init(jax.random.key(0))
    celo.save(path, "learnable_adam", {}, jax.tree.map(lambda x: x + 0.01 * shift, theta))
    return str(path)


@pytest.fixture
def recipe(tmp_path):
    """Both stages start from separate files."""
    first, second = (write_theta(tmp_path / f"init{n}.safetensors", n) for n in (1, 2))
    return dataclasses.replace(RECIPE, init=first).change_stages({}, {"init": second})


def start(recipe, run_dir):
    with pytest.raises(StoppedError):
        meta_train(recipe, run_dir, QUIET)


def save_step(run_dir, step):
    """Leaves a checkpoint, as if a run had come that far."""
    Checkpoints(run_dir / "checkpoints").save(step, {"x": np.zeros(1)}, rows=0)


def digest(path):
    return arrays_fingerprint(celo.load(path)[1])


@pytest.mark.usefixtures("stops")
def test_the_configuration_holds_digests(tmp_path, recipe):
    start(recipe, tmp_path / "run")
    config = read_config(tmp_path / "run")["config"]
    assert config["data"] == {TASK: arrays_fingerprint(make(TASK))}
    digests = {"stage1": digest(recipe.init), "stage2": digest(recipe.stages[1].init)}
    assert config["initial_theta"] == digests
    assert config["init"] == recipe.init
    start(recipe, tmp_path / "run")  # the same resumes


@pytest.mark.usefixtures("stops")
def test_other_data_are_refused(tmp_path, monkeypatch):
    run_dir = tmp_path / "run"
    start(RECIPE, run_dir)
    save_step(run_dir, 2)
    before = (run_dir / "config.json").read_bytes()

    def changed(name, data_dir):
        task: Any = make(name, data_dir)
        images = task.data.splits["train"].arrays["image"]
        task.data.splits["train"].arrays["image"] = images.at[0, 0].add(1)
        return task

    monkeypatch.setattr(trainer, "make", changed)
    with pytest.raises(ValueError, match=rf"another configuration:\n  data\.{TASK}: '\w+' in the run, '\w+'"):
        meta_train(RECIPE, run_dir, QUIET)
    assert (run_dir / "config.json").read_bytes() == before


@pytest.mark.usefixtures("stops")
@pytest.mark.parametrize(("step", "stage"), [(2, 1), (4, 2), (8, 1), (8, 2)])
def test_another_initial_checkpoint_is_refused(tmp_path, recipe, step, stage):
    """At every point of the run, and whichever stage starts from it."""
    run_dir = tmp_path / "run"
    start(recipe, run_dir)
    save_step(run_dir, step)
    write_theta(tmp_path / f"init{stage}.safetensors", 3)
    with pytest.raises(ValueError, match=rf"another configuration:\n  initial_theta\.stage{stage}: '\w+' in"):
        meta_train(recipe, run_dir, QUIET)


@pytest.mark.usefixtures("stops")
def test_the_same_meta_parameters_in_another_file_are_the_same(tmp_path, recipe):
    """A finished run whose result is written again by a newer version is no other starting point."""
    start(recipe, tmp_path / "run")
    _, theta = celo.load(recipe.init)
    celo.save(recipe.init, "learnable_adam", {}, theta, provenance={"written": "again"})
    start(recipe, tmp_path / "run")


@pytest.mark.usefixtures("stops")
@pytest.mark.parametrize(("step", "needed"), [(None, {1, 2}), (0, {2}), (3, {2}), (4, set()), (8, set())])
def test_a_stage_that_has_started_does_not_need_its_checkpoint(tmp_path, recipe, step, needed):
    """The run folder holds what came of it; that of a stage to come is missed before hours are spent."""
    run_dir = tmp_path / "run"
    start(recipe, run_dir)
    before = (run_dir / "config.json").read_bytes()
    if step is not None:
        save_step(run_dir, step)
    for stage in (1, 2):
        path = tmp_path / f"init{stage}.safetensors"
        os.rename(path, tmp_path / "away")
        if stage in needed:
            with pytest.raises(FileNotFoundError, match=rf"no file .*init{stage}\.safetensors"):
                meta_train(recipe, run_dir, QUIET)
        else:
            assert starting_points(recipe, run_dir)[f"stage{stage}"] == digest(tmp_path / "away")
        os.rename(tmp_path / "away", path)
    assert (run_dir / "config.json").read_bytes() == before


def test_published_weights_of_a_stage_that_has_started_are_not_requested(tmp_path, recipe, monkeypatch):
    """They may have moved on, or the network may be gone."""
    published = dataclasses.replace(recipe, init="hf://owner/weights")
    with monkeypatch.context() as patch:
        patch.setattr(celo, "load", lambda source: (recipe.learned(STAGE), {"rule": np.ones(2)}))
        patch.setattr(trainer, "StageProgram", None)
        with pytest.raises(TypeError):
            meta_train(published, tmp_path / "run", QUIET)
    save_step(tmp_path / "run", 2)
    recorded = read_config(tmp_path / "run")["config"]["initial_theta"]
    monkeypatch.setattr("celo._core.hub.fetch", lambda address: pytest.fail("the hub was asked"))
    assert starting_points(published, tmp_path / "run")["stage1"] == recorded["stage1"]


def test_a_checkpoint_changed_while_the_run_goes_on(tmp_path, recipe):
    """Found when its stage begins, and said with what was expected."""
    known = starting_points(recipe, tmp_path / "run")["stage2"]
    initial_theta(recipe, 1, known)
    write_theta(tmp_path / "init2.safetensors", 3)
    with pytest.raises(ValueError, match=rf"init2\.safetensors has changed since .*expected {known}"):
        initial_theta(recipe, 1, known)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A recipe whose second stage starts from a file, what its run returned, and what its bar showed."""
    folder = tmp_path_factory.mktemp("finished")
    recipe = RECIPE.change_stages({}, {"init": write_theta(folder / "init2.safetensors", 2)})
    with contextlib.redirect_stderr(io.StringIO()) as shown:
        result = meta_train(recipe, folder / "run", dataclasses.replace(QUIET, progress=True))
    return recipe, result, shown.getvalue()


@lenient
def test_the_bar_shows_what_a_stage_is_doing(finished):
    """Compiling takes minutes, in which nothing else would change."""
    _, result, shown = finished
    what = ("compiling", "validating", "meta-loss")
    found = [shown.find(f"stage {number}: {doing}") for number in (1, 2) for doing in what]
    assert found == sorted(found)
    assert found[0] >= 0
    assert "8/8" in shown
    step, score = result.best
    assert step in (6, 8)
    rows = read_metrics(result.path / "metrics.jsonl")
    assert score == min(row["validation"] for row in rows if row["stage"] == 2)


@lenient
@pytest.mark.usefixtures("stops")
def test_a_finished_run_compiles_nothing(finished):
    recipe, expected, _ = finished
    before = {path: path.stat().st_mtime_ns for path in expected.path.rglob("*") if path.name != ".lock"}
    found = meta_train(recipe, expected.path, QUIET)
    assert found.finished
    assert (found.learned, found.path, found.best) == (expected.learned, expected.path, expected.best)
    assert jax.tree.structure(found.theta) == jax.tree.structure(expected.theta)
    assert arrays_fingerprint(found.theta) == arrays_fingerprint(expected.theta)
    assert {path: path.stat().st_mtime_ns for path in before} == before


@lenient
@pytest.mark.parametrize("file", [THETA_FILE, BEST_FILE])
@pytest.mark.parametrize("damage", ["missing", "truncated", "another"])
def test_results_that_are_not_whole_are_written_again(finished, file, damage):
    """From the checkpoints, where they are missing, damaged or not of this run."""
    recipe, result, _ = finished
    path = result.path / file
    content = path.read_bytes()
    if damage == "another":
        write_theta(path, 3)
    elif damage == "truncated":
        path.write_bytes(content[:-50])
    else:
        path.unlink()
    assert meta_train(recipe, result.path, QUIET).finished
    assert path.read_bytes() == content
