"""What Celo refuses, and what it says: every message before anything is compiled."""

import math
import re
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import celo
from celo._core import trees

LEARNED = celo.learned_optimizer("celo")
THETA = LEARNED.init(jax.random.key(0))
PARAMS = {"w": jnp.ones((4, 3)), "b": jnp.ones(3)}


@pytest.mark.parametrize(
    ("num_steps", "kind", "message"),
    [
        (0, ValueError, "num_steps is 0; expected a finite number of at least 1"),
        (0.99, ValueError, "num_steps is 0.99; expected"),
        (-3, ValueError, "num_steps is -3; expected"),
        (math.nan, ValueError, "num_steps is nan; expected"),
        (math.inf, ValueError, "num_steps is inf; expected"),
        (1e39, ValueError, r"num_steps is 1e\+39; expected"),
        (1.5, TypeError, r"num_steps is 1\.5; expected a whole number of steps"),
        (np.array([100, 200]), ValueError, r"num_steps has shape \(2,\)"),
        (jnp.ones((1,)), ValueError, r"num_steps has shape \(1,\)"),
        (1j, ValueError, "dtype complex128; expected a real scalar"),
        ("100", TypeError, "num_steps is '100'; expected the number of training steps"),
        (None, TypeError, "num_steps is None"),
        (True, TypeError, "num_steps is True"),
    ],
    ids=repr,
)
def test_impossible_horizons(num_steps: Any, kind: type[Exception], message: str):
    with pytest.raises(kind, match=message):
        celo.celo(num_steps, THETA)


@hypothesis.given(st.one_of(st.integers(-(2**63), 0), st.floats(max_value=1, exclude_max=True)))
def test_no_horizon_below_one(num_steps: float):
    kinds: list[Any] = [lambda x: x, np.float64, np.asarray]
    for kind in kinds:
        with pytest.raises(ValueError, match="expected a finite number of at least 1"):
            celo.celo(kind(num_steps), THETA)


def test_a_traced_horizon_must_be_a_scalar():
    with pytest.raises(ValueError, match=r"num_steps has shape \(3,\); expected a scalar \(use vmap"):
        jax.eval_shape(lambda n: celo.celo(n, THETA).init(PARAMS), jnp.ones(3))
    state: Any = jax.eval_shape(lambda n: celo.celo(n, THETA).init(PARAMS), jnp.int32(3))
    assert state.num_steps.dtype == jnp.float32


def update(**missing: Any) -> Any:
    """Traces an update without the arguments that are None."""
    optimizer = celo.celo(100, THETA)
    arguments = {"params": PARAMS, "value": jnp.float32(1.0), **missing}
    given = {name: x for name, x in arguments.items() if x is not None}
    return jax.eval_shape(lambda: optimizer.update(PARAMS, optimizer.init(PARAMS), **given))


def test_a_missing_loss_is_named_when_tracing():
    with pytest.raises(
        ValueError, match=r"call update\(grads, state, params, value=loss\)[\s\S]*class LossTrainState"
    ):
        update(value=None)


def test_missing_parameters_are_named_when_tracing():
    with pytest.raises(ValueError, match=r"reads the parameters: call update\(grads, state, params"):
        update(params=None)


def test_the_loss_must_be_a_scalar():
    with pytest.raises(ValueError, match=r"value has shape \(2,\); expected the scalar loss"):
        update(value=jnp.ones(2))


@pytest.mark.parametrize(
    "value",
    ["a", (1.0, {"accuracy": 0.5}), jnp.ones, 1j, 1, True, jnp.int32(2)],
    ids=["text", "pair", "function", "complex", "int", "bool", "int32"],
)
def test_the_loss_must_be_a_number(value: Any):
    with pytest.raises(TypeError, match=rf"value is {re.escape(repr(value))}; expected the scalar loss"):
        update(value=value)


@pytest.mark.parametrize(
    "value", [0.5, np.float64(0.5), np.ones((), np.float16), jnp.bfloat16(2.0)], ids=repr
)
def test_the_loss_may_be_of_any_precision(value: Any):
    update(value=value)


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_found_in_theta(kind: Any, number: float):
    wrong = np.array(THETA["mlp"]["w0"])
    wrong[3, 1] = number
    with pytest.raises(
        ValueError, match=r"theta: 1 of the 120 numbers in leaf \['mlp'\]\['w0'\] are not finite"
    ):
        celo.celo(100, changed("mlp/w0", kind(wrong)))


def test_of_a_traced_theta_nothing_is_known():
    def step(w0: jax.Array) -> Any:
        optimizer = celo.celo(100, changed("mlp/w0", w0))  # a program may hold traced leaves and others
        return optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS, value=1.0)[0]

    jax.eval_shape(step, THETA["mlp"]["w0"])
    jax.eval_shape(jax.vmap(step), jnp.stack([THETA["mlp"]["w0"]] * 2))


def test_only_numbers_that_are_there_are_known():
    tree = {"a": jnp.ones(2), "b": np.ones(1), "c": jax.ShapeDtypeStruct((), np.float32)}
    assert list(trees.known(tree)) == ["['a']", "['b']"]
    jax.eval_shape(lambda x: x if not trees.known(x) else 1 / 0, tree["a"])


def changed(path: str, leaf: Any) -> dict[str, Any]:
    """Theta with one leaf replaced, or removed for None."""
    part, name = path.split("/")
    return {**THETA, part: {k: x for k, x in {**THETA[part], name: leaf}.items() if x is not None}}


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (
            changed("mlp/w0", jnp.zeros((30, 5))),
            r"leaf \['mlp'\]\['w0'\]: expected float32\[30, 4\], found float32\[30, 5\]",
        ),
        (
            changed("mlp/w0", jnp.zeros((30, 4), jnp.bfloat16)),
            r"expected float32\[30, 4\], found bfloat16\[30, 4\]",
        ),
        (changed("mlp/w0", np.zeros((30, 4))), r"found float64\[30, 4\]"),
        (changed("mlp/b2", None), r"missing leaf \['mlp'\]\['b2'\], expected float32\[3\]"),
        (changed("mlp/w3", jnp.zeros((3, 3))), r"unexpected leaf \['mlp'\]\['w3'\] of float32\[3, 3\]"),
        (changed("mlp/b2", 1.0), r"\['b2'\]: expected float32\[3\], found float\[\]"),
        ({}, r"missing leaf \['mlp'\]\['b0'\].*\(and 12 more\)"),
        ({"mlp": THETA["mlp"]}, r"missing leaf \['scheduler'\]"),
        (jnp.zeros(3), r"missing leaf"),
    ],
)
def test_theta_of_another_shape(theta: Any, message: str):
    for build in (lambda: celo.celo(100, theta), lambda: LEARNED.optimizer(theta, 100)):
        with pytest.raises(
            ValueError, match=r"theta does not fit Celo\(stage=2, form='exp'.*\): .*" + message
        ):
            build()


@pytest.mark.parametrize(
    ("config", "kind", "message"),
    [
        ({"stage": 0}, ValueError, r"stage is 0; expected 1 \(update rule alone\) or 2"),
        ({"stage": 3}, ValueError, "stage is 3; expected 1"),
        ({"stage": "2"}, ValueError, "stage is '2'; expected 1"),
        ({"stage": 1.0}, ValueError, r"stage is 1\.0; expected 1"),
        ({"stage": True}, ValueError, "stage is True; expected 1"),
        ({"stage": np.array([1, 2])}, ValueError, r"stage is array\(\[1, 2\]\); expected 1"),
        ({"form": "expp"}, ValueError, "form is 'expp'; expected one of 'exp', 'linear', 'linear_clip'"),
        (
            {"stag": 1},
            TypeError,
            r"celo has no option 'stag'\. Did you mean 'stage'\? Known: form, stage",
        ),
    ],
    ids=repr,
)
def test_impossible_configurations(config: dict[str, Any], kind: type[Exception], message: str):
    with pytest.raises(kind, match=message):
        celo.learned_optimizer("celo", **config)


@hypothesis.given(st.text(max_size=12).filter(lambda name: name not in celo.LEARNED))
def test_unknown_names(name: str):
    with pytest.raises(ValueError, match=r"Unknown learned optimizer .* Known: .*celo"):
        celo.learned_optimizer(name)


@pytest.mark.parametrize("name", [["celo"], {"celo": 1}, None, 3, ("celo",)], ids=repr)
def test_names_that_are_no_strings_are_unknown_too(name: Any):
    for kind, build in (
        ("learned", lambda: celo.learned_optimizer(name)),
        ("hand-designed", lambda: celo.hand_designed(name, 0.1)),
    ):
        with pytest.raises(
            ValueError, match=rf"Unknown {kind} optimizer {re.escape(repr(name))}\. ?.*Known: "
        ):
            build()


@pytest.mark.parametrize("stage", [0, 3, None, True, 1.0, 2.0, [1]])
def test_unknown_stages(stage: Any):
    with pytest.raises(ValueError, match=r"stage is .*; expected 1 \(update rule alone\) or 2"):
        LEARNED.trainable(THETA, stage)
