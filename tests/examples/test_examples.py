"""Every example runs; those that train for a few steps bring the loss down."""

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import jax
import numpy as np
import optax
import pytest

import celo
from celo.meta.tasks import TASKS
from tests.celo.contract import quick_jit

FOLDER = Path(__file__).resolve().parents[2] / "examples"
pytestmark = pytest.mark.lenient(reason="examples run under a user's settings")


@pytest.fixture
def quick(monkeypatch):
    """Programs of a few steps: half the time to compile is worth more than speed."""
    monkeypatch.setattr(jax, "jit", quick_jit)


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("name", "at_most"),
    [("plain_optax", 1.05), ("flax_linen", 0.6), ("flax_nnx", 0.6), ("equinox_mlp", 0.6)],
)
@pytest.mark.usefixtures("quick")
def test_a_training_loop(name, at_most):
    assert load(name).main(num_steps=60) < at_most


def test_past_the_horizon():
    assert load("past_the_horizon").main(num_steps=60) < 0.1


@pytest.mark.usefixtures("quick")
def test_the_language_model(monkeypatch):
    """With one layer, and with random meta-parameters, as the published ones are on the hub."""
    theta = celo.learned_optimizer("celo2").init(jax.random.key(0))
    example = load("language_model")
    monkeypatch.setattr(example, "LAYERS", 1)
    assert example.main(num_steps=20, theta=theta) < 5.6


def test_meta_training(tmp_path, monkeypatch):
    """On a task of one tensor: to compile it for the perceptron takes a minute."""
    example = load("meta_training")
    assert example.DIGITS in TASKS
    monkeypatch.setattr(example, "DIGITS", "QuadraticTask")
    assert math.isfinite(example.main(tmp_path / "run", iterations=2, problems=2))


def test_a_task_and_an_optimizer_of_ones_own():
    example = load("own_task")
    optimizer = example.signed_momentum(0.01)
    params, model_state = example.task.init(jax.random.key(0))
    state, losses = optimizer.init(params), []

    def loss(params, batch):
        return example.task.loss(params, model_state, jax.random.key(0), batch)[0]

    grad = jax.jit(jax.value_and_grad(loss))
    for i in range(100):
        value, grads = grad(params, example.task.batch(jax.random.key(i), "train"))
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
        losses.append(float(value))
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:3])


@pytest.mark.slow
def test_celo_evaluates_and_reports_it_from_a_folder_outside_the_repository(tmp_path, monkeypatch):
    from celo.scripts import evaluate, report

    (tmp_path / "own_task.py").write_text((FOLDER / "own_task.py").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    optimizers = ["adam@1e-2", "own_task:signed_momentum"]
    arguments = ["--tasks", "own_task:task", "--steps", "20", "--seeds", "2", "--out", "results"]
    evaluate.main([*arguments, "--optimizers", *optimizers, "--no-share-baselines"])
    report.main(["results"])
    assert "own_task:signed_momentum" in (tmp_path / "results" / "report" / "report.md").read_text()
