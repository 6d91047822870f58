"""What Celo's rule promises: what its steps depend on, and what each stage trains."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.celo.celo_steps import (
    LEARNED,
    LOSSES,
    STAGE_1,
    THETA,
    Tree,
    assert_same,
    grads,
    optimizer,
    params,
    steps,
)


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
