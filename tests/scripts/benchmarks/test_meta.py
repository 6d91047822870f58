"""`celo benchmark meta`: the yardstick, and how it cancels the drift of a machine."""

import math
import types
from typing import Any

import numpy as np

from celo.scripts.benchmarks import meta
from tests.scripts.benchmarks.test_update_cost import Clock


def test_the_yardstick_is_64_independent_trainings():
    _, family = meta.paper_program(1, 1)
    losses = meta.yardstick(family)()
    assert losses.shape == (64, 50)
    assert np.isfinite(losses).all()
    assert len(np.unique(losses[:, 0])) == 64
    assert abs(losses[:, 0].mean() - math.log(10)) < 1.0


def test_a_drift_cancels_in_the_ratio_to_the_yardstick(monkeypatch):
    """Every round of two meta-iterations and two yardsticks takes half again as long as the last."""
    clock: Any = Clock()
    calls: list[str] = []

    def advance(what, seconds):
        calls.append(what)
        clock.now += seconds * 1.5 ** ((len(calls) - 1) // 3)

    def run(state, iterations):
        if iterations > 1:
            advance("run", 0.5 * iterations)
        return state, None

    learned = types.SimpleNamespace(init=lambda key: key)
    mesh = types.SimpleNamespace(devices=np.array(["cpu:0"]))
    program = types.SimpleNamespace(
        learned=learned, mesh=mesh, run=run, prepare=lambda: None, begin=lambda theta: theta
    )
    clock.time = lambda: 7.0
    monkeypatch.setattr(meta, "time", clock)
    monkeypatch.setattr(meta, "set_up", lambda devices: None)
    monkeypatch.setattr(meta, "paper_program", lambda number, iterations: (program, "family"))
    monkeypatch.setattr(meta, "yardstick", lambda family: lambda: advance("yardstick", 0.25))
    found = meta.time_stage(1, meta.Meta(calls=3, iterations=2), started=2.0)
    assert calls == ["run", "yardstick", "yardstick"] * 3
    assert found["seconds_to_first"] == 5.0
    assert found["slowest_call"] > 2 * found["fastest_call"]
    assert found["over_yardstick"] == 2.0
