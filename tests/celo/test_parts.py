"""The parts of Celo, each against reference vectors, a closed form, or a plain formula."""

from collections.abc import Callable, Sequence
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

from celo._core import averages, features, losses, mlp, normalisers

DECAYS = (0.9, 0.99, 0.999)
SHAPES = {"a": (7, 5), "b": (3, 3, 4, 6), "c": (5,), "d": ()}

Vectors = dict[str, np.ndarray]


def normal(seed: int, *shape: int) -> Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


@jax.jit
def average_all(grads: dict[str, Array]) -> dict[str, dict[str, Any]]:
    """All running averages after each gradient, a list per decay; and the preconditioned gradient."""

    def body(state: Any, gradient: Any) -> tuple[Any, Any]:
        new, outputs = {}, {}
        for n, g in gradient.items():
            momenta, v, factored = state[n]
            momenta = [averages.average(m, g, d) for m, d in zip(momenta, DECAYS, strict=True)]
            v = averages.average(v, jnp.square(g), 0.999)
            factored = [averages.factored_average(*f, g, d) for f, d in zip(factored, DECAYS, strict=True)]
            new[n] = (momenta, v, factored)
            rows, cols = [row for row, _ in factored], [col for _, col in factored]
            y = features.adafactor_features(g, momenta, rows, cols)[0]
            outputs[n] = {"mom": momenta, "rms": [v], "row": rows, "col": cols, "fac_g": y}
        return new, outputs

    zeros = {
        n: ([jnp.zeros(s)] * 3, jnp.zeros(s), [averages.factored_zeros(jnp.zeros(s))] * 3)
        for n, s in SHAPES.items()
    }
    return jax.lax.scan(body, zeros, grads)[1]


@pytest.mark.parametrize("tensor", SHAPES)
def test_accumulators_over_ten_steps(parity: Callable[[str], Vectors], tensor: str):
    vectors = parity("random/accumulators")
    ours = average_all({n: jnp.asarray(vectors[f"grads/{n}"]) for n in SHAPES})[tensor]
    whole = len(SHAPES[tensor]) < 2  # a second moment that is not factored
    paths = {"mom": "mom", "rms": "rms", "fac_g": "fac_g", "row": "v_diag" if whole else "v_row"}
    for part, path in (paths if whole else paths | {"col": "v_col"}).items():
        found, expected = np.stack(ours[part], axis=-1), vectors[f"{path}/{tensor}"]
        # The reference takes 1 - 0.999 in float32, 1.3e-5 away from 0.001.
        tiny = 1e-6 * np.max(np.abs(expected))
        np.testing.assert_allclose(found, expected, rtol=2e-5, atol=tiny, err_msg=path)


AXES = {
    **{(): None, (5,): None, (2, 3): (0, 1), (3, 2): (1, 0), (4, 4): (0, 1), (64, 64, 3, 3): (0, 1)},
    **{(3, 3, 4, 6): (2, 3), (1, 1, 1): (1, 2), (7, 1, 7, 2, 7): (2, 4)},
}


@pytest.mark.parametrize(("shape", "axes"), AXES.items())
def test_factored_axes(shape: tuple[int, ...], axes: tuple[int, int] | None):
    assert averages.factored_axes(shape) == axes


def test_factors_of_a_product_give_back_the_gradient_sign():
    """Where g^2 is an outer product the factors lose nothing: at decay 0, y is the sign of g."""
    g = jnp.outer(jnp.array([-1.0, 2.0, 0.5]), jnp.array([3.0, 0.25, -1.0, 5.0]))
    row, col = averages.factored_average(*averages.factored_zeros(jnp.zeros_like(g)), g, 0.0)
    rf, cf = averages.preconditioners(row, col, g.shape)
    np.testing.assert_allclose(g * rf * cf, np.sign(g), rtol=1e-5)


@jax.jit
def follow_losses(raw: Array, num_steps: Array) -> tuple[losses.LossState, Array]:
    def body(state: losses.LossState, loss: Array) -> Any:
        state = losses.update(state, loss)
        return state, (state, losses.features(state))

    return jax.lax.scan(body, losses.init(num_steps), raw)[1]


def test_loss_averages_and_features_over_300_steps(parity: Callable[[str], Vectors]):
    vectors = parity("random/lossbuffer")
    state, found = follow_losses(vectors["loss"], vectors["num_steps"])
    np.testing.assert_allclose(state.decays[0], vectors["decays"], rtol=1e-6)
    np.testing.assert_allclose(state.means, vectors["means"], rtol=1e-5)
    np.testing.assert_allclose(state.minima, vectors["running_min"], rtol=1e-5)
    # The features are differences of nearly equal averages over each other: rounding shows tenfold.
    np.testing.assert_allclose(found, vectors["features"], rtol=0, atol=1e-4)


def test_a_falling_loss_gives_minus_one_after_two_steps():
    raw = jnp.asarray(np.linspace(5.0, 1.0, 300, dtype=np.float32))
    _, found = follow_losses(raw, jnp.float32(300.0))
    np.testing.assert_array_equal(found[:2], 0.0)
    np.testing.assert_allclose(found[2:], -1.0, atol=1e-6)


def test_a_spike_counts_as_twice_the_largest_average():
    raw = np.ones(300, np.float32)
    spiked = raw.copy()
    spiked[10] = 1e6
    state, _ = follow_losses(jnp.asarray(spiked), jnp.float32(300.0))
    flat, _ = follow_losses(jnp.asarray(raw), jnp.float32(300.0))
    np.testing.assert_allclose(state.means[9], flat.means[9], rtol=1e-6)
    decays = flat.decays[0]
    capped = decays * flat.means[9] + (1.0 - decays) * 2.0
    # The cap is taken with the old averages over the new correction: a little under twice the average.
    np.testing.assert_allclose(state.means[10], capped, rtol=0.03)


def dense(theta: mlp.Weights, inputs: Sequence[Array], scales: Array | None) -> np.ndarray:
    """The MLP as one would write it: all inputs broadcast and stacked in a trailing axis, float64."""
    shape = np.broadcast_shapes(*(x.shape for x in inputs))
    x = np.stack([np.broadcast_to(np.asarray(x, np.float64), shape) for x in inputs], axis=-1)
    x = x if scales is None else x * np.asarray(scales, np.float64)
    for i in range(len(theta) // 2):
        x = np.maximum(x, 0) if i else x
        x = x @ np.asarray(theta[f"w{i}"], np.float64) + np.asarray(theta[f"b{i}"], np.float64)
    return x


@pytest.mark.parametrize("shape", [(), (4, 3), (2, 3, 4), (40, 30)], ids=str)
def test_the_mlp_is_the_dense_one(shape: tuple[int, ...]):
    """Whether the inputs are small or too large to be stacked, full or constant along an axis."""
    theta = mlp.init(jax.random.key(1), (6, 4, 5, 3))
    theta = {name: w + 0.1 * normal(i, *w.shape) for i, (name, w) in enumerate(theta.items())}
    thin = sorted({tuple(1 if i == axis else n for i, n in enumerate(shape)) for axis in range(len(shape))})
    shapes = [shape, shape, *thin[:2], shape, shape, shape, shape][:6]
    inputs = [normal(10 + i, *s) for i, s in enumerate(shapes)]

    @jax.jit
    def run(theta: mlp.Weights, inputs: list[Array]) -> Any:
        scales = normalisers.inverse_rms(inputs)
        normalised, plain = mlp.apply(theta, inputs, scales), mlp.apply(theta, inputs)
        return scales, {"scaled": normalised, "plain": plain, "first": mlp.apply(theta, inputs, outputs=2)}

    scales, found = run(theta, inputs)
    assert {kind: len(outputs) for kind, outputs in found.items()} == {"scaled": 3, "plain": 3, "first": 2}
    for kind, outputs in found.items():
        expected = dense(theta, inputs, scales if kind == "scaled" else None)
        for j, y in enumerate(outputs):
            np.testing.assert_allclose(np.broadcast_to(y, shape), expected[..., j], rtol=1e-5, atol=1e-5)


@hypothesis.given(st.integers(1, 400), st.integers(0, 2**31))
@hypothesis.settings(max_examples=10)
def test_weights_are_cut_at_two_sigma(fan_in: int, seed: int):
    w = mlp.truncated_normal(jax.random.key(seed), (50, 8), fan_in)
    assert np.max(np.abs(w)) <= 2.0 / np.sqrt(fan_in) * (1 + 1e-6)
    # A normal of sigma 1 cut at 2 has standard deviation 0.880; not rescaled.
    assert 0.8 < np.std(w) * np.sqrt(fan_in) < 0.96
