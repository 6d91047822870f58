"""NAdamW against steps written out in numpy; the evaluation iterate of schedule-free AdamW."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from celo.baselines import HAND_DESIGNED, eval_params, hand_designed

P0 = np.linspace(-1.0, 2.0, 6).reshape(3, 2)
GRADIENTS = [np.cos(5.0 * P0 + t) for t in range(4)]


def trajectory(optimizer: optax.GradientTransformation) -> Any:
    params: Any = jnp.asarray(P0, jnp.float32)
    state = optimizer.init(params)
    for g in GRADIENTS:
        updates, state = optimizer.update(jnp.asarray(g, jnp.float32), state, params)
        params = optax.apply_updates(params, updates)
    return params


@pytest.mark.parametrize("nesterov", [True, False])
def test_nadamw_is_the_rule_of_the_list(nesterov: bool):
    """Also traced, its options under one `vmap`."""
    b1, b2, eps, adamw, l2 = 0.8, 0.95, 0.1, 0.3, 0.2
    p, m, v = P0.copy(), np.zeros_like(P0), np.zeros_like(P0)
    for t, g in enumerate(GRADIENTS, 1):
        g = g - l2 * p  # the reference's sign
        m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
        rate = 0.1 * np.sqrt(1 - b2**t) / (1 - b1**t)
        numerator = b1 * m + (1 - b1) * g if nesterov else m
        p = p - rate * (numerator / (np.sqrt(v) + eps) + adamw * p)
    options = {"b1": b1, "b2": b2, "eps": eps, "adamw_weight_decay": adamw, "l2_weight_decay": l2}
    ours = trajectory(hand_designed("nadamw", 0.1, nesterov=nesterov, **options))
    np.testing.assert_allclose(ours, p, rtol=1e-5)
    stacked = jax.tree.map(lambda x: jnp.array([x, 0.0]), {**options, "nesterov": float(nesterov)})

    def traced(options: dict[str, Any]) -> Any:
        options = {**options, "nesterov": options["nesterov"] > 0.5}
        return trajectory(hand_designed("nadamw", 0.1, **options))

    np.testing.assert_allclose(jax.vmap(traced)(stacked)[0], p, rtol=1e-5)


def schedule_free_run(optimizer: optax.GradientTransformation) -> tuple[Any, Any]:
    params: Any = {"w": jnp.asarray(P0, jnp.float32), "b": jnp.ones(2)}
    state = optimizer.init(params)
    for g in GRADIENTS[:2]:
        grads = {"w": jnp.asarray(g, jnp.float32), "b": jnp.ones(2)}
        updates, state = optimizer.update(grads, state, params)
        params = optax.apply_updates(params, updates)
    return state, params


def test_the_evaluation_iterate_is_the_average_of_z():
    # Equal weights: x is the mean of z after the first and the second step, and y the iterate being trained.
    state, params = schedule_free_run(hand_designed("schedule_free_adamw", 0.1))
    z = state.z
    x = eval_params(state, params)
    first = P0 - 0.1 * np.sign(GRADIENTS[0])
    np.testing.assert_allclose(x["w"], (first + np.asarray(z["w"])) / 2, rtol=1e-4)
    np.testing.assert_allclose(params["w"], 0.9 * np.asarray(x["w"]) + 0.1 * np.asarray(z["w"]), rtol=1e-5)
    jax.tree.map(np.testing.assert_array_equal, x, optax.contrib.schedule_free_eval_params(state, params))


def test_the_schedule_free_state_is_found_at_any_depth():
    method = hand_designed("schedule_free_adamw", 0.1)
    state, params = schedule_free_run(method)
    expected = eval_params(state, params)
    wrappings = [
        optax.chain(optax.identity(), method),
        optax.chain(optax.chain(method), optax.identity()),
        optax.inject_hyperparams(HAND_DESIGNED["schedule_free_adamw"], static_args="warmup_steps")(0.1),
        optax.apply_if_finite(method, 3),
    ]
    for wrapped in wrappings:
        found = eval_params(*schedule_free_run(wrapped))
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5), found, expected)


def test_parameters_trained_otherwise_are_left_alone():
    labels = {"w": "free", "b": "sgd"}
    parts: Any = {"free": hand_designed("schedule_free_adamw", 0.1), "sgd": hand_designed("sgd", 0.1)}
    state, params = schedule_free_run(optax.multi_transform(parts, labels))
    free_state, free_params = schedule_free_run(parts["free"])
    found = eval_params(state, params)
    np.testing.assert_array_equal(found["b"], params["b"])
    np.testing.assert_allclose(found["w"], eval_params(free_state, free_params)["w"], rtol=1e-5)


@pytest.mark.parametrize("name", [name for name in HAND_DESIGNED if "schedule_free" not in name])
def test_other_methods_are_judged_where_they_train(name: str):
    params = {"w": jnp.ones(2)}
    assert eval_params(hand_designed(name, 0.1).init(params), params) is params
