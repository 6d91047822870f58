"""The expert: its updates against Adam and Muon, how it withdraws, and the meta-loss of imitation."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from celo import hand_designed, learned_optimizer
from celo.meta.estimators.augmentation import Augmentation
from celo.meta.estimators.expert import Expert, expert_of
from celo.meta.estimators.horizons import Horizon
from celo.meta.estimators.problem import Steps, Thetas
from celo.meta.estimators.unroll import InnerTraining
from celo.meta.tasks import Quadratic

PARAMS = {"w": jnp.ones((2, 3)), "b": jnp.ones(2)}


def gradients(count):
    keys = jax.random.split(jax.random.key(0), count)
    return [{"w": jax.random.normal(k, (2, 3)), "b": jax.random.normal(k, (2,))} for k in keys]


@pytest.fixture(scope="module")
def states():
    """States of a learned optimizer after each of five steps."""
    learned = learned_optimizer("adafac_mlp")
    optimizer = learned.optimizer(learned.init(jax.random.key(0)), 10)
    update, state, found = jax.jit(optimizer.update), optimizer.init(PARAMS), []
    for gradient in gradients(5):
        state = update(gradient, state, PARAMS, value=jnp.float32(1.0))[1]
        found.append(state)
    return found


@pytest.mark.lenient(reason="optax raises a Python float to the power of an int32 count")
def test_adam_makes_adams_steps(states):
    expert = Expert("adam", 1000)
    optimizer = hand_designed("adam", 0.3 * 1e-2)
    state = optimizer.init(PARAMS)
    for age, (gradient, seen) in enumerate(zip(gradients(5), states, strict=True)):
        updates, state = optimizer.update(gradient, state, PARAMS)
        expected: Any = updates
        found = expert.update(seen, jnp.int32(age))
        for name in PARAMS:
            np.testing.assert_allclose(found[name], expected[name], rtol=2e-4)


def test_muon_orthogonalises_matrices_and_leaves_the_rest_to_adam(states):
    found = Expert("muon", 1000).update(states[-1], jnp.int32(4))
    adam = Expert("adam", 1000).update(states[-1], jnp.int32(4))
    np.testing.assert_array_equal(found["b"], adam["b"])
    values = np.linalg.svd(found["w"] / (1e-2 * 1.5**0.5), compute_uv=False)
    assert np.all((values > 0.6) & (values < 1.3))


def test_its_rate_falls_along_a_cosine(states):
    expert = Expert("adam", 1000)
    start, late, last, beyond = (
        np.linalg.norm(expert.update(states[-1], jnp.int32(t))["b"]) for t in (8_000, 9_000, 10_000, 90_000)
    )
    assert start > late
    np.testing.assert_allclose(beyond, last, rtol=1e-3)
    middle = 1e-4 + (1e-2 - 1e-4) * 0.5 * (1 + np.cos(0.9 * np.pi))
    np.testing.assert_allclose(late / last, middle / 1e-4, rtol=1e-2)


def test_distances_are_weighed_as_published():
    """Before it withdraws imitation is all, 0.7 and 0.3; then the direction has 0.3 and the loss 0.7."""
    shape = (1, 2, 4)
    key = jax.random.split(jax.random.key(1), 2)
    loss, imitation = jax.random.normal(key[0], (*shape, 2)), jax.random.normal(key[1], (*shape, 2, 2))
    mask = jnp.ones(shape, bool).at[0, 0, 0].set(False)
    steps = Steps(loss, loss, mask, mask, loss, loss, loss, loss, imitation)
    expert = Expert("adam", 1000)

    def unit(x):
        d = np.where(mask, x[..., 0] - x[..., 1], 0.0)
        return 0.01 * d / np.sqrt(np.sum(d**2) / 7)

    task, direction, magnitude = unit(loss), unit(imitation[..., 0]), unit(imitation[..., 1])
    for iteration, expected in (
        (0, 0.7 * direction + 0.3 * magnitude),
        (275, 0.5 * direction + 0.15 * magnitude + 0.35 * task),
        (1000, 0.3 * direction + 0.7 * task),
    ):
        found = expert.differences(steps, jnp.int32(iteration), None)
        np.testing.assert_allclose(found.delta, expected, rtol=1e-4, atol=1e-8)
    np.testing.assert_array_equal(found.count, [[3.0, 4.0]])


def test_its_step_is_taken_whole_at_first_and_not_at_last():
    """Parameters after an unroll, against the learned optimizer alone."""
    learned = learned_optimizer("adafac_mlp")
    theta = learned.init(jax.random.key(0))
    members = Thetas((jax.tree.map(lambda x: x[None], theta),), jax.tree.map(lambda _: None, theta))
    task, zero = Quadratic.of([1.0, 2.0]), jnp.zeros((), jnp.int32)

    def trained(iteration, expert):
        inner = InnerTraining(learned, Augmentation("none"), Horizon(9, 9), expert)
        problem = inner.begin(members, task, jax.random.key(1), zero, offset=False)
        draws = inner.draw(task, jax.random.key(2), 1, iteration)
        after, steps = inner.unroll(members, task, problem, draws)
        return after.members.params["x"] - problem.members.params["x"], problem.members.params["x"], steps

    expert = Expert("adam", 100)
    run = jax.jit(trained, static_argnums=1)
    first, start, steps = run(jnp.int32(0), expert)
    np.testing.assert_allclose(first, -3e-3 * np.sign(start), rtol=1e-3)  # Adam's first step
    assert steps.imitation.shape == (1, 1, 2)
    last, _, _ = run(jnp.int32(100), expert)
    np.testing.assert_allclose(last, run(jnp.int32(100), None)[0], rtol=1e-5)


@pytest.mark.parametrize("name", ["celo", "velo", "velo_s", "adafac_mlp", "star", "celo2_base", "celo2_auto"])
def test_optimizers_with_averages_have_an_expert(name):
    expert = expert_of("adam", learned_optimizer(name), 10)
    assert expert.v_decay == (0.95 if name.startswith("celo2") else 0.999)


@pytest.mark.parametrize("name", ["learnable_sgd", "rnn_mlp", "nn_adam", "mlp_lopt", "celo2"])
def test_others_have_none(name):
    with pytest.raises(ValueError, match="does not keep the running averages of every parameter"):
        expert_of("muon", learned_optimizer(name), 10)
