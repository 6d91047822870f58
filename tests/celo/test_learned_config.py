"""What every learned optimizer takes and refuses; and the learning rate of Celo2."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from celo import LEARNED, learned_optimizer
from celo.learned.celo2 import Celo2

Tree = Any

PARAMS = {"embedding": jnp.ones((3, 2)), "dense": {"kernel": jnp.full((2, 3), 0.5), "bias": jnp.ones(3)}}
READ_THE_LOSS = ("celo", "celo_adam", "velo", "velo_s", "rnn_mlp")
NEED_NO_PARAMETERS = ("learnable_adam", "learnable_sgd")

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
def test_theta_and_horizon_may_be_traced(name: str):
    updates = trace(name, value=jnp.float32(1.0))
    assert jax.tree.map(lambda u: u.shape, updates) == jax.tree.map(lambda p: p.shape, PARAMS)


@names
def test_a_missing_loss_is_an_error_where_it_is_read(name: str):
    if name in READ_THE_LOSS:
        with pytest.raises(ValueError, match="value=loss"):
            trace(name)
    else:
        trace(name)


@names
def test_missing_parameters_are_an_error_where_they_are_read(name: str):
    if name in NEED_NO_PARAMETERS:
        trace(name, value=jnp.float32(1.0), params=None)
    else:
        with pytest.raises(ValueError, match="reads the parameters"):
            trace(name, value=jnp.float32(1.0), params=None)


@names
@pytest.mark.parametrize("num_steps", [0, -1.0, float("nan"), np.ones(2)])
def test_bad_horizons_are_refused(name: str, num_steps: Any):
    theta = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes(name))
    with pytest.raises(ValueError, match="num_steps"):
        learned_optimizer(name).optimizer(theta, num_steps)


@names
def test_meta_parameters_of_another_optimizer_are_refused(name: str):
    other = "mlp_lopt" if name != "mlp_lopt" else "celo"
    learned = learned_optimizer(name)
    with pytest.raises(ValueError, match="theta does not fit"):
        jax.eval_shape(lambda theta: learned.optimizer(theta, 10).init(PARAMS), shapes(other))


@names
def test_stages_train_everything_between_them(name: str):
    theta, learned = shapes(name), learned_optimizer(name)
    stages = [learned.trainable(theta, stage) for stage in (1, 2)]
    for trained in stages:
        assert jax.tree.structure(trained) == jax.tree.structure(theta)
        assert any(jax.tree.leaves(trained)), "a stage that trains nothing cannot be run"
    assert all(map(any, zip(*map(jax.tree.leaves, stages), strict=True)))
    both = [all(pair) for pair in zip(*map(jax.tree.leaves, stages), strict=True)]
    assert set(both) == ({False} if name == "celo" else {True})
    with pytest.raises(ValueError, match="stage is 3"):
        learned.trainable(theta, 3)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("velo", {"hidden": 0}, "hidden is 0; expected a whole number of at least 1"),
        ("velo", {"bank": 2.5}, "bank is 2.5; expected a whole number"),
        ("velo_s", {"ff_mult": -1.0}, "ff_mult is -1.0; expected a positive number"),
        ("velo_s", {"ff_mult": float("nan")}, "ff_mult is nan"),
        ("velo_s", {"ff_mult": "abc"}, "ff_mult is 'abc'; expected a positive number"),
        ("velo_s", {"ff_mult": True}, "ff_mult is True; expected a positive number"),
        ("star", {"weight_decay": "x"}, "weight_decay is 'x'; expected a number in [0, 1)"),
        ("star", {"nominal_step": None}, "nominal_step is None; expected a number of at least 0"),
        ("star", {"nominal_step": 10**400}, "expected a number of at least 0"),
        ("star", {"precondition": "no"}, "precondition is 'no'; expected one of False, True"),
        ("celo", {"form": "cubic"}, "form is 'cubic'; expected one of 'exp', 'linear', 'linear_clip'"),
        ("celo", {"tensor_features": "yes"}, "tensor_features is 'yes'; expected one of False, True"),
        ("star", {"nominal_step": -0.1}, "nominal_step is -0.1"),
        ("star", {"weight_decay": 1.0}, "weight_decay is 1.0; expected a number in [0, 1)"),
        ("celo2", {"adam_paths": 3}, "adam_paths is 3; expected globs separated by |"),
        ("celo2", {"adam_paths": "^(a+)+$"}, "of a regular expression; expected globs"),
        ("celo2", {"adam_paths": "a.*"}, "of a regular expression; expected globs"),
        ("star", {"precondition": 1}, "precondition is 1; expected one of False, True"),
    ],
)
def test_bad_configurations_are_refused(name: str, config: dict[str, Any], message: str):
    with pytest.raises(ValueError, match=re.escape(message)):
        learned_optimizer(name, **config)


@pytest.mark.parametrize(
    ("name", "field"), [("velo_s", "hidden"), ("adafac_mlp", "stage"), ("celo2", "form")]
)
def test_fields_of_others_are_refused(name: str, field: str):
    with pytest.raises(TypeError, match=f"{name} has no option '{field}'"):
        learned_optimizer(name, **{field: 1})


@pytest.mark.slow
@pytest.mark.parametrize("name", ["celo2", "celo2_base"])
def test_the_rate_scales_the_step_and_the_decay(name: str):
    learned: Any = learned_optimizer(name)
    theta = learned.init(jax.random.key(0))
    grads = jax.tree.map(lambda p: jnp.arange(float(p.size)).reshape(p.shape) - 1.0, PARAMS)

    def first(**options: Any) -> Tree:
        optimizer = learned.optimizer(theta, 10, **options)
        return optimizer.update(grads, optimizer.init(PARAMS), PARAMS)[0]

    plain, double = first(), first(learning_rate=0.002)
    scheduled = first(learning_rate=optax.linear_schedule(0.002, 0.0, 10))
    decayed = first(weight_decay=0.1)
    adam = learned.labels(PARAMS) if name == "celo2" else jax.tree.map(lambda _: "learned", PARAMS)
    for u, v, w, x, p, label in zip(
        *map(jax.tree.leaves, (plain, double, scheduled, decayed, PARAMS, adam)), strict=True
    ):
        np.testing.assert_allclose(v, 2.0 * u, rtol=1e-6)
        np.testing.assert_allclose(v, w, rtol=1e-6)
        rate = 0.001 * (20.0 if label == "adam" else 1.0)
        np.testing.assert_allclose(x, u - rate * 0.1 * p, rtol=1e-5, atol=1e-9)
        if label == "learned":
            np.testing.assert_allclose(jnp.mean(jnp.square(u)), 1e-6, rtol=1e-3)


def test_a_schedule_of_celo2_goes_on_with_the_steps():
    learned = Celo2(adam_paths="")
    theta = learned.init(jax.random.key(0))
    rates = jnp.array([0.1, 0.0, 0.3])
    optimizer = learned.optimizer(theta, 3, learning_rate=lambda count: rates[count])
    state, sizes, update = optimizer.init(PARAMS), [], jax.jit(optimizer.update)
    for _ in range(3):
        updates, state = update(PARAMS, state, PARAMS)
        sizes.append(float(jnp.sqrt(jnp.mean(jnp.square(jax.tree.leaves(updates)[1])))))
    np.testing.assert_allclose(sizes, rates, rtol=1e-3)


def test_the_rate_of_celo2_may_be_injected():
    theta = Celo2().init(jax.random.key(0))

    def build(learning_rate: float, weight_decay: float) -> optax.GradientTransformationExtraArgs:
        return Celo2().optimizer(theta, 10, learning_rate, weight_decay)

    plain, injected = build(0.1, 0.2), optax.inject_hyperparams(build)(0.1, 0.2)
    expected, _ = plain.update(PARAMS, plain.init(PARAMS), PARAMS)
    state: Any = injected.init(PARAMS)
    found, _ = injected.update(PARAMS, state, PARAMS)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-6), found, expected)
    assert set(state.hyperparams) == {"learning_rate", "weight_decay"}


@pytest.mark.parametrize(
    ("path", "shape", "label"),
    [
        ("kernel", (2, 2), "learned"),
        ("kernel", (2, 2, 2, 2), "learned"),
        ("bias", (2,), "adam"),
        ("scale", (), "adam"),
        ("tok_embed", (4, 2), "adam"),
        ("Embed_0", (4, 2), "adam"),
        ("lm_head", (2, 4), "adam"),
        ("head", (2, 4), "adam"),
        ("MultiHeadAttention_0", (2, 4), "learned"),
        ("multi_head_attention", (2, 4), "learned"),
    ],
)
def test_which_parameters_take_adam(path: str, shape: tuple[int, ...], label: str):
    assert Celo2().labels({path: {"w": jnp.zeros(shape)}}) == {path: {"w": label}}
    assert Celo2(adam_paths="").labels({path: jnp.zeros(shape)}) == {path: "learned"}
    assert Celo2(adam_paths="kernel").labels({path: jnp.zeros(shape)}) == {
        path: "adam" if path == "kernel" else "learned"
    }


@pytest.mark.parametrize("rate", [-0.1, float("nan"), "fast"])
def test_bad_rates_are_refused(rate: Any):
    theta = Celo2().init(jax.random.key(0))
    with pytest.raises((ValueError, TypeError), match="learning_rate is"):
        Celo2().optimizer(theta, 10, learning_rate=rate)
