"""Costs of updates: what is counted exactly is exact, Adam costs what Adam costs, limits are kept."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from celo import HAND_DESIGNED, LEARNED
from evaluation import update_cost
from evaluation.update_cost import Budget, Stepper, TooLargeError

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


@lenient
def test_adam_costs_what_adam_costs():
    """Two programs alike, timed in turns: the ratio is 1 up to noise, whatever else the machine does."""
    tree = shapes((300, 300))
    base, same = (Stepper(optax.adam(0.1), tree) for _ in range(2))
    cost = update_cost.measure(same, base, Budget(calls=15, seconds=60.0))
    assert 0.5 < cost.ratio < 2.0
    assert cost.ratio_low <= cost.ratio <= cost.ratio_high
    assert cost.rounds == 15
    assert 0 < cost.milliseconds < 1e3
    # Gradients, updates, and a state of two; Adam does not read the parameters.
    assert cost.mebibytes >= 4 * 300 * 300 * 4 / 2**20


@lenient
def test_what_costs_more_shows():
    """Ten times the work is clearly more than once the work."""

    def update(updates, state, params=None, **extra):
        for _ in range(10):
            updates = jax.tree.map(lambda g: g @ g.T @ g, updates)
        return updates, state

    heavy = optax.GradientTransformationExtraArgs(lambda params: (), update)
    tree = shapes((300, 300))
    cost = update_cost.measure(Stepper(heavy, tree), Stepper(optax.adam(0.1), tree), Budget(calls=5))
    assert cost.ratio > 3.0


def test_time_is_kept_but_for_three_rounds():
    tree = shapes((3,))
    base, other = (Stepper(optax.sgd(0.1), tree) for _ in range(2))
    assert update_cost.measure(other, base, Budget(calls=1000, seconds=1e-9)).rounds == 3


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
