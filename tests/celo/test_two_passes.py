"""Joint sums of squares, features in two passes, and small tensors stacked: equal to the plain forms."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from celo import learned_optimizer
from celo._core import normalisers, tensors
from tests.celo.contract import LearnedRow, Tree, over_rows, quick_jit, ramp, step

SHAPES = [(128, 129), (4096, 3), (20000,), (3, 3, 64, 64), (128, 256)]


def arrays(shape: tuple[int, ...], count: int = 3) -> tuple[Array, ...]:
    rng = np.random.default_rng(0)
    return tuple(jnp.asarray(rng.normal(size=shape), jnp.float32) for _ in range(count))


def plain(xs: tuple[Array, ...]) -> Array:
    return jnp.stack([jax.lax.rsqrt(1e-5 + jnp.mean(jnp.square(x))) for x in xs])


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_large_arrays_have_the_normalisers_of_the_plain_form(shape: tuple[int, ...]):
    xs = arrays(shape)
    exact = [1.0 / np.sqrt(1e-5 + np.mean(np.square(np.asarray(x, np.float64)))) for x in xs]
    np.testing.assert_allclose(jax.jit(normalisers.inverse_rms)(xs), exact, rtol=1e-5)


def test_joint_sums_of_integers_are_exact():
    xs = tuple(jnp.full((4, 8, 64), float(n), jnp.float32) for n in (1, 2, 3))
    np.testing.assert_array_equal(normalisers._joint_square_sums(xs), [2048.0, 8192.0, 18432.0])


@pytest.mark.parametrize("transform", ["jvp", "grad", "vmap"])
def test_joint_sums_have_the_derivative_of_the_plain_form(transform: str):
    xs, dxs = arrays((128, 256)), arrays((128, 256))[::-1]

    def run(function: Any) -> Any:
        if transform == "jvp":
            return jax.jit(lambda xs, dxs: jax.jvp(function, (xs,), (dxs,)))(xs, dxs)
        gradient = jax.grad(lambda xs: jnp.vdot(function(xs), jnp.array([1.0, -2.0, 3.0])))
        if transform == "grad":
            return jax.jit(gradient)(xs)
        return jax.jit(jax.vmap(gradient))(jax.tree.map(lambda x: jnp.stack([x, 2.0 * x]), xs))

    found, expected = run(normalisers.inverse_rms), run(plain)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=2e-5, atol=1e-12), found, tuple(expected))


def test_two_passes_give_the_features_and_their_normalisers():
    x, y = arrays((16, 8), 2)

    def features(x: Array, y: Array) -> list[Array]:
        return [x, x * y]

    found, scales = jax.jit(functools.partial(normalisers.two_passes, features, normalisers.inverse_rms))(
        x, y
    )
    np.testing.assert_allclose(found[1], x * y, rtol=1e-6)
    np.testing.assert_allclose(scales, plain((x, x * y)), rtol=1e-6)


@over_rows("stacked", only=lambda row: row.learning_rate is None)
def test_stacked_tensors_take_the_steps_of_tensors_alone(row: LearnedRow, monkeypatch: pytest.MonkeyPatch):
    params = {name: ramp((4, 3), low, 1.0) for name, low in (("a", -1.0), ("b", 0.5))}
    params |= {name: ramp((3,), low, 2.0) for name, low in (("c", -2.0), ("d", 0.25))}
    grads = jax.tree.map(lambda p: jnp.sin(3.0 * p), params)
    optimizer = row.build(learning_rate=row.rate)

    def run() -> Tree:
        state: Any = optimizer.init(params)
        update = quick_jit(functools.partial(step, optimizer))
        for loss in (1.5, 1.25, 1.0):
            updates, state = update(grads, state, params, loss)
        return updates, state

    stacked = run()
    monkeypatch.setattr(tensors, "LARGEST_STACKED", -1)
    for found, expected in zip(*map(jax.tree.leaves, (stacked, run())), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", ["celo", "celo_adam", "velo_s", "celo2_base"])
def test_on_explicit_axes_tensors_of_equal_sharding_are_stacked(name: str):
    """A large tensor whose last axis is sharded keeps its sharding too."""
    mesh = jax.make_mesh((2,), ("shards",), axis_types=(AxisType.Explicit,))
    rows, cols = PartitionSpec("shards", None), PartitionSpec(None, "shards")
    specs = {"a": rows, "b": rows, "c": cols, "large": cols}
    learned = learned_optimizer(name)
    optimizer = learned.optimizer(jax.jit(learned.init)(jax.random.key(0)), 100)
    with jax.set_mesh(mesh):
        shapes = {**dict.fromkeys("abc", (4, 4)), "large": (128, 256)}
        params = {n: jax.device_put(jnp.ones(shapes[n]), NamedSharding(mesh, specs[n])) for n in specs}
        assert tensors._alike([(params[n],) for n in specs]) == [[0, 1], [2], [3]]
        state = jax.eval_shape(optimizer.init, params)
        updates, after = jax.eval_shape(functools.partial(step, optimizer), params, state, params)
    assert {n: u.sharding.spec for n, u in updates.items()} == specs
    for path, x in jax.tree_util.tree_leaves_with_path(after):
        if x.ndim == 2 and x.shape in shapes.values():
            assert x.sharding.spec == specs[path[-1].key], path


def test_on_automatic_axes_of_several_devices_nothing_is_stacked():
    rows = [(jnp.ones((4, 3)),), (jnp.ones((4, 3)),)]
    with jax.set_mesh(jax.make_mesh((2,), ("shards",), axis_types=(AxisType.Auto,))):
        assert tensors._alike(rows) == [[0], [1]]
    with jax.set_mesh(jax.make_mesh((1,), ("shards",), axis_types=(AxisType.Auto,))):
        assert tensors._alike(rows) == [[0, 1]]
