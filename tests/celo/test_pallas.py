"""Kernels in Pallas's interpreter against the plain form: float32, 1e-5 of the largest entry."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array
from jax.experimental.pallas import triton
from jax.sharding import AxisType, NamedSharding, PartitionSpec

import celo
from celo._core import averages, pallas, pallas_kernels
from celo.learned import celo as celo_rule
from tests.celo.contract import Tree, describe, needs_triton, quick_jit, step

pytestmark = needs_triton

TOLERANCE = 1e-5
# No size but that of the square is a multiple of the block of 16; "v" and "w" are stacked.
SHAPES = {"scalar": (), "vector": (37,), "v": (5, 9), "w": (5, 9), "square": (8, 8), "conv": (3, 4, 2, 5)}


@pytest.fixture
def interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pallas_kernels, "INTERPRET", True)
    monkeypatch.setattr(pallas_kernels, "BLOCK", 16)


def normal(seed: int, *shape: int) -> Array:
    return jax.random.normal(jax.random.key(seed), shape)


def agree(found: Tree, expected: Tree, tolerance: float = TOLERANCE) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
        np.testing.assert_allclose(x, y, rtol=0, atol=tolerance * np.max(np.abs(y)))


def theta_of(learned: Any) -> Tree:
    """Meta-parameters without zeros: STAR's last layer starts with them."""
    theta = quick_jit(learned.init)(jax.random.key(0))
    return jax.tree.map(lambda x: x + 0.01 * normal(x.size, *x.shape), theta)


def positive(tree: Tree) -> Tree:
    """A state in the middle of a training: its arrays, but no scalars, are drawn at random."""
    return jax.tree.map(
        lambda x: (0.01 * jnp.abs(normal(x.size, *x.shape))).astype(x.dtype) if x.ndim else x, tree
    )


@pytest.mark.parametrize(
    ("name", "config", "tensors"),
    [
        ("celo", {"stage": 1}, ("scalar", "v", "w", "conv")),
        ("adafac_mlp", {}, ("vector", "square")),
        ("celo2_base", {}, ("vector", "v")),
        pytest.param("star", {}, ("vector", "v"), marks=pytest.mark.slow),
        pytest.param("velo_s", {}, ("vector", "v", "w"), marks=pytest.mark.slow),
        pytest.param("celo2_auto", {"orthogonal": True}, ("vector", "v"), marks=pytest.mark.slow),
    ],
)
def test_an_update_is_that_of_the_plain_form(
    interpreted: None, name: str, config: dict[str, Any], tensors: tuple[str, ...]
):
    params = {name: normal(i, *SHAPES[name]) for i, name in enumerate(tensors)}
    grads = jax.tree.map(lambda p: 0.1 * normal(p.size + 10, *p.shape), params)
    learned: Any = celo.learned_optimizer(name, **config)
    theta = theta_of(learned)

    def update(kernels: str, grads: Tree) -> Tree:
        optimizer = learned.optimizer(theta, 100, kernels=kernels)
        return step(optimizer, grads, positive(optimizer.init(params)), params)

    found, expected = (quick_jit(functools.partial(update, k))(grads) for k in ("pallas", "plain"))
    agree(found, expected)


def tensor(*shape: int) -> tuple[Any, ...]:
    """Weights, parameters, gradient and averages for `celo_rule.step_tensor`."""
    p, g = normal(1, *shape), normal(2, *shape)
    weights = theta_of(celo.learned_optimizer("celo", stage=1))["mlp"]
    return weights, p, g, positive(averages.init(p))


def stacked(count: int, tree: Tree) -> Tree:
    return jax.tree.map(lambda x: jnp.stack([x * (1.0 + i) for i in range(count)]), tree)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((37,), (0, 0, 0, 0)),
        ((5, 9), (None, 0, 0, 0)),
        ((5, 9), (0, None, None, None)),
        ((5, 9), (None, None, 0, None)),
    ],
)
def test_vmap_over_some_arguments(interpreted: None, shape: tuple[int, ...], axes: tuple[int | None, ...]):
    arguments = [x if axis is None else stacked(3, x) for x, axis in zip(tensor(*shape), axes, strict=True)]

    def mapped(kernels: str, *arguments: Any) -> Any:
        def rule(weights: Any, *rest: Any) -> Any:
            return celo_rule.step_tensor(weights, kernels, *rest)

        return jax.vmap(rule, axes)(*arguments)

    found, expected = (quick_jit(functools.partial(mapped, k))(*arguments) for k in ("pallas", "plain"))
    agree(found, expected)


def test_vmap_of_vmap(interpreted: None):
    weights, *arguments = tensor(5, 9)
    rule = functools.partial(celo_rule.step_tensor, weights)
    many = stacked(2, stacked(3, arguments))
    found, expected = (
        quick_jit(jax.vmap(jax.vmap(functools.partial(rule, kernels))))(*many)
        for kernels in ("pallas", "plain")
    )
    agree(found, expected)


def test_derivatives_are_those_of_the_plain_form(interpreted: None):
    weights, p, g, old = tensor(5, 9)

    def total(kernels: str, weights: Any, p: Array) -> Array:
        return jnp.sum(jnp.sin(celo_rule.step_tensor(weights, kernels, p, g, old)[0]))

    found, expected = (
        quick_jit(jax.grad(functools.partial(total, kernels), (0, 1)))(weights, p)
        for kernels in ("pallas", "plain")
    )
    agree(found, expected)


def test_half_precision(interpreted: None, monkeypatch: pytest.MonkeyPatch):
    """Parameters and averages in bfloat16: averages differ where a rounding at random falls differently."""
    monkeypatch.setattr(pallas_kernels, "BLOCK", 1024)
    learned = celo.learned_optimizer("celo", stage=1)
    theta = theta_of(learned)
    params = {"w": normal(0, 64, 65).astype(jnp.bfloat16)}
    grads = {"w": normal(1, 64, 65).astype(jnp.bfloat16)}

    def update(kernels: str, grads: Tree) -> Tree:
        optimizer = celo.celo(100, theta, stage=1, state_dtype="bfloat16", kernels=kernels)
        return step(optimizer, grads, positive(optimizer.init(params)), params)

    found, expected = (quick_jit(functools.partial(update, k))(grads) for k in ("pallas", "plain"))
    assert describe(found) == describe(expected)
    agree(found, expected, 2.0**-7)


def double(x: Array) -> Array:
    return 2.0 * x


def same(x: Array) -> Array:
    return 1.0 * x


def chosen(kernels: str, x: Array) -> float:
    return float(jnp.sum(pallas.by_platform(kernels, same, double, x)) / x.size)


def test_the_plain_form_is_the_default_off_cuda(monkeypatch: pytest.MonkeyPatch):
    x = jnp.ones(4)
    assert chosen("pallas", x) == 1.0
    monkeypatch.setattr(pallas_kernels, "INTERPRET", True)
    assert chosen("pallas", x) == 2.0
    assert chosen("plain", x) == 1.0


def test_tensors_on_a_mesh_and_empty_ones_take_the_plain_form(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(pallas_kernels, "INTERPRET", True)
    run = jax.jit(functools.partial(pallas.by_platform, "pallas", same, double))
    assert run(jnp.ones((0, 3))).shape == (0, 3)
    for kind in (AxisType.Auto, AxisType.Explicit):
        mesh = jax.make_mesh((2,), ("x",), axis_types=(kind,))
        split = jax.device_put(jnp.ones(4), NamedSharding(mesh, PartitionSpec("x")))
        with jax.set_mesh(mesh):
            np.testing.assert_array_equal(run(split), np.ones(4))
        if kind == AxisType.Explicit:  # outside jax.set_mesh a trace still shows the axes
            np.testing.assert_array_equal(run(split), np.ones(4))
        inside = jax.shard_map(run, mesh=mesh, in_specs=PartitionSpec("x"), out_specs=PartitionSpec("x"))
        np.testing.assert_array_equal(jax.jit(inside)(split), np.ones(4))


@pytest.mark.parametrize("kernels", ["cuda", "", None, True, jnp.ones(2)])
def test_one_error_for_another_value(kernels: Any):
    theta = theta_of(celo.learned_optimizer("celo"))
    with pytest.raises(ValueError, match=r"kernels is .*; expected 'plain' or 'pallas'"):
        celo.celo(100, theta, kernels=kernels)
    learned: Any = celo.learned_optimizer("celo2_base")
    with pytest.raises(ValueError, match=r"kernels is .*; expected 'plain' or 'pallas'"):
        learned.optimizer(quick_jit(learned.init)(jax.random.key(0)), 100, kernels=kernels)


def test_a_jax_without_the_loads_of_triton(monkeypatch: pytest.MonkeyPatch):
    theta = theta_of(celo.learned_optimizer("celo"))
    monkeypatch.delattr(triton, "load")
    celo.celo(100, theta)
    with pytest.raises(ImportError, match=r"kernels='pallas' needs JAX 0\.7\.1 or newer"):
        celo.celo(100, theta, kernels="pallas")
