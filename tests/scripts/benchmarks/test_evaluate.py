"""`celo benchmark evaluate`: all ways do the same trainings; what it prints and refuses."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo.evaluation.contestants import contestant
from celo.evaluation.settings import Settings
from celo.meta.tasks import make
from celo.scripts import benchmark
from celo.scripts.benchmark_evaluate import EvaluateSpeed, EvaluateWay
from celo.scripts.benchmark_evaluate_loops import LOOPS, seconds_of

TASK = "ImageMLP_Digits8_Relu32_bs64"


@pytest.fixture(scope="module")
def whole_training():
    """The final loss that the runner's plan of a training gives."""
    settings, rule = Settings(steps=20, seeds=1), contestant("adam").rule
    task, plan, key = make(TASK), settings.plan, jax.random.key(7)

    @jax.jit
    def train(key):
        optimizer = rule.optimizer((), {"learning_rate": jnp.float32(0.01)}, plan.num_steps)
        progress = plan.advance(task, optimizer, key, plan.begin(task, optimizer, key), 0, plan.evaluations)
        return plan.final_loss(task, key, progress)

    return settings, task, key, float(train(key))


@pytest.mark.parametrize("way", LOOPS)
def test_a_loop_does_the_trainings_of_the_runner(way, whole_training):
    settings, task, key, expected = whole_training
    pairs = [(0.01, key), (0.001, jax.random.key(8))]
    found = seconds_of(LOOPS[way], task, contestant("adam"), settings, pairs)
    np.testing.assert_allclose(found["final_loss_of_first"], expected, rtol=1e-4)
    assert found["first"] > 0
    assert found["each"] > 0


@pytest.mark.slow
def test_all_ways_are_timed_and_compared(tmp_path, capsys):
    place = tmp_path / "figures.json"
    small = ["--tasks", TASK, "--steps", "20", "--seeds", "1", "--loop-trainings", "2"]
    benchmark.main(["evaluate", *small, "--json", str(place)])
    figures = json.loads(place.read_text())
    assert json.loads(capsys.readouterr().out) == figures
    for way in ("runner", *LOOPS):
        assert figures[way]["trainings"] == 14
        assert 0 < figures[way]["share_of_peak"] < 1.5, way
        np.testing.assert_allclose(
            figures[way]["tasks"][TASK]["final_loss_of_first"],
            figures["runner"]["tasks"][TASK]["final_loss_of_first"],
            rtol=1e-4,
        )
    assert set(LOOPS) == {name.removeprefix("runner_over_") for name in figures if "_over_" in name}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"tasks": ("ImageMLP_Digits8_Relu3_bs64",)}, "Unknown task"),
        ({"tasks": (TASK,), "loop_trainings": 1}, "loop_trainings is 1; expected at least 2"),
        ({"tasks": (TASK,), "steps": 0}, "steps is 0"),
    ],
    ids=["task", "trainings", "steps"],
)
def test_what_cannot_be_timed_is_refused_at_once(given, message):
    for command in (EvaluateWay, EvaluateSpeed):
        with pytest.raises(ValueError, match=message):
            command(**given)


def test_a_missing_folder_is_named_before_anything_is_timed(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        EvaluateSpeed(tasks=(TASK,), json=str(tmp_path / "absent" / "figures.json"))
