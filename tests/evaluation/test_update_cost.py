"""Costs of updates: what is counted exactly is exact, ratios are as the clock says, limits are kept."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from celo import HAND_DESIGNED, LEARNED
from celo.evaluation import update_cost
from celo.evaluation.update_cost import Budget, Stepper, TooLargeError

lenient = pytest.mark.lenient(reason="optax's Adam adds a float to an integer count")


def shapes(*sizes):
    return {f"w{i}": jax.ShapeDtypeStruct(size, jnp.float32) for i, size in enumerate(sizes)}


def test_every_optimizer_has_a_name():
    assert update_cost.optimizer_names() == (*LEARNED, *HAND_DESIGNED)
    with pytest.raises(ValueError, match=r"Unknown optimizer 'adm'\. Did you mean 'adam'"):
        update_cost.build("adm")


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
    """Large tensors: rows, columns and what there is one of do not count; as docs/ has them."""
    optimizer = update_cost.build(name)
    for size, expected in (((2000, 1000), matrix), ((2_000_000,), vector)):
        found = update_cost.state_bytes_per_parameter(optimizer, shapes(size))
        np.testing.assert_allclose(found, expected, atol=0.1)


def test_a_fingerprint_is_of_paths_shapes_and_dtypes():
    tree = shapes((2, 3), (4,))
    assert update_cost.fingerprint(tree) == update_cost.fingerprint(shapes((2, 3), (4,)))
    others = [shapes((2, 3), (5,)), shapes((2, 3)), {"v0": tree["w0"], "w1": tree["w1"]}]
    others.append({**tree, "w1": jax.ShapeDtypeStruct((4,), jnp.bfloat16)})
    assert len({update_cost.fingerprint(t) for t in (tree, *others)}) == 5
    assert update_cost.count(tree) == 10


class _Scripted:
    """Stands for a `Stepper`: blocks of given seconds, on the clock that `measure` looks at."""

    def __init__(self, clock, seconds):
        self.clock, self.seconds, self.log = clock, iter(seconds), clock.log
        self.bytes, self.compile_seconds = 2**21, 0.5

    def block(self):
        seconds = next(self.seconds)
        self.clock.now += seconds
        self.log.append(self)
        return seconds


class Clock:
    """A clock that goes only when something is measured."""

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
    cost = update_cost.measure(other, adam, Budget(calls=4, seconds=1e6))
    assert clock.log == [adam, other, other, adam, adam, other, other, adam]
    assert (cost.ratio, cost.ratio_low, cost.ratio_high) == (3.5, 3.0, 4.25)
    assert (cost.milliseconds, cost.adam_milliseconds) == (19e3, 6e3)
    assert (cost.rounds, cost.compile_seconds, cost.mebibytes) == (4, 0.5, 2.0)


@lenient
def test_a_real_update_is_measured():
    tree = shapes((300, 300))
    base, same = (Stepper(optax.adam(0.1), tree) for _ in range(2))
    cost = update_cost.measure(same, base, Budget(calls=3))
    assert cost.ratio_low <= cost.ratio <= cost.ratio_high
    assert cost.milliseconds > 0
    # Gradients, updates, and a state of two; Adam does not read the parameters.
    assert cost.mebibytes >= 4 * 300 * 300 * 4 / 2**20


@pytest.mark.parametrize(("seconds", "rounds"), [(1e-9, 3), (7.5, 4), (1e6, 20)])
def test_time_is_kept_but_for_three_rounds(clock, seconds, rounds):
    base, other = (scripted(clock, [1.0] * 20) for _ in range(2))
    assert update_cost.measure(other, base, Budget(calls=20, seconds=seconds)).rounds == rounds


@lenient
def test_what_does_not_fit_is_refused_before_it_runs():
    with pytest.raises(TooLargeError, match=r"an update needs 0\.0 GiB; 0\.001 GiB are allowed"):
        Stepper(optax.adam(0.1), shapes((1000, 1000)), gibibytes=0.001)


@pytest.mark.parametrize(
    ("numbers", "message"),
    [
        ({"calls": 2}, "calls is 2; expected at least 3"),
        ({"seconds": 0.0}, "seconds is 0.0; expected a positive number"),
        ({"seconds": float("inf")}, "seconds is inf"),
        ({"gibibytes": -1.0}, "gibibytes is -1.0; expected 0"),
    ],
)
def test_bad_budgets(numbers, message):
    with pytest.raises(ValueError, match=message):
        Budget(**numbers)
