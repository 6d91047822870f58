"""Parameters that are refused, gradients that do not fit them, and every wrapper in which they do."""

import functools
import re
from collections.abc import Callable
from typing import Any, cast

import equinox as eqx
import flax.core
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from celo import HAND_DESIGNED, eval_params, hand_designed, learned_optimizer, parameters, wrappers
from celo.learned import base

Tree = Any
Build = Callable[[], optax.GradientTransformationExtraArgs]

PARAMS: Tree = {"layer": {"w": jnp.ones((4, 3)), "b": jnp.ones(3)}, "scale": jnp.float32(2.0)}
LOSS = jnp.float32(0.7)


def learned(name: str, **config: Any) -> optax.GradientTransformationExtraArgs:
    """A learned optimizer with small random meta-parameters, drawn without compiling anything."""
    rng, configured = np.random.default_rng(0), learned_optimizer(name, **config)
    theta = jax.tree.map(
        lambda x: jnp.asarray(0.1 * rng.normal(size=x.shape), jnp.float32), base.theta_shapes(configured)
    )
    return configured.optimizer(theta, 10)


# One of each way to an update: a rule of its own, optax's, ours from optax's parts, both, and a wrapper.
BUILDS: dict[str, Build] = {
    "celo": functools.partial(learned, "celo"),
    "nn_adam": functools.partial(learned, "nn_adam"),
    "celo2": functools.partial(learned, "celo2"),
    "learnable_sgd": functools.partial(learned, "learnable_sgd"),
    "sgd": functools.partial(hand_designed, "sgd", 0.1),
    "adamw": functools.partial(hand_designed, "adamw", 0.1),
    "loss_weight_decay": lambda: wrappers.loss_weight_decay(learned("celo"), 0.1),
}
builds = pytest.mark.parametrize("build", BUILDS.values(), ids=BUILDS)


def trace(optimizer: optax.GradientTransformation, grads: Tree, params: Tree) -> Tree:
    """Shapes of the updates of one step, nothing computed."""
    update = optax.with_extra_args_support(optimizer).update
    return jax.eval_shape(lambda g, p: update(g, optimizer.init(p), p, value=LOSS)[0], grads, params)


def shapes(tree: Tree) -> Tree:
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


# Gradients


@builds
@pytest.mark.parametrize("shape", [(3, 3), (1, 3), (), (1,), (4,), (0,)])
def test_gradients_of_another_shape_are_refused(build: Build, shape: tuple[int, ...]):
    grads = {**PARAMS, "layer": {**PARAMS["layer"], "b": jnp.ones(shape)}}
    message = f"do not fit the parameters: leaf ['layer']['b']: expected shape (3,), found shape {shape}\n"
    with pytest.raises(ValueError, match=re.escape(message)):
        trace(build(), grads, PARAMS)


@builds
@pytest.mark.parametrize(
    ("grads", "message"),
    [
        ({**PARAMS, "layer": PARAMS["layer"]["w"]}, "missing leaf ['layer']['b'], expected shape (3,)"),
        ({**PARAMS, "shift": jnp.ones(2)}, "unexpected leaf ['shift'] of shape (2,)"),
        ({"layer": PARAMS["layer"]}, "missing leaf ['scale'], expected shape ()"),
        ({**PARAMS, "scale": {"x": LOSS}}, "missing leaf ['scale'], expected shape ()"),
        ({**PARAMS, "scale": optax.MaskedNode()}, "missing leaf ['scale'], expected shape ()"),
        (
            {**PARAMS, "scale": None},
            "leaf ['scale']: expected shape (), found None. What has no gradient is no",
        ),
        (flax.core.freeze(PARAMS), "expected the tree PyTreeDef({'layer'"),
        (None, "missing leaf ['layer']['b']"),
        (jnp.ones(3), "unexpected leaf (the only one) of shape (3,)"),
    ],
    ids=["less", "more", "part", "deeper", "masked", "frozen", "container", "nothing", "array"],
)
def test_gradients_of_another_structure_are_refused(build: Build, grads: Tree, message: str):
    with pytest.raises(
        ValueError, match=r"^the gradients do not fit the parameters: .*" + re.escape(message)
    ):
        trace(build(), grads, PARAMS)


@builds
def test_a_gradient_for_what_is_no_parameter_is_refused(build: Build):
    with pytest.raises(ValueError, match=r"\['scale'\]: expected None, found shape \(\)"):
        trace(build(), PARAMS, {**PARAMS, "scale": None})


SHAPES = st.lists(st.integers(0, 3), max_size=3).map(tuple)


@hypothesis.given(
    st.dictionaries(st.sampled_from("abc"), SHAPES), st.dictionaries(st.sampled_from("abc"), SHAPES)
)
def test_exactly_equal_shapes_fit(params: dict[str, Any], grads: dict[str, Any]):
    params, grads = ({k: np.zeros(x, np.float32) for k, x in tree.items()} for tree in (params, grads))
    if shapes(params) == shapes(grads):
        parameters.check_gradients(grads, params)
    else:
        with pytest.raises(ValueError, match="the gradients do not fit the parameters"):
            parameters.check_gradients(grads, params)


def test_checks_leave_nothing_in_the_program():
    def check(grads: Tree) -> Tree:
        parameters.check_gradients(grads, PARAMS)
        parameters.check_parameters(grads)
        return grads

    assert not jax.make_jaxpr(check)(PARAMS).eqns


# Parameters


@builds
@pytest.mark.parametrize(
    ("leaf", "message"),
    [
        (np.arange(3), "is int64[3]; expected real floating-point numbers: leave it out"),
        (jnp.int32(3), "is int32[]; expected real floating-point numbers: leave it out"),
        (3, "is int[]; expected"),
        (np.ones(2, bool), "is bool[2]; expected"),
        (True, "is bool[]; expected"),
        (
            np.ones(2, np.complex64),
            "is complex64[2]; expected real floating-point numbers: let its real",
        ),
        (
            jax.nn.relu,
            "is custom_jvp[]; expected real floating-point numbers: leave it out of the parameters (with "
            "Equinox: eqx.filter(model, eqx.is_inexact_array))",
        ),
        ("relu", "is str[]; expected"),
    ],
    ids=["int64", "int32", "int", "bools", "bool", "complex", "function", "string"],
)
def test_parameters_that_are_no_real_numbers_are_refused(build: Build, leaf: Any, message: str):
    with pytest.raises(ValueError, match=re.escape(f"parameter ['more']['leaf'] {message}")):
        build().init({**PARAMS, "more": {"leaf": leaf}})


@builds
@pytest.mark.parametrize(
    "leaf",
    [None, optax.MaskedNode(), 0.5, np.float64(0.5), np.ones(2, np.float32), jnp.ones(2, jnp.bfloat16)],
    ids=["none", "masked", "float", "double", "numpy", "bfloat16"],
)
def test_parameters_of_every_real_kind_are_taken(build: Build, leaf: Any):
    params = {"w": jnp.ones((4, 3)), "leaf": leaf}
    updates = trace(build(), params, params)
    assert shapes(updates) == shapes(jax.tree.map(jnp.asarray, params))


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
MODEL_GRADS = eqx.filter_grad(lambda model: jnp.sum(model.activation(model.linear(jnp.ones(3)))))(MODEL)


@builds
def test_a_filtered_equinox_model_is_taken_and_one_that_is_not_says_how(build: Build):
    filtered, optimizer = eqx.filter(MODEL, eqx.is_inexact_array), build()
    updates = trace(optimizer, MODEL_GRADS, filtered)
    assert shapes(updates) == shapes(filtered)
    filtering = re.escape("eqx.filter(model, eqx.is_inexact_array)")
    with pytest.raises(ValueError, match=rf"parameter \.activation is custom_jvp.*{filtering}"):
        optimizer.init(MODEL)
    with pytest.raises(ValueError, match=rf"\.activation: expected shape \(\), found None.*{filtering}"):
        optimizer.update(MODEL_GRADS, optimizer.init(filtered), MODEL, value=LOSS)
    buffer = eqx.filter(MODEL, eqx.is_array)
    with pytest.raises(ValueError, match=rf"\.seen: expected shape \(3,\), found None.*{filtering}"):
        optimizer.update(MODEL_GRADS, optimizer.init(filtered), buffer, value=LOSS)


# Where they fit


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
        ValueError, match=r"value=loss\)\. .* optax\.MultiSteps within optax\.chain, goes outermost"
    ):
        trace(optax.chain(optax.clip(1.0), inner), PARAMS, PARAMS)


# Tensors without entries

EMPTY = {"nothing": jnp.zeros((0, 3)), "none": jnp.zeros(0)}
EMPTY_ROWS: dict[str, Build] = {
    **{name: functools.partial(hand_designed, name, 0.1) for name in HAND_DESIGNED},
    **{name: functools.partial(learned, name) for name in ("celo", "velo_s", "nn_adam", "rnn_mlp", "celo2")},
    "celo_tensors": functools.partial(learned, "celo", tensor_features=True),
}
COSTLY = ("rnn_mlp", "celo_tensors", "shampoo_adagrad", "celo2")


@pytest.mark.parametrize(
    "build",
    [
        pytest.param(build, id=name, marks=[pytest.mark.slow] if name in COSTLY else [])
        for name, build in EMPTY_ROWS.items()
    ],
)
def test_tensors_without_entries_change_nothing(build: Build):
    optimizer = build()
    params = {"w": PARAMS["layer"]["w"]}
    with_empty = {**params, **EMPTY}

    @functools.partial(jax.jit, compiler_options={"xla_backend_optimization_level": 0})
    def step(params: Tree) -> Tree:
        updates, state = optimizer.update(params, optimizer.init(params), params, value=LOSS)
        return updates, state, eval_params(state, params)

    (expected, expected_state, _), (updates, state, evaluated) = step(params), step(with_empty)
    np.testing.assert_allclose(updates["w"], expected["w"], rtol=1e-5, atol=1e-8)
    assert shapes(updates) == shapes(evaluated) == shapes(with_empty)
    assert len(jax.tree.leaves(state)) == len(jax.tree.leaves(expected_state))
    assert all(np.all(np.isfinite(x)) for x in jax.tree.leaves(state))
