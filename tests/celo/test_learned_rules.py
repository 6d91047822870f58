"""Learned optimizers and their parts where no vectors are: closed forms, and two routes to one number."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax import Array

from celo import hand_designed, learned_optimizer
from celo._core import mlp, newton_schulz, scheduler
from tests.celo.contract import quick_jit

Tree = Any


def normal(seed: int, *shape: int) -> Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def problem() -> tuple[Tree, list[Tree], list[Array]]:
    """Parameters, three gradients and three losses."""
    params = {"w": normal(1, 4, 3), "b": normal(2, 3)}
    grads = [jax.tree.map(lambda p, seed=seed: normal(seed, *p.shape), params) for seed in (3, 4, 5)]
    return params, grads, [jnp.float32(x) for x in (2.0, 1.5, 1.25)]


def updates_of(optimizer: optax.GradientTransformationExtraArgs) -> list[Tree]:
    """The updates of three steps from one state; the parameters stay where they are."""
    params, grads, losses = problem()

    @quick_jit
    def run() -> list[Tree]:
        state, found = optimizer.init(params), []
        for g, loss in zip(grads, losses, strict=True):
            updates, state = optimizer.update(g, state, params, value=loss)
            found.append(updates)
        return found

    return run()


def assert_same(found: list[Tree], expected: list[Tree], rtol: float = 1e-5) -> None:
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-7 * float(jnp.max(jnp.abs(b))))


def init(name: str, **config: Any) -> Tree:
    return learned_optimizer(name, **config).init(jax.random.key(0))


def zeros_like(theta: Tree) -> Tree:
    return jax.tree.map(jnp.zeros_like, theta)


@pytest.mark.parametrize("precondition", [False, True])
def test_star_starts_from_its_nominal_step_and_its_decay(precondition: bool):
    config = {"nominal_step": 0.01, "weight_decay": 0.1, "precondition": precondition}
    found = updates_of(learned_optimizer("star", **config).optimizer(init("star"), 100))
    params, grads, _ = problem()
    for tensor, p in params.items():
        m, v = np.zeros((3, *p.shape)), np.zeros(p.shape)
        for updates, g in zip(found, (np.asarray(g[tensor], np.float64) for g in grads), strict=True):
            m = np.stack([d * x + (1 - d) * g for d, x in zip((0.9, 0.99, 0.999), m, strict=True)])
            v = 0.999 * v + 0.001 * g**2
            nominal = np.mean(m, axis=0) / np.sqrt(v + 1e-6)
            np.testing.assert_allclose(updates[tensor], -0.01 * nominal - 0.1 * p, rtol=1e-4)


@pytest.mark.parametrize("precondition", [False, True])
def test_star_without_a_nominal_step_is_the_small_mlp(precondition: bool):
    theta = init("star")
    theta["mlp"]["w2"] = normal(8, *theta["mlp"]["w2"].shape)
    small = {**theta["mlp"], "w2": theta["mlp"]["w2"][:, :2], "b2": theta["mlp"]["b2"][:2]}
    star = learned_optimizer("star", nominal_step=0.0, precondition=precondition).optimizer(theta, 100)
    expected = updates_of(learned_optimizer("adafac_mlp").optimizer({**theta, "mlp": small}, 100))
    if precondition:
        _, grads, _ = problem()
        v = jax.tree.map(jnp.zeros_like, grads[0])
        for step, g in enumerate(grads):
            v = jax.tree.map(lambda v, g: 0.999 * v + 0.001 * g**2, v, g)
            expected[step] = jax.tree.map(lambda u, v: u / jnp.sqrt(v + 1e-6), expected[step], v)
    assert_same(updates_of(star), expected, rtol=1e-4)


def test_learnable_adam_starts_as_adam_and_its_decays_stay_decays():
    learned, theta = learned_optimizer("learnable_adam"), init("learnable_adam")
    for change, b1 in ({}, 0.9), ({"log_one_minus_b1": jnp.float32(3.0)}, 0.0):
        found = updates_of(learned.optimizer(theta | change, 100))
        assert_same(found, updates_of(hand_designed("adam", 1e-3, b1=b1)))


def test_learnable_sgd_descends_at_its_rate():
    theta = {"log_learning_rate": jnp.float32(np.log(0.25))}
    found = updates_of(learned_optimizer("learnable_sgd").optimizer(theta, 100))
    assert_same(found, [jax.tree.map(lambda g: -0.25 * g, g) for g in problem()[1]])


def test_learnable_sgdm_starts_as_momentum_and_its_momentum_stays_a_decay():
    learned, theta = learned_optimizer("learnable_sgdm"), init("learnable_sgdm")
    for change, momentum in ({}, 0.9), ({"log_one_minus_momentum": jnp.float32(3.0)}, 0.0):
        found = updates_of(learned.optimizer(theta | change, 100))
        assert_same(found, updates_of(hand_designed("sgdm", 1e-2, momentum=momentum)))


def with_constant_controls(theta: Tree, step_size: float) -> Tree:
    """VeLO's meta-parameters with heads that ignore the LSTM: controls of 1 and this step size."""
    heads = zeros_like({"controls": theta["controls"], "step_size": theta["scheduler"]["step_size"]})
    heads["controls"]["b"] = heads["controls"]["b"] + 1.0
    heads["step_size"]["b"] = heads["step_size"]["b"] + step_size
    return {
        **theta,
        "controls": heads["controls"],
        "scheduler": {**theta["scheduler"], "step_size": heads["step_size"]},
    }


@pytest.mark.slow
def test_velo_with_constant_controls_is_celo_with_the_mean_of_the_bank():
    learned = learned_optimizer("velo", hidden=8, bank=3, ff_mult=2.0)
    theta = with_constant_controls(learned.init(jax.random.key(0)), 0.5)
    mean = {name: 2.0 * jnp.mean(w, axis=0) for name, w in theta["bank"].items()}
    celo = learned_optimizer("celo", stage=1).optimizer(init("celo") | {"mlp": mean}, 100)
    expected = jax.tree.map(lambda u: 0.5 * u, updates_of(celo))
    assert_same(updates_of(learned.optimizer(theta, 100)), expected)


def test_a_scheduler_blind_to_tensors_gives_all_of_them_celos_step_size():
    learned = learned_optimizer("celo", tensor_features=True)
    theta = learned.init(jax.random.key(1))
    blind = theta["scheduler"]
    for layer in ("mix_relu", "mix_linear"):
        blind = blind | {layer: blind[layer] | {"w": blind[layer]["w"].at[18:].set(0.0)}}
    plain = theta["scheduler"]
    for layer in ("mix_relu", "mix_linear"):
        plain = plain | {layer: plain[layer] | {"w": plain[layer]["w"][:18]}}
    found = updates_of(learned.optimizer(theta | {"scheduler": blind}, 100))
    expected = updates_of(learned_optimizer("celo").optimizer(theta | {"scheduler": plain}, 100))
    assert_same(found, expected)
    seeing = updates_of(learned.optimizer(theta, 100))
    ratios = [
        jnp.sum(a) / jnp.sum(b)
        for a, b in zip(*map(jax.tree.leaves, (seeing[1:], expected[1:])), strict=True)
    ]
    assert np.ptp(ratios) > 0.01  # the features are seen, and differ between tensors


@pytest.mark.parametrize(
    ("form", "bias", "eta"), [("linear", -0.5, -0.05), ("linear_clip", -0.5, 0.0), ("linear_clip", 2.0, 0.2)]
)
def test_linear_step_sizes_have_the_multiplier_of_the_exponential_ones(form: str, bias: float, eta: float):
    learned = learned_optimizer("celo", form=form)
    theta = init("celo")
    head = {"w": jnp.zeros((64, 1)), "b": jnp.array([bias])}
    theta = theta | {"scheduler": theta["scheduler"] | {"step_size": head}}
    stage_1 = updates_of(learned_optimizer("celo", stage=1).optimizer(theta, 100))
    assert_same(updates_of(learned.optimizer(theta, 100)), jax.tree.map(lambda u: eta * u, stage_1))


def test_a_tensors_features_know_no_unit():
    """Scaling parameters, momenta and the root of v by one number changes only what v shows."""
    p, momenta, v = normal(0, 4, 3), [0.1 * normal(i, 4, 3) for i in (1, 2, 3)], 0.1 * normal(4, 4, 3) ** 2
    before = scheduler.tensor_features(p, momenta, v)
    after = scheduler.tensor_features(3.0 * p, [3.0 * m for m in momenta], 3.0 * v)
    np.testing.assert_allclose(before, after, rtol=1e-5)
    np.testing.assert_array_equal(before[1:6], [0, 0, 1, 0, 0])  # the rank counts axes longer than one
    wide = normal(5, 3, 1, 2, 2)
    np.testing.assert_array_equal(scheduler.tensor_features(wide, [wide] * 3, wide)[1:6], [0, 0, 0, 1, 0])


@pytest.mark.slow
def test_tensors_in_another_order_get_the_same_steps():
    learned = learned_optimizer("velo_s")
    optimizer = learned.optimizer(learned.init(jax.random.key(0)), 100)
    params, grads, losses = problem()

    def step(keys: tuple[str, ...]) -> Tree:
        p, g = ([tree[key] for key in keys] for tree in (params, grads[0]))
        updates: Any = optimizer.update(g, optimizer.init(p), p, value=losses[0])[0]
        return dict(zip(keys, updates, strict=True))

    assert_same([step(("w", "b"))], [step(("b", "w"))])


def test_context_in_the_biases_is_context_in_the_inputs():
    theta = mlp.init(jax.random.key(0), (5, 4, 2))
    inputs, context = [normal(i, 3, 2) for i in range(3)], normal(9, 2)
    broadcast = [*inputs, *(jnp.full((3, 2), x) for x in context)]
    scales = jnp.concatenate([normal(7, 3), jnp.ones(2)])
    found = mlp.apply(mlp.condition(theta, context), inputs, scales[:3])
    np.testing.assert_allclose(found, mlp.apply(theta, broadcast, scales), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(), (4,), (3, 5), (2, 1, 3)])
def test_wide_and_narrow_mlps_agree(shape: tuple[int, ...]):
    theta, scales = mlp.init(jax.random.key(0), (3, 6, 6, 2)), normal(7, 3)
    row = normal(0, *shape) if len(shape) < 2 else normal(0, *shape[:-1], 1)
    inputs = [row, normal(1, *shape), normal(2, *shape)]
    found = mlp.apply_wide(theta, inputs, scales)
    expected = jnp.stack([jnp.broadcast_to(y, shape) for y in mlp.apply(theta, inputs, scales)])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("shape", [(6, 4), (4, 6), (2, 3, 5, 5)])
def test_orthogonalised_matrices_keep_their_singular_vectors(shape: tuple[int, ...]):
    x = normal(0, *shape)
    u, s, vt = np.linalg.svd(np.asarray(x), full_matrices=False)
    found = np.einsum("...ji,...jk,...lk->...il", u, np.asarray(newton_schulz.orthogonalise(x)), vt)
    singular = np.diagonal(found, axis1=-2, axis2=-1)
    off = found - singular[..., None] * np.eye(s.shape[-1])
    np.testing.assert_allclose(off, 0.0, atol=1e-4)
    large = s > 0.02 * np.linalg.norm(s, axis=-1, keepdims=True)
    assert np.all((singular[large] > 0.65) & (singular[large] < 1.25))
    assert np.sum(large) >= large.size - 2
    np.testing.assert_array_equal(newton_schulz.orthogonalise(jnp.zeros((3, 2))), 0.0)
