"""What Celo's rule promises, alone, under JAX's transformations and among those of optax."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

import celo
from tests.celo.celo_steps import (
    LEARNED,
    LOSSES,
    THETA,
    Tree,
    assert_same,
    grads,
    optimizer,
    params,
    steps,
)
from tests.celo.contract import quick_jit


def test_gradients_are_clipped_at_1000():
    def with_entry(x: float) -> Tree:
        return {**grads(), "b": jnp.array([1.0, x, -x])}

    clipped, state = steps(optimizer(), with_entry(1000.0), params())
    beyond, beyond_state = steps(optimizer(), with_entry(1e20), params())
    assert_same((beyond, beyond_state), (clipped, state))
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


def test_the_step_size_depends_on_the_loss_but_not_on_its_scale():
    """Exactly so for a power of two: the loss features are ratios."""
    chosen = optimizer()
    etas = []
    for scale, last in ((1.0, 1.2), (64.0, 1.2), (1.0, 0.1)):
        state = chosen.init(params())
        for loss in (*LOSSES, 1.1, last):
            _, state = chosen.update(grads(), state, params(), value=jnp.float32(scale * loss))
        etas.append(state.eta)
    assert etas[0] == etas[1] != etas[2]


@pytest.mark.parametrize("value", [None, 1.0, float("nan"), "no number"])
def test_stage_1_does_not_look_at_the_loss(value: Any):
    chosen = optimizer(stage=1)
    updates, _ = chosen.update(grads(), chosen.init(params()), params(), value=value)
    assert_same(updates, steps(chosen, grads(), params())[0][0])


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

    (params, _), etas = jax.lax.scan(body, (params, chosen.init(params)), jnp.array([4.0, 3.0, 2.0, 1.0]))
    return params, etas


@pytest.fixture(scope="module")
def one() -> Any:
    return quick_jit(train)


@pytest.mark.parametrize("over", ["theta", "params", "num_steps"])
def test_vmap_is_the_loop_and_one_compilation_serves_every_horizon(one: Any, over: str):
    values: dict[str, list[Any]] = {
        "theta": [LEARNED.init(key) for key in jax.random.split(jax.random.key(7), 2)],
        "params": [jax.tree.map(lambda x, k=k: x + k, params()) for k in (0.0, 1.0)],
        "num_steps": [jnp.float32(n) for n in (1, 2000)],
    }
    arguments = {"theta": THETA, "params": params(), "num_steps": jnp.float32(50.0)}
    axes = [0 if name == over else None for name in arguments]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *values[over])
    mapped = quick_jit(jax.vmap(train, in_axes=axes))(*{**arguments, over: stacked}.values())
    looped = [one(*{**arguments, over: value}.values()) for value in values[over]]
    assert_same(mapped, jax.tree.map(lambda *leaves: jnp.stack(leaves), *looped))
    assert np.any(looped[0][1] != looped[1][1]) or over == "params", "all the same would test nothing"
    assert one._cache_size() == 1


def test_the_horizon_is_in_the_state():
    """So one compiled update serves every horizon, and a run can be made longer on its way."""
    short, long = optimizer(50), optimizer(80)
    expected, expected_state = steps(long, grads(), params())
    updates, state = steps(short, grads(), params(), long.init(params()))
    assert_same((updates, state), (expected, expected_state))
    extended = short.init(params())._replace(num_steps=jnp.float32(80.0))
    assert_same(steps(short, grads(), params(), extended)[1].num_steps, expected_state.num_steps)


def test_injected_horizon_is_the_horizon_and_readable():
    injected = optax.inject_hyperparams(celo.celo)(num_steps=100.0, theta=THETA)
    updates, state = steps(injected, grads(), params())
    assert_same(updates, steps(optimizer(), grads(), params())[0])
    assert optax.tree.get(state, "hyperparams")["num_steps"] == 100.0


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
