"""The learning rate, the weight decay and the routing of Celo2."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from celo import learned_optimizer
from celo.learned.celo2 import Celo2
from tests.celo.checkpoint_contents import random_theta
from tests.celo.contract import quick_jit

Tree = Any

PARAMS = {"embedding": jnp.ones((3, 2)), "dense": {"kernel": jnp.full((2, 3), 0.5), "bias": jnp.ones(3)}}


@pytest.mark.slow
@pytest.mark.parametrize("name", ["celo2", "celo2_base"])
def test_the_rate_scales_the_step_and_the_decay(name: str):
    learned: Any = learned_optimizer(name)
    theta = random_theta(name)
    grads = jax.tree.map(lambda p: jnp.arange(float(p.size)).reshape(p.shape) - 1.0, PARAMS)

    def first(**options: Any) -> Tree:
        optimizer = learned.optimizer(theta, 10, **options)
        return quick_jit(optimizer.update)(grads, optimizer.init(PARAMS), PARAMS)[0]

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
    theta = random_theta("celo2")
    rates = jnp.array([0.1, 0.0, 0.3])
    optimizer = learned.optimizer(theta, 3, learning_rate=lambda count: rates[count])
    state, sizes, update = optimizer.init(PARAMS), [], quick_jit(optimizer.update)
    for _ in range(3):
        updates, state = update(PARAMS, state, PARAMS)
        sizes.append(float(jnp.sqrt(jnp.mean(jnp.square(jax.tree.leaves(updates)[1])))))
    np.testing.assert_allclose(sizes, rates, rtol=1e-3)


def test_the_rate_of_celo2_may_be_injected():
    theta = random_theta("celo2")

    def build(learning_rate: float, weight_decay: float) -> optax.GradientTransformationExtraArgs:
        return Celo2().optimizer(theta, 10, learning_rate, weight_decay)

    plain, injected = build(0.1, 0.2), optax.inject_hyperparams(build)(0.1, 0.2)
    expected, _ = quick_jit(plain.update)(PARAMS, plain.init(PARAMS), PARAMS)
    state: Any = injected.init(PARAMS)
    found, _ = quick_jit(injected.update)(PARAMS, state, PARAMS)
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
        ("lm_head", (2, 4), "adam"),
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
    theta = random_theta("celo2")
    with pytest.raises((ValueError, TypeError), match="learning_rate is"):
        Celo2().optimizer(theta, 10, learning_rate=rate)


@pytest.mark.parametrize("orthogonal", [False, True])
def test_celo2_auto_is_the_direction_of_celo2_times_the_step_size(orthogonal: bool):
    """Stage 1 is Celo2 at its default rate; the scheduler multiplies ten times that by eta, nothing else."""
    auto = learned_optimizer("celo2_auto", orthogonal=orthogonal)
    theta = auto.init(jax.random.key(0))
    rule: Any = Celo2(adam_paths="") if orthogonal else learned_optimizer("celo2_base")
    plain = rule.optimizer({"mlp": theta["mlp"]}, 10)
    first = learned_optimizer("celo2_auto", orthogonal=orthogonal, stage=1).optimizer(theta, 10)
    full = auto.optimizer(theta, 10)

    @quick_jit
    def run() -> list[Tree]:
        states: list[Any] = [one.init(PARAMS) for one in (plain, first, full)]
        found = []
        for scale, loss in ((1.0, 2.0), (-0.5, 1.5), (0.25, 1.75)):
            ramps = jax.tree.map(lambda p: jnp.arange(float(p.size)).reshape(p.shape) - 1.0, PARAMS)
            grads = jax.tree.map(lambda x, scale=scale: scale * x, ramps)
            updates = []
            for i, one in enumerate((plain, first, full)):
                update, states[i] = one.update(grads, states[i], PARAMS, value=jnp.float32(loss))
                updates.append(update)
            found.append((*updates, states[2].eta))
        return found

    etas = []
    for expected, alone, scaled, eta in run():
        etas.append(float(eta))
        for u, v, w in zip(*map(jax.tree.leaves, (expected, alone, scaled)), strict=True):
            np.testing.assert_allclose(v, u, rtol=1e-5, atol=1e-9)
            np.testing.assert_allclose(w, 10.0 * eta * u, rtol=1e-5, atol=1e-9)
    assert len(set(etas)) == 3  # the scheduler moves
    np.testing.assert_allclose(etas[0], 0.1, rtol=0.5)


def test_celo2_auto_trains_its_parts_apart():
    auto = learned_optimizer("celo2_auto")
    theta = auto.init(jax.random.key(0))
    for stage, parts in ("rule", {"mlp"}), ("scheduler", {"scheduler"}), ("both", {"mlp", "scheduler"}):
        trained = auto.trainable(theta, stage)
        assert {part for part, tree in trained.items() if all(jax.tree.leaves(tree))} == parts
        assert {part for part, tree in trained.items() if any(jax.tree.leaves(tree))} == parts
