"""Parameters and gradients that fit: in wrappers of optax, in trees of every kind, batched and scanned."""

from collections.abc import Callable
from typing import Any, cast

import flax.core
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from celo import hand_designed, wrappers
from tests.celo.parameter_builds import LOSS, PARAMS, Build, Tree, builds, learned, shapes, trace


def partly(build: Build) -> optax.GradientTransformation:
    """Weights are trained, the rest stands still."""
    labels = {"layer": {"w": "train", "b": "freeze"}, "scale": "freeze"}
    return optax.multi_transform({"train": build(), "freeze": optax.set_to_zero()}, labels)


def accumulated(build: Build) -> optax.GradientTransformation:
    steps: Any = optax.MultiSteps(build(), 2)
    return optax.GradientTransformationExtraArgs(steps.init, steps.update)


WRAPPED: dict[str, Callable[[Build], optax.GradientTransformation]] = {
    "masked": lambda build: optax.masked(build(), {"layer": {"w": True, "b": False}, "scale": True}),
    "multi_transform": partly,
    "chain": lambda build: optax.chain(optax.clip_by_global_norm(1.0), build(), optax.scale(0.5)),
    "multi_steps": accumulated,
    "flatten": lambda build: optax.flatten(build()),
    "finite": lambda build: optax.apply_if_finite(build(), 3),
    "decay": lambda build: wrappers.loss_weight_decay(build(), 0.1),
}


@pytest.mark.lenient(reason="optax.MultiSteps and optax.apply_if_finite work with integer counts")
@builds
@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_wrappers_of_optax_are_taken(build: Build, wrap: Any):
    assert shapes(trace(wrap(build), PARAMS, PARAMS)) == shapes(PARAMS)


TREES: tuple[Tree, ...] = (flax.core.freeze(PARAMS), [jnp.ones(2), (jnp.ones(1),)], jnp.ones(3), {})


@builds
@pytest.mark.parametrize("tree", TREES, ids=["frozen", "list", "array", "empty"])
def test_trees_of_every_kind_are_taken(build: Build, tree: Tree):
    assert shapes(trace(build(), tree, tree)) == shapes(tree)


@builds
def test_batches_and_scans_are_taken(build: Build):
    optimizer = build()

    def run(params: Tree) -> Tree:
        def body(carry: Tree, _: None) -> tuple[Tree, None]:
            params, state = carry
            updates, state = optimizer.update(params, state, params, value=LOSS)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(body, (params, optimizer.init(params)), length=2)[0][0]

    many = jax.tree.map(lambda p: jnp.stack([p, p]), PARAMS)
    assert shapes(jax.eval_shape(jax.vmap(run), many)) == shapes(many)


def test_what_needs_no_parameters_is_still_called_without_them():
    optimizer, grads = hand_designed("sgdm", 0.1), cast(Tree, {"w": None, "b": jnp.ones(3)})
    updates: Tree = optimizer.update(grads, optimizer.init(grads))[0]
    assert updates["w"] is None
    np.testing.assert_allclose(updates["b"], np.full(3, -0.1), rtol=1e-6)


def test_multi_steps_within_a_chain_drops_the_loss_and_the_error_says_where_it_goes():
    inner = optax.MultiSteps(learned("celo"), 2).gradient_transformation()
    with pytest.raises(
        ValueError, match=r"value=loss\)\.[\s\S]*optax\.MultiSteps within optax\.chain, goes outermost"
    ):
        trace(optax.chain(optax.clip(1.0), inner), PARAMS, PARAMS)
