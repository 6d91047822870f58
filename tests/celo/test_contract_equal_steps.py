"""The contract, other ways to the same step: in half precision, accumulated, injected, scheduled, sharded."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from tests.celo.contract import LOSS, Row, Tree, gradients_like, over_rows, quick_jit, small, step


@functools.cache
def reference(row: Row) -> Any:
    """The row's update, compiled, which leaves its arguments alone: what every other way is compared with."""
    return quick_jit(functools.partial(step, row.build(learning_rate=row.rate)))


def assert_close(actual: Tree, expected: Tree, rtol: float = 1e-5) -> None:
    assert jax.tree.structure(actual) == jax.tree.structure(expected)
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(e), rtol=rtol, atol=1e-7)


@over_rows("half-precision-values")
def test_half_precision_rounds_only_the_update(row: Row):
    optimizer, update = row.build(learning_rate=row.rate), reference(row)
    params = small()
    updates, _ = update(gradients_like(params), optimizer.init(params), params, LOSS)
    half, half_grads = (optax.tree.cast(tree, jnp.bfloat16) for tree in (params, gradients_like(params)))
    half_updates, _ = update(half_grads, optimizer.init(half), half, LOSS)
    assert_close(optax.tree.cast(half_updates, jnp.float32), updates, rtol=2**-8)


@pytest.mark.lenient(reason="optax.MultiSteps divides by an integer count")
@over_rows("multi-steps")
def test_accumulated_gradients_give_the_step_of_their_mean(row: Row):
    optimizer = row.build(learning_rate=row.rate)
    wrapped = optax.MultiSteps(optimizer, 2)
    params = small()
    grads, other = gradients_like(params), params
    update = quick_jit(functools.partial(wrapped.update, value=jnp.float32(LOSS)))
    first, state = update(grads, wrapped.init(params), params)
    second, _ = update(other, state, params)
    mean = jax.tree.map(lambda a, b: (a + b) / 2.0, grads, other)
    expected, _ = reference(row)(mean, optimizer.init(params), params, LOSS)
    assert_close(first, jax.tree.map(jnp.zeros_like, params))
    assert_close(second, expected)


@over_rows("inject-hyperparams")
def test_an_injected_learning_rate_changes_nothing(row: Row):
    params = small()
    injected = optax.inject_hyperparams(row.build)(learning_rate=row.rate)
    update = quick_jit(functools.partial(step, injected))
    plain_state: Tree = row.build(learning_rate=row.rate).init(params)
    state: Tree = injected.init(params)
    for _ in range(2):
        expected, plain_state = reference(row)(gradients_like(params), plain_state, params, LOSS)
        updates, state = update(gradients_like(params), state, params, LOSS)
        assert_close(updates, expected)
    assert_close(state.inner_state, plain_state)


@over_rows("schedule", only=lambda row: row.learning_rate is not None)
def test_a_constant_schedule_is_the_constant(row: Row):
    params = small()
    constant = row.build(learning_rate=row.rate)
    scheduled = row.build(learning_rate=optax.constant_schedule(row.rate))
    expected, _ = reference(row)(gradients_like(params), constant.init(params), params, LOSS)
    updates, _ = step(scheduled, gradients_like(params), scheduled.init(params), params)
    assert_close(updates, expected)


@over_rows("sharded")
def test_state_follows_the_sharding_of_the_parameters(row: Row):
    mesh = jax.make_mesh((2,), ("shards",), axis_types=(AxisType.Auto,))
    placement = {
        "w": NamedSharding(mesh, PartitionSpec("shards")),
        "b": NamedSharding(mesh, PartitionSpec()),
    }
    optimizer = row.build(learning_rate=row.rate)
    params, grads = jax.device_put((small(), gradients_like(small())), (placement, placement))
    state = optimizer.init(params)
    for leaf in (x for x in jax.tree.leaves(state) if x.shape == (4, 3)):
        assert leaf.sharding.is_equivalent_to(placement["w"], 2)
    update = reference(row)
    # Of a loss that stands still a scheduler sees nothing but rounding errors, so it falls.
    *first, last = (LOSS - np.float32(fall) for fall in (0.0, 0.1, 0.2))
    for loss in first:  # the first step places scalars, which init could not
        _, state = update(grads, state, params, loss)
    compilations = update._cache_size()
    placed = jax.tree.map(lambda x: x.sharding, state)
    updates, state = update(grads, state, params, last)
    assert update._cache_size() == compilations
    assert jax.tree.map(lambda x: x.sharding, state) == placed
    for leaf in jax.tree.leaves(updates["w"]) + [x for x in jax.tree.leaves(state) if x.shape == (4, 3)]:
        assert leaf.sharding.is_equivalent_to(placement["w"], 2)

    state, expected = optimizer.init(small()), None
    for loss in (*first, last):
        expected, state = update(gradients_like(small()), state, small(), loss)
    assert_close(updates, expected, rtol=1e-4)
