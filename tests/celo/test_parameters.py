"""Which parameters and gradients are taken: real floating-point numbers in any tree, of fitting shapes."""

import functools
import re
from collections.abc import Callable
from typing import Any

import equinox as eqx
import flax.core
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from celo import HAND_DESIGNED, eval_params, hand_designed, wrappers
from tests.celo.contract import quick_jit
from tests.celo.parameter_builds import LOSS, PARAMS, Build, Tree, builds, learned, shapes, trace

REAL = "expected real floating-point numbers"


@builds
@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (np.arange(3), f"is int64[3]; {REAL}: leave it out"),
        (jnp.int32(3), f"is int32[]; {REAL}: leave it out"),
        (3, "is int[]; expected"),
        (np.ones(2, bool), "is bool[2]; expected"),
        (True, "is bool[]; expected"),
        (np.ones(2, np.complex64), f"is complex64[2]; {REAL}: let its real"),
        (jax.nn.relu, "is custom_jvp[]; expected"),
        ("relu", "is str[]; expected"),
    ],
    ids=["int64", "int32", "int", "bools", "bool", "complex", "function", "string"],
)
def test_parameters_that_are_no_real_numbers_are_refused(build: Build, leaf: Any, message: str):
    with pytest.raises(ValueError, match=re.escape(f"parameter ['more']['leaf'] {message}")):
        build().init({**PARAMS, "more": {"leaf": leaf}})


BIAS = "leaf ['layer']['b']: expected shape (3,), found shape"
SCALE = "missing leaf ['scale'], expected shape ()"


def with_bias(*shape: int) -> Tree:
    return {**PARAMS, "layer": {**PARAMS["layer"], "b": jnp.ones(shape)}}


@builds
@pytest.mark.parametrize(
    ("grads", "message"),
    [
        *((with_bias(*shape), f"{BIAS} {shape}\n") for shape in ((3, 3), (1, 3), (), (1,), (4,), (0,))),
        ({**PARAMS, "layer": PARAMS["layer"]["w"]}, "missing leaf ['layer']['b'], expected shape (3,)"),
        ({**PARAMS, "shift": jnp.ones(2)}, "unexpected leaf ['shift'] of shape (2,)"),
        ({"layer": PARAMS["layer"]}, SCALE),
        ({**PARAMS, "scale": {"x": LOSS}}, SCALE),
        ({**PARAMS, "scale": optax.MaskedNode()}, SCALE),
        ({**PARAMS, "scale": None}, "leaf ['scale']: expected shape (), found None"),
        (flax.core.freeze(PARAMS), "expected the tree PyTreeDef({'layer'"),
        (None, "missing leaf ['layer']['b']"),
        (jnp.ones(3), "unexpected leaf (the only one) of shape (3,)"),
    ],
)
def test_gradients_that_do_not_fit_are_refused(build: Build, grads: Tree, message: str):
    message = r"^the gradients do not fit the parameters: .*" + re.escape(message)
    with pytest.raises(ValueError, match=message):
        trace(build(), grads, PARAMS)


@builds
def test_a_gradient_for_what_is_no_parameter_is_refused(build: Build):
    with pytest.raises(ValueError, match=r"\['scale'\]: expected None, found shape \(\)"):
        trace(build(), PARAMS, {**PARAMS, "scale": None})


LEAVES = (None, optax.MaskedNode(), 0.5, np.float64(0.5), np.ones(2, np.float32), jnp.ones(2, jnp.bfloat16))
TREES: tuple[Tree, ...] = (
    *({"w": jnp.ones((4, 3)), "leaf": leaf} for leaf in LEAVES),
    *(flax.core.freeze(PARAMS), [jnp.ones(2), (jnp.ones(1),)], jnp.ones(3), {}),
)


@builds
@pytest.mark.parametrize("tree", TREES)
def test_trees_and_leaves_of_every_kind_are_taken(build: Build, tree: Tree):
    assert shapes(trace(build(), tree, tree)) == shapes(jax.tree.map(jnp.asarray, tree))


@pytest.mark.parametrize("name", ["sgd", "adam"])
def test_python_floats_and_doubles_are_taken_outside_jit_too(name: str):
    optimizer = hand_designed(name, 0.5)
    params: Tree = {"float": 2.0, "double": np.full(2, 3.0)}
    grads: Tree = {"float": 1.0, "double": np.full(2, 1e30)}
    updates, state = optimizer.update(grads, optimizer.init(params), params)
    assert jax.tree.map(lambda leaf: leaf.dtype, updates) == dict.fromkeys(params, jnp.float32)
    assert all(np.all(np.isfinite(leaf)) for leaf in jax.tree.leaves((updates, state)))


class Model(eqx.Module):
    """A model with everything that is no parameter: a function, an integer buffer, a rate."""

    linear: eqx.nn.Linear
    activation: Callable[..., Any]
    seen: jax.Array
    rate: float = eqx.field(static=True)


MODEL: Tree = Model(eqx.nn.Linear(3, 2, key=jax.random.key(0)), jax.nn.relu, jnp.arange(3), 0.1)


@builds
def test_a_filtered_equinox_model_is_taken_and_one_that_is_not_says_how(build: Build):
    filtered, optimizer = eqx.filter(MODEL, eqx.is_inexact_array), build()
    assert shapes(trace(optimizer, filtered, filtered)) == shapes(filtered)
    filtering = re.escape("eqx.filter(model, eqx.is_inexact_array)")
    with pytest.raises(ValueError, match=rf"parameter \.activation is custom_jvp.*{filtering}"):
        optimizer.init(MODEL)
    for wrong, leaf in ((MODEL, r"\.activation"), (eqx.filter(MODEL, eqx.is_array), r"\.seen")):
        with pytest.raises(ValueError, match=rf"{leaf}: expected shape .*, found None.*{filtering}"):
            optimizer.update(filtered, optimizer.init(filtered), wrong, value=LOSS)


EMPTY = {"nothing": jnp.zeros((0, 3)), "none": jnp.zeros(0)}
EMPTY_ROWS: dict[str, Build] = {
    **{name: functools.partial(hand_designed, name, 0.1) for name in HAND_DESIGNED},
    **{name: functools.partial(learned, name) for name in ("celo", "velo_s", "nn_adam", "rnn_mlp", "celo2")},
    "celo_tensors": functools.partial(learned, "celo", tensor_features=True),
}
COSTLY = ("rnn_mlp", "celo_tensors", "shampoo_adagrad", "celo2")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name in COSTLY)) for name in EMPTY_ROWS]
)
def test_tensors_without_entries_change_nothing(name: str):
    optimizer, params = EMPTY_ROWS[name](), {"w": PARAMS["layer"]["w"]}
    with_empty = {**params, **EMPTY}

    @quick_jit
    def step(params: Tree) -> Tree:
        updates, state = optimizer.update(params, optimizer.init(params), params, value=LOSS)
        return updates, state, eval_params(state, params)

    (expected, expected_state, _), (updates, state, evaluated) = step(params), step(with_empty)
    np.testing.assert_allclose(updates["w"], expected["w"], rtol=1e-5, atol=1e-8)
    assert shapes(updates) == shapes(evaluated) == shapes(with_empty)
    assert len(jax.tree.leaves(state)) == len(jax.tree.leaves(expected_state))
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state))


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


def test_multi_steps_within_a_chain_drops_the_loss_and_the_error_says_where_it_goes():
    inner = optax.MultiSteps(learned("celo"), 2).gradient_transformation()
    with pytest.raises(ValueError, match=r"value=loss[\s\S]*optax\.MultiSteps within optax\.chain"):
        trace(optax.chain(optax.clip(1.0), inner), PARAMS, PARAMS)
