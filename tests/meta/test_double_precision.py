"""Meta-training where JAX makes numbers double by default (JAX_ENABLE_X64)."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import celo
from celo.meta.estimators import ESTIMATORS
from celo.meta.estimators.partition import Parts
from celo.meta.stage import Stage
from celo.meta.tasks import Quadratic, stack_tasks
from tests.double_precision import double_by_default

ROOT = Path(__file__).parents[2]


SETTINGS = [
    *({"estimator": name} for name in ESTIMATORS),
    *({"estimator": name, "objective": "final"} for name in ESTIMATORS),
    *({"estimator": name, "resume_buffer": 0.5} for name in ("pes", "es_single", "truncated_es")),
    {"expert": "muon", "horizon": "piecewise"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=lambda x: "-".join(map(str, x.values())))
def test_estimates_have_the_types_they_had(settings):
    """Nothing in the state of an estimator changes type, and theta's gradient is of theta's type."""
    scheduled = settings.get("estimator") == "schedule_es"
    name = "celo" if scheduled else "adafac_mlp" if "expert" in settings else "learnable_sgd"
    learned, trains = celo.learned_optimizer(name), "scheduler" if scheduled else "rule"
    stage = Stage(**settings, trains=trains, problems=2, truncation=3, horizon_low=2, horizon_high=4)
    with double_by_default(True):
        made = stage.gradient_estimator(learned, None)
        theta = learned.init(jax.random.key(0))
        parts = Parts(theta, jax.tree.map(lambda _: None, theta))
        tasks = (stack_tasks([Quadratic.of([1.0, 2.0])]),)
        key, iteration = jax.random.key(1), jnp.zeros((), jnp.int32)
        state = jax.eval_shape(made.init, parts, tasks, key)
        gradient, after, report = jax.eval_shape(made.estimate, parts, tasks, state, key, iteration)
    assert gradient.dtype == report.gradient_snr.dtype == report.difference_snr.dtype == jnp.float32
    assert jax.tree.map(lambda x: x.dtype, after) == jax.tree.map(lambda x: x.dtype, state)


@pytest.mark.slow
def test_both_stages_run(tmp_path: Path):
    command = [sys.executable, "-m", "celo.scripts.meta_train", "--run-dir", str(tmp_path / "run")]
    command += ["--stage1.iterations", "2", "--stage2.iterations", "2", "--validate-every", "0"]
    command += ["--stage1.problems", "2", "--stage2.problems", "2"]
    environment = {**os.environ, "JAX_ENABLE_X64": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "run" / "theta.safetensors").exists()
