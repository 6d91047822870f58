"""Celo as an optimizer among others: wrapped, mapped, scanned, on any tree; and what its rule promises.

Every test uses tensors of the same two shapes, so that few operations are compiled.
"""

import functools
from collections.abc import Callable
from typing import Any

import equinox
import flax.core
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

import celo
from celo.learned.celo import CeloState

Tree = Any

LEARNED = celo.learned_optimizer("celo")
STAGE_1 = celo.learned_optimizer("celo", stage=1)
THETA = LEARNED.init(jax.random.key(0))
LOSSES = (1.5, 1.25, 1.0)  # a loss that stands still shows the scheduler nothing but rounding errors


def normal(seed: int, *shape: int) -> Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def params() -> Tree:
    return {"w": normal(0, 4, 3), "b": normal(1, 3)}


def grads() -> Tree:
    return {"w": normal(2, 4, 3), "b": normal(3, 3)}


def optimizer(num_steps: float = 100, stage: int = 2) -> Any:  # optax's types hide what a state holds
    return (LEARNED if stage == 2 else STAGE_1).optimizer(THETA, num_steps)


def steps(optimizer: Any, grads: Tree, params: Tree, state: Tree = None) -> tuple[list[Tree], Any]:
    """The updates of three steps of a falling loss, parameters and gradients kept, and the last state."""
    state, updates = optimizer.init(params) if state is None else state, []
    for loss in LOSSES:
        update, state = optimizer.update(grads, state, params, value=jnp.float32(loss))
        updates.append(update)
    return updates, state


def assert_same(found: Tree, expected: Tree, rtol: float = 1e-5) -> None:
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for f, e in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(f, e, rtol=rtol, atol=1e-10)


# Among other transformations


def test_chain_is_one_after_the_other():
    chained = optax.chain(optax.clip_by_global_norm(0.5), optimizer(), optax.scale(2.0))
    clipped, _ = optax.clip_by_global_norm(0.5).update(grads(), optax.EmptyState())
    alone, _ = steps(optimizer(), clipped, params())
    expected = jax.tree.map(lambda u: 2.0 * u, alone)
    assert_same(steps(chained, grads(), params())[0], expected)


def test_multi_transform_gives_each_group_its_own():
    parted = optax.multi_transform({"celo": optimizer(), "sgd": optax.sgd(0.1)}, {"w": "celo", "b": "sgd"})
    alone, _ = steps(optimizer(), {"w": grads()["w"]}, {"w": params()["w"]})
    expected = [{**update, "b": -0.1 * grads()["b"]} for update in alone]
    assert_same(steps(parted, grads(), params())[0], expected)


def test_injected_horizon_is_the_horizon_and_readable():
    injected = optax.inject_hyperparams(celo.celo)(num_steps=100.0, theta=THETA)
    updates, state = steps(injected, grads(), params())
    assert_same(updates, steps(optimizer(), grads(), params())[0])
    assert optax.tree.get(state, "hyperparams")["num_steps"] == 100.0


def test_apply_if_finite_passes_over_a_gradient_that_is_not():
    wrapped: Any = optax.apply_if_finite(optimizer(), max_consecutive_errors=3)
    update = jax.jit(functools.partial(wrapped.update, value=jnp.float32(1.0)))
    start = wrapped.init(params())
    skipped, state = update(jax.tree.map(lambda g: g * jnp.nan, grads()), start, params())
    assert_same(skipped, jax.tree.map(jnp.zeros_like, params()))
    assert_same(state.inner_state, start.inner_state)
    assert_same(update(grads(), state, params())[0], update(grads(), start, params())[0])


def test_step_size_is_read_from_anywhere_in_a_state():
    chained: Any = optax.chain(optax.clip_by_global_norm(1e9), optimizer())
    without, _ = steps(optimizer(stage=1), grads(), params())
    state = chained.init(params())
    assert optax.tree.get(state, "eta") == 1.0
    for loss, bare in zip(LOSSES, without, strict=True):
        updates, state = chained.update(grads(), state, params(), value=jnp.float32(loss))
        eta = optax.tree.get(state, "eta")
        assert 0.0 < eta != 1.0
        assert_same(updates, jax.tree.map(lambda u, eta=eta: eta * u, bare))
    assert optax.tree.get(state, "num_steps") == 100.0


def test_optax_finds_what_is_shaped_like_the_parameters():
    chosen = optimizer()
    _, state = steps(chosen, grads(), params())
    marked: Any = optax.tree.map_params(
        chosen, lambda x: "param", state, transform_non_params=lambda x: "other"
    )
    assert set(jax.tree.leaves(marked.statistics)) == {"param"}
    assert set(jax.tree.leaves((marked.count, marked.eta, marked.num_steps, marked.scheduler))) == {"other"}


# Under JAX's transformations


def train(theta: Tree, params: Tree, num_steps: Array) -> tuple[Tree, Array]:
    """Four steps on a quadratic, of which a falling loss is reported; the parameters and the step sizes."""
    chosen: Any = LEARNED.optimizer(theta, num_steps)

    def loss(params: Tree) -> Array:
        return sum((jnp.sum(jnp.square(p - 1.0)) for p in params.values()), jnp.zeros(()))

    def body(carry: Tree, drift: Array) -> tuple[Tree, Array]:
        params, state = carry
        value, gradient = jax.value_and_grad(loss)(params)
        updates, state = chosen.update(gradient, state, params, value=value + drift)
        return (optax.apply_updates(params, updates), state), state.eta

    drift = jnp.array([4.0, 3.0, 2.0, 1.0])
    (params, _), etas = jax.lax.scan(body, (params, chosen.init(params)), drift)
    return params, etas


@pytest.fixture(scope="module")
def one() -> Callable[..., Any]:
    return jax.jit(train)


def stacked(trees: list[Tree]) -> Tree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


@pytest.mark.parametrize("over", ["theta", "params", "num_steps"])
def test_vmap_is_the_loop(one: Callable[..., Any], over: str):
    keys = jax.random.split(jax.random.key(7), 3)
    values: dict[str, list[Any]] = {
        "theta": [LEARNED.init(key) for key in keys],
        "params": [jax.tree.map(lambda x, k=k: x + k, params()) for k in (0.0, 1.0, 2.0)],
        "num_steps": [jnp.float32(n) for n in (1, 10, 2000)],
    }
    arguments = {"theta": THETA, "params": params(), "num_steps": jnp.float32(50.0)}
    axes = [0 if name == over else None for name in arguments]
    mapped = jax.jit(jax.vmap(train, in_axes=axes))(*{**arguments, over: stacked(values[over])}.values())
    looped = [one(*{**arguments, over: value}.values()) for value in values[over]]
    assert_same(mapped, stacked(looped))
    for i, j in ((0, 1), (1, 2)):
        assert np.any(looped[i][1] != looped[j][1]) or over == "params", "all the same would test nothing"


def test_one_compilation_serves_every_horizon(one: Callable[..., Any]):
    for num_steps in (20.0, 30.0):
        one(THETA, params(), jnp.float32(num_steps))
    compiled: Any = one
    assert compiled._cache_size() == 1


def test_the_horizon_is_in_the_state():
    """So one compiled update serves every horizon, and a run can be made longer on its way."""
    short, long = optimizer(50), optimizer(80)
    expected, expected_state = steps(long, grads(), params())
    assert_same(steps(short, grads(), params(), long.init(params()))[0], expected)
    extended = short.init(params())._replace(num_steps=jnp.float32(80.0))
    _, state = steps(short, grads(), params(), extended)
    assert_same(state.count, expected_state.count)
    assert_same(state.num_steps, expected_state.num_steps)


# On any tree


class Model(equinox.Module):
    w: Array
    b: Array
    activation: Callable[[Array], Array]
    nothing: None = None


def flattened(tree: Tree) -> list[Array]:
    return sorted(jax.tree.leaves(tree), key=lambda x: -x.ndim)


TREES: dict[str, Callable[[Array, Array], Tree]] = {
    "list": lambda w, b: [w, b],
    "tuple": lambda w, b: (None, (w,), {"b": b}),
    "flax": lambda w, b: {"params": {"Dense_0": {"kernel": w, "bias": b}}},
    "frozen": lambda w, b: flax.core.freeze({"params": {"kernel": w, "bias": b}}),
    "equinox": lambda w, b: equinox.filter(Model(w, b, jax.nn.relu), equinox.is_array),
    "state": lambda w, b: optax.TraceState({"w": w, "b": b}),
}


@pytest.mark.parametrize("kind", TREES)
def test_the_tree_does_not_matter(kind: str):
    p, g = (TREES[kind](tree["w"], tree["b"]) for tree in (params(), grads()))
    found, _ = steps(optimizer(), g, p)
    for update, expected in zip(found, steps(optimizer(), grads(), params())[0], strict=True):
        assert jax.tree.structure(update) == jax.tree.structure(p)
        assert_same(flattened(update), flattened(expected))
        assert jax.tree.structure(optax.apply_updates(p, update)) == jax.tree.structure(p)


def test_equinox_applies_the_updates():
    model = Model(**params(), activation=jax.nn.relu)
    gradient = equinox.filter(Model(**grads(), activation=jax.nn.relu), equinox.is_array)
    (update, *_), _ = steps(optimizer(), gradient, equinox.filter(model, equinox.is_array))
    assert_same(equinox.apply_updates(model, update).w, model.w + update.w)


@pytest.mark.parametrize("stage", [1, 2])
def test_no_parameters_at_all(stage: int):
    for empty in ({}, [], {"a": None}):
        updates, state = steps(optimizer(stage=stage), empty, empty)
        assert updates == [empty] * 3
        assert state.count == 3


def test_state_is_arrays_of_known_types_only():
    state = optimizer().init(jax.tree.map(lambda p: p.astype(jnp.bfloat16), params()))
    assert isinstance(state, CeloState)
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(state))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(state)} == {"float32", "int32"}


# What the rule promises


def test_gradients_are_clipped_at_1000():
    def with_entry(x: float) -> Tree:
        return {**grads(), "b": jnp.array([1.0, x, -x])}

    clipped, state = steps(optimizer(), with_entry(1000.0), params())
    beyond, beyond_state = steps(optimizer(), with_entry(1e20), params())
    assert_same(beyond, clipped)
    assert_same(beyond_state, state)
    assert np.any(steps(optimizer(), with_entry(999.0), params())[0][-1]["b"] != clipped[-1]["b"])


def test_steps_do_not_depend_on_the_order_of_entries():
    rows, columns = jnp.array([2, 0, 3, 1]), jnp.array([1, 2, 0])

    def shuffled(tree: Tree) -> Tree:
        return {"w": tree["w"][rows][:, columns], "b": tree["b"][columns]}

    found, _ = steps(optimizer(), shuffled(grads()), shuffled(params()))
    assert_same(found, [shuffled(update) for update in steps(optimizer(), grads(), params())[0]], rtol=1e-4)


def test_tensors_share_nothing_but_the_step_size():
    together, state = steps(optimizer(), grads(), params())
    for name in ("w", "b"):
        alone, state_alone = steps(optimizer(), {name: grads()[name]}, {name: params()[name]})
        assert_same(alone, [{name: update[name]} for update in together])
        assert_same(state_alone.eta, state.eta)


def test_the_step_size_does_not_depend_on_the_scale_of_the_loss():
    """Exactly so for a power of two: the loss features are ratios."""
    chosen = optimizer()
    etas = []
    for scale in (1.0, 64.0):
        state = chosen.init(params())
        for loss in (*LOSSES, 1.1, 1.2):
            _, state = chosen.update(grads(), state, params(), value=jnp.float32(scale * loss))
        etas.append(state.eta)
    assert etas[0] == etas[1]


@pytest.mark.parametrize("value", [None, 1.0, float("nan"), "no number"])
def test_stage_1_does_not_look_at_the_loss(value: Any):
    chosen = optimizer(stage=1)
    updates, _ = chosen.update(grads(), chosen.init(params()), params(), value=value)
    assert_same(updates, steps(chosen, grads(), params())[0][0])


def test_stage_2_does_look_at_the_loss():
    chosen = optimizer()
    state = chosen.init(params())
    for _ in range(3):
        _, state = chosen.update(grads(), state, params(), value=jnp.float32(1.0))
    risen, fallen = (chosen.update(grads(), state, params(), value=jnp.float32(x))[1] for x in (1.9, 0.1))
    assert risen.eta != fallen.eta


def test_both_stages_train_everything_once():
    masks = [LEARNED.trainable(THETA, stage) for stage in (1, 2)]
    assert all(jax.tree.structure(mask) == jax.tree.structure(THETA) for mask in masks)
    both = jax.tree.map(lambda a, b: (a, b), *masks)
    pairs = jax.tree.leaves(both, is_leaf=lambda x: isinstance(x, tuple))
    assert set(pairs) == {(True, False), (False, True)}
    assert all(jax.tree.leaves(masks[0]["mlp"]))
    assert all(jax.tree.leaves(masks[1]["scheduler"]))


def test_meta_parameters_are_float32_and_differ_by_key():
    other = LEARNED.init(jax.random.key(1))
    assert {leaf.dtype.name for leaf in jax.tree.leaves(THETA)} == {"float32"}
    assert_same(LEARNED.init(jax.random.key(0)), THETA)
    assert np.any(other["mlp"]["w0"] != THETA["mlp"]["w0"])
    assert jax.tree.structure(STAGE_1.init(jax.random.key(0))) == jax.tree.structure(THETA)
