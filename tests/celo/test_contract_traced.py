"""The contract, what tracing alone shows: any tree is taken, and structures, shapes and dtypes stay."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests.celo.contract import (
    Row,
    Tree,
    describe,
    gradients_like,
    mixed,
    over_rows,
    quick_jit,
    small,
    step,
)
from tests.double_precision import double_by_default

FROM_VALUES = ("schedule_free_adamw", "schedule_free_sgd", "prodigy", "dog", "dowg", "cocob")


@over_rows("empty")
def test_takes_a_tree_without_leaves(row: Row):
    optimizer = row.build(learning_rate=row.rate)
    params: Tree = {"nothing": None}
    updates, _ = quick_jit(functools.partial(step, optimizer))(params, optimizer.init(params), params)
    assert updates == params


@over_rows("control-flow")
def test_state_is_stable_through_scan_and_cond(row: Row):
    optimizer = row.build(learning_rate=row.rate)

    def run(params: Tree) -> Tree:
        def body(carry: Tree, skip: Array) -> tuple[Tree, None]:
            params, state = carry
            updates, new = step(optimizer, params, state, params)
            state = jax.lax.cond(skip, lambda: state, lambda: new)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(body, (params, optimizer.init(params)), jnp.array([True, False]))[0]

    params, state = jax.eval_shape(run, mixed())  # scan and cond refuse a change of structure or dtype
    assert describe(params) == describe(mixed())
    assert describe(state) == describe(jax.eval_shape(optimizer.init, mixed()))


@over_rows("half-precision")
@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16])
def test_half_precision_parameters_have_float32_state(row: Row, dtype: Any):
    optimizer = row.build(learning_rate=row.rate)
    params = optax.tree.cast(small(), dtype)
    state = jax.eval_shape(optimizer.init, params)
    updates, new = jax.eval_shape(functools.partial(step, optimizer), params, state, params)
    assert describe(updates) == describe(params)
    assert describe(new) == describe(state)
    assert not any(x.dtype in (jnp.bfloat16, jnp.float16) for x in jax.tree.leaves(state))


@over_rows("double-precision")
def test_types_stay_where_numbers_are_double_by_default(row: Row):
    """With JAX_ENABLE_X64 whatever names no type becomes double, and a scan would refuse the state."""
    with double_by_default(True):
        params, grads = jax.tree.map(np.asarray, (mixed(), gradients_like(mixed())))
        optimizer = row.build(learning_rate=row.rate)
        state = jax.eval_shape(optimizer.init, params)
        updates, after = jax.eval_shape(functools.partial(step, optimizer), grads, state, params)
    assert describe(after) == describe(state)
    assert describe(updates) == describe(params)


@over_rows("integers")
def test_integer_gradients_are_refused(row: Row):
    optimizer, params = row.build(learning_rate=row.rate), small()
    grads = {**params, "b": jnp.arange(3)}
    with pytest.raises(TypeError, match=r"gradient \['b'\] is int32\[3\]; expected floating-point numbers"):
        jax.eval_shape(lambda: step(optimizer, grads, optimizer.init(params), params))


@over_rows("shapes")
def test_init_takes_shapes_in_place_of_parameters(row: Row):
    """As optax does; methods that measure distances or average parameters start from the values."""
    optimizer, params = row.build(learning_rate=row.rate), small()
    shapes = jax.eval_shape(lambda: params)
    if row.name in FROM_VALUES:
        with pytest.raises(ValueError, match="starts from the parameters' values; expected arrays"):
            optimizer.init(shapes)
    else:
        assert describe(optimizer.init(shapes)) == describe(jax.eval_shape(optimizer.init, params))


@over_rows("explicit-mesh")
def test_updates_and_state_follow_a_mesh_with_explicit_axes(row: Row):
    mesh = jax.make_mesh((2,), ("shards",), axis_types=(AxisType.Explicit,))
    placement = {"w": PartitionSpec("shards"), "b": PartitionSpec()}
    optimizer = row.build(learning_rate=row.rate)
    with jax.set_mesh(mesh):
        params = jax.device_put(small(), jax.tree.map(lambda spec: NamedSharding(mesh, spec), placement))
        state = jax.eval_shape(optimizer.init, params)
        updates, after = jax.eval_shape(functools.partial(step, optimizer), params, state, params)
    assert updates["w"].sharding.spec == jax.typeof(params["w"]).sharding.spec
    for leaf in (x for x in jax.tree.leaves(after) if x.shape == (4, 3)):
        assert leaf.sharding.spec == jax.typeof(params["w"]).sharding.spec
