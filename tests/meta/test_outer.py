"""A learned optimizer moves the meta-parameters: what it is given, what it does, and which are refused."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import celo
from celo.checkpoint import Pretrained
from celo.meta import outer
from celo.meta.estimators.summary import metrics_row
from celo.meta.outer import OUTER_KEY, load_outer, outer_digests
from celo.meta.program import StageProgram
from celo.meta.runs.checkpoints import Checkpoints
from celo.meta.runs.config_file import read_config
from celo.meta.runs.fingerprint import arrays_fingerprint
from celo.meta.stage import Stage
from celo.meta.tasks import Quadratic
from celo.meta.trainer import meta_train
from tests.meta import tiny_recipe
from tests.meta.learnable_sgd import LearnableSGD
from tests.meta.tiny_recipe import QUIET, StoppedError

pytestmark = pytest.mark.lenient(reason="optax raises a Python float to the power of an int32 count")

STAGE = Stage(
    iterations=30,
    problems=4,
    truncation=5,
    horizon_low=3,
    horizon_high=9,
    augmentation="none",
)
TASKS = (Quadratic.of([0.5, 2.0], target=1.0, name="pair"), Quadratic.of([0.5, 1.0, 2.0], name="triple"))
SLOW = {"rule": {"log_rate": jnp.log(jnp.float32(0.01))}, "scheduler": {"slope": jnp.float32(0.0)}}


def saved(path: Any, name: str, **theta: float) -> str:
    """A checkpoint of an optimizer whose theta is its first one, but for these numbers."""
    first = celo.learned_optimizer(name).init(jax.random.key(0))
    celo.save(path, name, {}, first | {leaf: jnp.float32(x) for leaf, x in theta.items()})
    return str(path)


def trained(stage: Stage, *calls: int, learned: Any = None) -> tuple[Any, list[Any]]:
    """State and measures of a stage that begins with a rate far too small."""
    program = StageProgram(stage, learned or LearnableSGD(1), TASKS, jax.random.key(7), max(calls))
    state, measures = program.begin(SLOW), []
    for call in calls:
        state, measured = program.run(state, call)
        measures.append(measured)
    return state, measures


def test_it_steps_along_the_meta_gradient(tmp_path):
    """With gradient descent at a rate of 0.5, after clipping at a norm of 1."""
    path = saved(tmp_path / "sgd.safetensors", "learnable_sgd", log_learning_rate=np.log(0.5))
    stage = dataclasses.replace(STAGE, outer=path, clip_norm=1.0, iterations=5)
    program = StageProgram(stage, LearnableSGD(1), TASKS, jax.random.key(7), 1)
    state = program.begin(SLOW)
    for _ in range(3):
        before = float(state.theta["rule"]["log_rate"])
        state, measures = program.run(state, 1)
        moved = abs(float(state.theta["rule"]["log_rate"]) - before)
        np.testing.assert_allclose(moved, 0.5 * min(measures.gradient_norm[0], 1.0), rtol=1e-4)
    assert state.theta["scheduler"]["slope"] == 0.0  # frozen


def test_meta_training_lowers_the_meta_loss(tmp_path):
    """By Adam as a learned optimizer, in any split into calls bit for bit."""
    path = saved(tmp_path / "adam.safetensors", "learnable_adam", log_learning_rate=np.log(0.1))
    stage = dataclasses.replace(STAGE, outer=path)
    (state, (measures,)), (other, _) = trained(stage, 30), trained(stage, 13, 13, 4)
    assert np.exp(state.theta["rule"]["log_rate"]) > 0.1
    losses = [np.mean(group.loss, axis=(1, 2)) for group in measures.report.groups]
    assert all(loss[-5:].mean() < loss[:5].mean() for loss in losses)
    for a, b in zip(jax.tree.leaves(state), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


@dataclasses.dataclass(frozen=True)
class Spy:
    """A step of minus the loss for every number; the state is the horizon."""

    def optimizer(self, theta: Any, num_steps: Any) -> optax.GradientTransformationExtraArgs:
        def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> Any:
            assert jax.tree.structure(updates) == jax.tree.structure(params)
            return jax.tree.map(lambda p: jnp.full(p.shape, -extra["value"]), params), state

        return optax.GradientTransformationExtraArgs(
            lambda params: {"tensors": params, "horizon": jnp.float32(num_steps)}, update
        )


def test_it_sees_the_meta_loss_the_tensors_and_the_length_of_the_stage(monkeypatch):
    """The meta-loss is that of the report, and what the metrics show."""
    monkeypatch.setattr(outer, "load_outer", lambda *args: Pretrained(Spy(), {}))  # pyright: ignore[reportArgumentType]
    state, measures = trained(dataclasses.replace(STAGE, outer="spy"), 1, 1, 1)
    losses = [metrics_row(one.report, ("pair", "triple"))["meta_loss"] for one in measures]
    assert len(set(losses)) == 3
    np.testing.assert_allclose(state.theta["rule"]["log_rate"], np.log(0.01) - sum(losses), rtol=1e-5)
    assert state.outer["horizon"] == STAGE.iterations
    assert jax.tree.map(jnp.shape, state.outer["tensors"]) == {
        "rule": {"log_rate": ()},
        "scheduler": {"slope": None},
    }


RECIPE = dataclasses.replace(tiny_recipe.RECIPE, optimizer="learnable_sgdm")


@pytest.mark.usefixtures("stops")
def test_what_cannot_be_an_outer_optimizer_is_refused_before_anything_is_compiled(tmp_path):
    """Also that of a later stage; nothing is left behind."""
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(b"no checkpoint")
    base = celo.learned_optimizer("celo2_base")
    celo.save(tmp_path / "base.safetensors", "celo2_base", {}, base.init(jax.random.key(0)))
    for error, message, path in (
        (FileNotFoundError, "no file .*missing.safetensors", tmp_path / "missing.safetensors"),
        (FileNotFoundError, "no packaged weights and no file 'cello'", "cello"),
        (ValueError, "damaged.safetensors", damaged),
        (
            ValueError,
            "Celo2Base.*; expected an optimizer that needs no learning rate",
            tmp_path / "base.safetensors",
        ),
    ):
        recipe = RECIPE.change_stages({}, {"outer": str(path)})
        with pytest.raises(error, match=message):
            meta_train(recipe, tmp_path / "run", QUIET)
        assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("stops")
def test_a_run_keeps_its_outer_optimizer_until_its_stage_is_finished(tmp_path):
    path, run_dir = tmp_path / "outer.safetensors", tmp_path / "run"
    recipe = RECIPE.change_stages({"outer": saved(path, "learnable_adam")}, {})
    with pytest.raises(StoppedError):
        meta_train(recipe, run_dir, QUIET)
    digest = arrays_fingerprint(celo.load(path)[1])
    config = read_config(run_dir)["config"]
    assert config[OUTER_KEY] == {"stage1": digest}
    assert (config["stage1"]["outer"], "outer" in config["stage2"]) == (str(path), False)
    Checkpoints(run_dir / "checkpoints").save(2, {"x": np.zeros(1)}, rows=0)
    saved(path, "learnable_adam", log_learning_rate=0.5)
    with pytest.raises(ValueError, match=r"another configuration:\n  outer_theta\.stage1: '\w+' in"):
        meta_train(recipe, run_dir, QUIET)
    with pytest.raises(ValueError, match=rf"has changed since the run started.*expected {digest}"):
        load_outer(str(path), digest)
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"no file .*outer\.safetensors"):
        meta_train(recipe, run_dir, QUIET)
    Checkpoints(run_dir / "checkpoints").save(4, {"x": np.zeros(1)}, rows=0)
    assert outer_digests(recipe, run_dir) == {OUTER_KEY: {"stage1": digest}}


@pytest.mark.usefixtures("stops")
def test_without_one_the_configuration_is_what_it_was(tmp_path):
    """Runs from before there was a choice resume."""
    with pytest.raises(StoppedError):
        meta_train(RECIPE, tmp_path / "run", QUIET)
    config = read_config(tmp_path / "run")["config"]
    assert OUTER_KEY not in config
    assert not any("outer" in config[stage] for stage in ("stage1", "stage2"))
