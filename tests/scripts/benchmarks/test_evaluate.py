"""`celo benchmark evaluate`: all ways do the same trainings; what it prints."""

import json

import jax
import numpy as np
import pytest

from celo.baselines import hand_designed
from celo.evaluation.plan import EvaluatedTraining
from celo.meta.tasks import make
from celo.scripts import benchmark
from celo.scripts.benchmarks.evaluate import WAYS
from celo.scripts.benchmarks.loops import LOOPS, seconds_of

TASK = "ImageMLP_Digits8_Relu32_bs64"


@pytest.fixture(scope="module")
def whole_training():
    """The final loss that the plan of the runner's trainings gives."""
    plan, task, key, adam = EvaluatedTraining(20), make(TASK), jax.random.key(7), hand_designed("adam", 0.01)

    @jax.jit
    def train(key):
        progress = plan.advance(task, adam, key, plan.begin(task, adam, key), 0, plan.evaluations)
        return plan.final_loss(task, key, progress)

    return plan, task, key, float(train(key))


@pytest.mark.parametrize("way", LOOPS)
def test_a_loop_does_the_trainings_of_the_runner(way, whole_training):
    plan, task, key, expected = whole_training
    found = seconds_of(LOOPS[way], task, plan, [(0.01, key), (0.001, jax.random.key(8))])
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
    assert set(WAYS) == {"runner", *LOOPS}
    for way in WAYS:
        assert figures[way]["trainings"] == 14
        assert 0 < figures[way]["share_of_peak"] < 1.5, way
        np.testing.assert_allclose(
            figures[way]["tasks"][TASK]["final_loss_of_first"],
            figures["runner"]["tasks"][TASK]["final_loss_of_first"],
            rtol=1e-4,
        )
    assert set(LOOPS) == {name.removeprefix("runner_over_") for name in figures if "_over_" in name}
