"""Costs of updates: counts are exact, ratios are those of the clock, limits hold."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from celo.scripts.benchmarks import update_cost
from celo.scripts.benchmarks.update_cost import Stepper

lenient = pytest.mark.lenient(reason="optax's Adam adds a float to an integer count")


def shapes(*sizes):
    return {f"w{i}": jax.ShapeDtypeStruct(size, jnp.float32) for i, size in enumerate(sizes)}


@pytest.mark.parametrize(
    ("name", "matrix", "vector"),
    [
        ("adam", 8, 8),
        ("sgd", 0, 0),
        ("sgdm", 4, 4),
        ("celo", 16, 28),
        ("celo2", 16, 8),
        ("mlp_lopt", 24, 24),
        ("rnn_mlp", 40, 40),
    ],
)
def test_bytes_of_the_state(name, matrix, vector):
    """Large tensors, where state per row, per column and per tensor does not count; as docs/ has them."""
    optimizer = update_cost.build(name)
    for size, expected in (((2000, 1000), matrix), ((2_000_000,), vector)):
        found = update_cost.state_bytes_per_parameter(optimizer, shapes(size))
        np.testing.assert_allclose(found, expected, atol=0.1)


def test_a_tree_is_named_by_paths_shapes_and_dtypes(monkeypatch):
    tree = shapes((2, 3), (4,))
    others = [shapes((2, 3), (5,)), shapes((2, 3)), {"v0": tree["w0"], "w1": tree["w1"]}]
    others.append({**tree, "w1": jax.ShapeDtypeStruct((4,), jnp.bfloat16)})
    trees = [tree, shapes((2, 3), (4,)), *others]
    monkeypatch.setattr(update_cost, "parameter_shapes", lambda task: trees[int(task)])
    found = [update_cost.tree(str(i)) for i in range(len(trees))]
    assert found[0] == found[1]
    assert len({one["tree"] for one in found}) == 5
    assert (found[0]["tensors"], found[0]["parameters"]) == (2, 10)


class _Scripted:
    """Stands for a `Stepper`: blocks of given seconds, on the clock of `measure`."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds, self.log = clock, iter(seconds), clock.log
        self.bytes, self.compile_seconds = 2**21, 0.5

    def block(self):
        seconds = next(self.seconds)
        self.clock.now += seconds
        self.log.append(self)
        return seconds


class Clock:
    """A clock that advances only when something is measured."""

    def __init__(self):
        self.now, self.log = 0.0, []

    def perf_counter(self):
        return self.now


def scripted(clock: Clock, seconds: list[float]) -> Any:
    return _Scripted(clock, seconds)


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(update_cost, "time", clock)
    return clock


def test_ratios_are_taken_within_rounds_in_turns(clock):
    """A machine that slows down tenfold changes no ratio."""
    adam, other = scripted(clock, [1.0, 2.0, 10.0, 10.0]), scripted(clock, [3.0, 8.0, 30.0, 50.0])
    assert update_cost.measure(other, adam, calls=4, seconds=1e6) == {
        "ratio": 3.5,
        "ratio_low": 3.0,
        "ratio_high": 4.25,
        "milliseconds": 19e3,
        "adam_milliseconds": 6e3,
        "rounds": 4,
        "compile_seconds": 0.5,
        "mebibytes": 2.0,
    }
    assert clock.log == [adam, other, other, adam, adam, other, other, adam]


@pytest.mark.parametrize(("seconds", "rounds"), [(1e-9, 3), (7.5, 4), (1e6, 20)])
def test_the_time_limit_holds_after_three_rounds(clock, seconds, rounds):
    base, other = (scripted(clock, [1.0] * 20) for _ in range(2))
    assert update_cost.measure(other, base, calls=20, seconds=seconds)["rounds"] == rounds


@lenient
def test_a_real_update_is_measured():
    tree = shapes((300, 300))
    base, same = (Stepper(optax.adam(0.1), tree) for _ in range(2))
    cost = update_cost.measure(same, base, calls=3, seconds=5.0)
    assert cost["ratio_low"] <= cost["ratio"] <= cost["ratio_high"]
    assert cost["milliseconds"] > 0
    # Gradients, updates, and a state of two; Adam does not read the parameters.
    assert cost["mebibytes"] >= 4 * 300 * 300 * 4 / 2**20


@lenient
def test_an_update_beyond_the_memory_limit_is_refused_before_it_runs():
    with pytest.raises(MemoryError, match=r"an update needs 0\.0 GiB; 0\.001 GiB are allowed"):
        Stepper(optax.adam(0.1), shapes((1000, 1000)), gibibytes=0.001)
