"""The AlgoPerf submission, called as AlgoPerf 0.6's runner calls it, on a stand-in of its specification."""

import collections
import enum
import inspect
import itertools
import json
import sys
import types
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import celo
from tests.examples.test_examples import load

FOLDER = Path(__file__).resolve().parents[2] / "examples" / "algoperf"
pytestmark = pytest.mark.lenient(reason="the runner has a user's settings")

# Arguments of the functions in AlgoPerf 0.6; the runner names those of the first two.
EXPECTED = {
    "update_params": "workload current_param_container current_params_types model_state hyperparameters "
    "batch loss_type optimizer_state eval_results global_step rng train_state",
    "prepare_for_eval": "workload current_param_container current_params_types model_state hyperparameters "
    "loss_type optimizer_state eval_results global_step rng",
    "init_optimizer_state": "workload model_params model_state hyperparameters rng",
    "data_selection": "workload input_queue optimizer_state current_param_container model_state "
    "hyperparameters global_step rng",
    "get_batch_size": "workload_name",
}


class Mode(enum.Enum):
    TRAIN = 0
    EVAL = 1


class Workload:
    """Linear regression with a mask, with the methods that a submission calls."""

    step_hint = 40
    metrics_logger = None

    def model_fn(
        self, params: Any, batch: Any, model_state: Any, mode: Any, rng: Any, update_batch_norm: bool
    ) -> tuple[Any, Any]:
        assert mode is Mode.TRAIN
        assert update_batch_norm
        return batch["inputs"] @ params["w"] + params["b"], {"seen": model_state["seen"] + 1}

    def loss_fn(self, label_batch: Any, logits_batch: Any, mask_batch: Any, label_smoothing: float) -> Any:
        assert label_smoothing == 0.0
        losses = mask_batch * jnp.square(logits_batch - label_batch)
        return {"summed": losses.sum(), "n_valid_examples": mask_batch.sum(), "per_example": losses}


@pytest.fixture
def submission(monkeypatch):
    """The module, with a stand-in for ``algoperf.spec``."""
    package, spec = types.ModuleType("algoperf"), types.ModuleType("algoperf.spec")
    spec.ForwardPassMode = Mode  # pyright: ignore[reportAttributeAccessIssue]
    package.spec = spec  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, "algoperf", package)
    monkeypatch.setitem(sys.modules, "algoperf.spec", spec)
    monkeypatch.syspath_prepend(FOLDER)
    return load("algoperf/submission")


def batches():
    rng = np.random.default_rng(0)
    for _ in itertools.count():
        inputs = rng.normal(size=(16, 3)).astype(np.float32)
        targets = inputs @ np.array([1.0, -2.0, 0.5], np.float32) + 1.0
        targets[12:] = 1e4  # masked
        yield {"inputs": inputs, "targets": targets, "weights": (np.arange(16) < 12).astype(np.float32)}


def run(submission: Any, hyperparameters: Any, steps: int = 40) -> list[float]:
    """Train as the runner does; returns the losses of the batches before each step."""
    workload, queue = Workload(), batches()
    params, model_state = {"w": jnp.full(3, 0.1), "b": jnp.full((), 0.1)}, {"seen": jnp.zeros(())}
    state = submission.init_optimizer_state(workload, params, model_state, hyperparameters, jax.random.key(0))
    losses = []
    for step in range(steps):
        batch = submission.data_selection(
            workload, queue, state, params, model_state, hyperparameters, step, None
        )
        error = batch["inputs"] @ params["w"] + params["b"] - batch["targets"]
        losses.append(float(np.mean(np.square(error[:12]))))
        common = {
            "workload": workload,
            "current_params_types": None,
            "hyperparameters": hyperparameters,
            "loss_type": None,
            "eval_results": [],
            "global_step": step,
            "rng": jax.random.key(step),
        }
        state, params, model_state = submission.update_params(
            **common,
            current_param_container=params,
            model_state=model_state,
            batch=batch,
            optimizer_state=state,
            train_state={"is_time_remaining": True},
        )
        evaluated = submission.prepare_for_eval(
            **common, current_param_container=params, model_state=model_state, optimizer_state=state
        )
        state, params, model_state = evaluated
    assert int(model_state["seen"]) == steps
    return losses


def test_functions_have_the_arguments_of_the_specification(submission):
    for name, arguments in EXPECTED.items():
        assert list(inspect.signature(getattr(submission, name)).parameters) == arguments.split(), name


def test_self_tuning_makes_the_steps_of_a_plain_loop(submission):
    optimizer = celo.celo(Workload.step_hint)
    params = {"w": jnp.full(3, 0.1), "b": jnp.full((), 0.1)}
    state, losses = optimizer.init(params), []

    @jax.jit
    def step(params: Any, state: Any, batch: Any) -> Any:
        def loss(params: Any) -> Any:
            return jnp.mean(jnp.square(batch["inputs"] @ params["w"] + params["b"] - batch["targets"])[:12])

        value, grads = jax.value_and_grad(loss)(params)
        updates, state = optimizer.update(grads, state, params, value=value)
        return optax.apply_updates(params, updates), state, value

    for batch in itertools.islice(batches(), 40):
        params, state, value = step(params, state, batch)
        losses.append(float(value))
    np.testing.assert_allclose(run(submission, None), losses, rtol=1e-3)


def test_external_tuning_sets_what_a_point_says(submission, tmp_path):
    learned = celo.learned_optimizer("celo2")
    path = tmp_path / "celo2.safetensors"
    celo.save(path, "celo2", {}, learned.init(jax.random.key(0)))
    points = json.loads((FOLDER / "celo2_search_space.json").read_text())
    assert len(points) == 5
    tuned = []
    for point in (points[0], points[3]):
        given = point | {"theta": str(path)}
        tuple_of = collections.namedtuple("Hyperparameters", list(given))
        tuned.append(run(submission, tuple_of(**given), steps=10))
    assert tuned[0][0] == tuned[1][0]
    assert tuned[0][-1] != tuned[1][-1]


def test_the_horizon_is_a_share_of_the_step_hint(submission):
    state, _ = submission.init_optimizer_state(Workload(), {"w": jnp.ones(3)}, {}, {"prompt": 0.75}, None)
    assert float(state[1].num_steps) == 30


@pytest.mark.parametrize(
    ("given", "message"),
    [({"rate": 1.0}, "unknown hyperparameters"), ({"optimizer": "adam"}, "optimizer is 'adam'; expected")],
)
def test_bad_hyperparameters(submission, given, message):
    with pytest.raises(ValueError, match=message):
        submission.init_optimizer_state(Workload(), {"w": jnp.ones(3)}, {}, given, None)
