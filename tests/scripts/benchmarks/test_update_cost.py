"""Costs of updates: counts are exact, ratios are those of the clock, limits hold."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from celo.scripts.benchmarks import trees, update_cost
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
        ("celo[kernels=pallas]", 16, 28),
        ("celo2", 16, 8),
        ("mlp_lopt", 24, 24),
        ("rnn_mlp", 40, 40),
    ],
)
def test_bytes_of_the_state(name, matrix, vector):
    """Large tensors, where state per row, per column and per tensor does not count; as docs/ has them."""
    optimizer = update_cost.build(name)
    for size, expected in (((2000, 1000), matrix), ((2_000_000,), vector)):
        tree = shapes(size)
        found = trees.size(jax.eval_shape(optimizer.init, tree)) / trees.count(tree)
        np.testing.assert_allclose(found, expected, atol=0.1)
        np.testing.assert_allclose(update_cost.state_bytes("tensor:1e7", name), matrix, atol=0.1)


def test_trees_made_for_timing():
    for size, shape in (
        ("1e4", (64, 128)),
        ("1e6", (1024, 1024)),
        ("1e8", (8192, 16384)),
        ("20000", (128, 128)),
    ):
        assert trees.shapes(f"tensor:{size}")["w"].shape == shape
    d = 768
    perceptron = 12 * 2 * d * 4 * d
    assert trees.describe("transformer:12x768") == {
        "tree": trees.describe("transformer:12x768")["tree"],
        "tensors": 12 * (2 * 6 + 2 * 2),
        "parameters": 12 * 4 * d * d + perceptron + 12 * (4 * d + 5 * d + 4 * d),
    }


def test_a_tree_is_named_by_paths_shapes_and_dtypes(monkeypatch):
    tree = shapes((2, 3), (4,))
    others = [shapes((2, 3), (5,)), shapes((2, 3)), {"v0": tree["w0"], "w1": tree["w1"]}]
    others.append({**tree, "w1": jax.ShapeDtypeStruct((4,), jnp.bfloat16)})
    all_trees = [tree, shapes((2, 3), (4,)), *others]
    monkeypatch.setattr(trees, "shapes", lambda name: all_trees[int(name)])
    found = [trees.describe(str(i)) for i in range(len(all_trees))]
    assert found[0] == found[1]
    assert len({one["tree"] for one in found}) == 5
    assert (found[0]["tensors"], found[0]["parameters"]) == (2, 10)


class _Scripted:
    """Stands for a `Stepper`: blocks of given seconds, on the clock of `measure`."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds, self.log = clock, iter(seconds), clock.log
        self.bytes, self.moved, self.compile_seconds = 2**21, 2**20, 0.5

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
    floor = scripted(clock, [0.5, 1.0, 5.0, 5.0])
    assert update_cost.measure(other, adam, floor, calls=4, seconds=1e6) == {
        "ratio": 3.5,
        "ratio_low": 3.0,
        "ratio_high": 4.25,
        "floor_ratio": 7.0,
        "milliseconds": 19e3,
        "adam_milliseconds": 6e3,
        "floor_milliseconds": 3e3,
        "rounds": 4,
        "compile_seconds": 0.5,
        "mebibytes": 2.0,
        "moved_mebibytes": 1.0,
    }
    assert clock.log == [adam, floor, other, other, floor, adam] * 2


@pytest.mark.parametrize(("seconds", "rounds"), [(1e-9, 3), (11.5, 4), (1e6, 20)])
def test_the_time_limit_holds_after_three_rounds(clock, seconds, rounds):
    other, base, floor = (scripted(clock, [1.0] * 20) for _ in range(3))
    assert update_cost.measure(other, base, floor, calls=20, seconds=seconds)["rounds"] == rounds


@lenient
def test_a_real_update_is_measured_and_applied():
    tree, size = shapes((300, 300)), 300 * 300 * 4
    stepper, adam = (Stepper(optax.sgd(0.5, momentum=0.0), tree), Stepper(optax.adam(0.1), tree))
    before, (grads, _) = np.asarray(stepper._donated[1]["w0"]), stepper._fixed
    stepper._run(2)
    moved = np.asarray(stepper._donated[1]["w0"]) - before
    np.testing.assert_allclose(moved, -2 * 0.5 * grads["w0"], rtol=1e-3, atol=1e-6)
    assert (stepper.moved, adam.moved) == (5 * size, 7 * size + 2 * 4)  # Adam counts its steps
    floor = update_cost.Pass(adam.moved)
    cost = update_cost.measure(adam, stepper, floor, calls=3, seconds=5.0)
    assert cost["ratio_low"] <= cost["ratio"] <= cost["ratio_high"]
    assert cost["floor_milliseconds"] > 0
    assert 4 * size <= cost["mebibytes"] * 2**20 < 4.5 * size  # donated arrays count once


def test_a_pass_beyond_the_longest_takes_proportionally_longer(monkeypatch):
    monkeypatch.setattr(update_cost, "LONGEST_PASS", 1 << 10)
    floor = update_cost.Pass(1 << 14)
    assert floor._donated[0].nbytes == 512  # read and written
    monkeypatch.setattr(floor, "_run", lambda calls: float(calls))
    assert floor.block() == 16.0


@lenient
def test_an_update_beyond_the_memory_limit_is_refused_before_it_runs():
    with pytest.raises(MemoryError, match=r"an update needs 0\.0 GiB; 0\.001 GiB are allowed"):
        Stepper(optax.adam(0.1), shapes((1000, 1000)), gibibytes=0.001)
