"""What learned optimizers take and refuse: every message before anything is compiled."""

import math
import re
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import Array

import celo
from celo import LEARNED, learned_optimizer
from tests.celo.checkpoint_contents import THETA

Tree = Any

PARAMS = {"embedding": jnp.ones((3, 2)), "dense": {"kernel": jnp.full((2, 3), 0.5), "bias": jnp.ones(3)}}
READ_THE_LOSS = ("celo", "celo_adam", "celo2_auto", "velo", "velo_s", "rnn_mlp")
STAGED = ("celo", "celo2_auto")
NEED_NO_PARAMETERS = ("learnable_adam", "learnable_sgd", "learnable_sgdm")

names = pytest.mark.parametrize("name", LEARNED)


def shapes(name: str) -> Tree:
    return jax.eval_shape(learned_optimizer(name).init, jax.eval_shape(lambda: jax.random.key(0)))


def trace(name: str, **arguments: Any) -> Tree:
    """Shapes of the updates of one step, everything traced: theta, horizon, parameters and loss."""

    def step(theta: Tree, num_steps: Array, params: Tree) -> Tree:
        optimizer = learned_optimizer(name).optimizer(theta, num_steps)
        return optimizer.update(params, optimizer.init(params), **{"params": params, **arguments})[0]

    return jax.eval_shape(step, shapes(name), jnp.float32(10.0), PARAMS)


@names
def test_loss_and_parameters_are_needed_where_they_are_read(name: str):
    updates = trace(name, value=jnp.float32(1.0))
    assert jax.tree.map(lambda u: u.shape, updates) == jax.tree.map(lambda p: p.shape, PARAMS)
    if name in READ_THE_LOSS:
        with pytest.raises(ValueError, match=r"update\(grads, state, params, value=loss\)"):
            trace(name)
    else:
        trace(name)
    if name in NEED_NO_PARAMETERS:
        trace(name, value=jnp.float32(1.0), params=None)
    else:
        with pytest.raises(ValueError, match=r"reads the parameters: call update\(grads, state, params"):
            trace(name, value=jnp.float32(1.0), params=None)


@names
def test_bad_horizons_stages_and_meta_parameters_are_refused(name: str):
    theta = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes(name))
    horizons: tuple[Any, ...] = (0, -1.0, math.nan, np.ones(2))
    stages: tuple[Any, ...] = (0, 3, None, True, 1.0, [1])
    for num_steps in horizons:
        with pytest.raises(ValueError, match="num_steps"):
            learned_optimizer(name).optimizer(theta, num_steps)
    with pytest.raises(ValueError, match="theta does not fit"):
        learned_optimizer(name).optimizer({"other": theta}, 10)
    for stage in stages:
        with pytest.raises(ValueError, match=r"stage is .*; expected 1"):
            learned_optimizer(name).trainable(theta, stage)


@names
def test_stages_train_everything_between_them(name: str):
    theta, learned = shapes(name), learned_optimizer(name)
    stages = [learned.trainable(theta, stage) for stage in (1, 2)]
    for trained in stages:
        assert jax.tree.structure(trained) == jax.tree.structure(theta)
        assert any(jax.tree.leaves(trained)), "a stage that trains nothing cannot be run"
    assert all(map(any, zip(*map(jax.tree.leaves, stages), strict=True)))
    both = [all(pair) for pair in zip(*map(jax.tree.leaves, stages), strict=True)]
    assert set(both) == ({False} if name in STAGED else {True})
    if name in STAGED:
        assert all(jax.tree.leaves((stages[0]["mlp"], stages[1]["scheduler"])))


@pytest.mark.parametrize(
    ("num_steps", "kind", "message"),
    [
        (0, ValueError, "is 0; expected a finite number of at least 1"),
        (0.99, ValueError, "is 0.99; expected"),
        (np.float64(-3), ValueError, "expected a finite number of at least 1"),
        (math.nan, ValueError, "is nan; expected"),
        (math.inf, ValueError, "is inf; expected"),
        (1e39, ValueError, r"is 1e\+39; expected"),
        (1.5, TypeError, r"is 1\.5; expected a whole number of steps"),
        (np.array([100, 200]), ValueError, r"has shape \(2,\)"),
        (jnp.ones((1,)), ValueError, r"has shape \(1,\)"),
        (1j, ValueError, "dtype complex128; expected a real scalar"),
        ("100", TypeError, "is '100'; expected the number of training steps"),
        (None, TypeError, "is None"),
        (True, TypeError, "is True"),
    ],
    ids=repr,
)
def test_impossible_horizons(num_steps: Any, kind: type[Exception], message: str):
    with pytest.raises(kind, match=message):
        celo.celo(num_steps, THETA)


def test_a_traced_horizon_must_be_a_scalar():
    with pytest.raises(ValueError, match=r"num_steps has shape \(3,\); expected a scalar \(use vmap"):
        jax.eval_shape(lambda n: celo.celo(n, THETA).init(PARAMS), jnp.ones(3))
    state: Any = jax.eval_shape(lambda n: celo.celo(n, THETA).init(PARAMS), jnp.int32(3))
    assert state.num_steps.dtype == jnp.float32


@pytest.mark.parametrize(
    "value",
    ["a", (1.0, {"accuracy": 0.5}), abs, 1j, 1, True, jnp.int32(2), jnp.ones(2)],
    ids=lambda value: type(value).__name__,
)
def test_the_loss_must_be_a_scalar_number(value: Any):
    with pytest.raises((TypeError, ValueError), match=r"value (is|has shape) .*; expected the scalar loss"):
        trace("celo", value=value)


@pytest.mark.parametrize("value", [0.5, np.float64(0.5), np.ones((), np.float16), jnp.bfloat16(2.0)])
def test_the_loss_may_be_of_any_precision(value: Any):
    trace("celo", value=value)


def changed(path: str, leaf: Any) -> dict[str, Any]:
    """Theta with one leaf replaced, or removed for None."""
    part, name = path.split("/")
    return {**THETA, part: {k: x for k, x in {**THETA[part], name: leaf}.items() if x is not None}}


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray])
@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_are_found_in_theta(kind: Any, number: float):
    wrong = THETA["mlp"]["w0"].copy()
    wrong[3, 1] = number
    with pytest.raises(ValueError, match=r"1 of the 120 numbers in leaf \['mlp'\]\['w0'\] are not finite"):
        celo.celo(100, changed("mlp/w0", kind(wrong)))


def test_of_a_traced_theta_nothing_is_known():
    def step(w0: Array) -> Any:
        optimizer = celo.celo(100, changed("mlp/w0", w0))  # a program may hold traced leaves and others
        return optimizer.update(PARAMS, optimizer.init(PARAMS), PARAMS, value=1.0)[0]

    jax.eval_shape(jax.vmap(step), jnp.stack([THETA["mlp"]["w0"]] * 2))


@pytest.mark.parametrize(
    ("theta", "message"),
    [
        (changed("mlp/w0", jnp.zeros((30, 5))), r"\['w0'\]: expected float32\[30, 4\], found float32\[30, 5"),
        (changed("mlp/w0", jnp.zeros((30, 4), jnp.bfloat16)), r"found bfloat16\[30, 4\]"),
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
    with pytest.raises(ValueError, match=r"theta does not fit Celo\(stage=2, form='exp'.*\): .*" + message):
        celo.celo(100, theta)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        *(("celo", {"stage": x}, "stage is") for x in (0, 3, "2", 1.0, True, np.array([1, 2]))),
        ("celo", {"form": "cubic"}, "form is 'cubic'; expected one of 'exp', 'linear', 'linear_clip'"),
        ("celo", {"tensor_features": "yes"}, "tensor_features is 'yes'; expected one of False, True"),
        ("celo", {"stag": 1}, "celo has no option 'stag'. Did you mean 'stage'? Known: form, stage"),
        ("velo", {"hidden": 0}, "hidden is 0; expected a whole number of at least 1"),
        ("velo", {"bank": 2.5}, "bank is 2.5; expected a whole number"),
        *(("velo_s", {"ff_mult": x}, f"ff_mult is {x!r}; expected") for x in (-1.0, math.nan, "abc", True)),
        ("velo_s", {"hidden": 1}, "velo_s has no option 'hidden'"),
        ("adafac_mlp", {"stage": 1}, "adafac_mlp has no option 'stage'"),
        ("star", {"weight_decay": "x"}, "weight_decay is 'x'; expected a number in [0, 1)"),
        ("star", {"weight_decay": 1.0}, "weight_decay is 1.0; expected a number in [0, 1)"),
        ("star", {"nominal_step": None}, "nominal_step is None; expected a number of at least 0"),
        ("star", {"nominal_step": 10**400}, "expected a number of at least 0"),
        ("star", {"nominal_step": -0.1}, "nominal_step is -0.1"),
        *(("star", {"precondition": x}, f"precondition is {x!r}; expected one of") for x in ("no", 1)),
        *(("celo2", {"adam_paths": x}, "expected globs") for x in (3, "^(a+)+$", "a.*")),
    ],
)
def test_bad_configurations_are_refused(name: str, config: dict[str, Any], message: str):
    with pytest.raises((ValueError, TypeError), match=re.escape(message)):
        learned_optimizer(name, **config)


@hypothesis.given(st.text(max_size=12).filter(lambda name: name not in {*LEARNED, *celo.HAND_DESIGNED}))
def test_unknown_names(name: str):
    for build in (lambda: learned_optimizer(name), lambda: celo.hand_designed(name, 0.1)):
        with pytest.raises(ValueError, match=r"Unknown .* optimizer .* Known: .*adam"):
            build()


@pytest.mark.parametrize("name", [["celo"], {"celo": 1}, None, 3, ("celo",)], ids=repr)
def test_names_that_are_no_strings_are_unknown_too(name: Any):
    for build in (lambda: learned_optimizer(name), lambda: celo.hand_designed(name, 0.1)):
        with pytest.raises(ValueError, match=rf"Unknown .* optimizer {re.escape(repr(name))}\. ?.*Known: "):
            build()
