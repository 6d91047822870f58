"""Kinds of parameters: real floating-point numbers are taken, anything else is refused with what to do."""

import re
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from celo import hand_designed
from tests.celo.parameter_builds import LOSS, PARAMS, Build, Tree, builds, shapes, trace


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
