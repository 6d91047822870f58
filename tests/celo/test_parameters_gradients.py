"""Gradients that do not fit the parameters are refused, those of equal shapes are not."""

import re
from typing import Any

import flax.core
import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from celo._core import parameters
from tests.celo.parameter_builds import LOSS, PARAMS, Build, Tree, builds, shapes, trace


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
