"""Celo's scheduler: an LSTM that sets one step size per step from the loss and the progress of training."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from celo._core import dense, loss_features, lstm
from celo._core.loss_features import LossState
from celo._core.lstm import LSTMState

HIDDEN = 64
NUM_INPUTS = len(loss_features.PROGRESS_POINTS) + loss_features.NUM_LOSS_FEATURES
FORMS = ("exp", "linear", "linear_clip")
SCALE = 0.1


class SchedulerState(NamedTuple):
    """State of the scheduler: LSTM vectors of shape (64,) and the averages of the loss."""

    lstm: LSTMState
    loss: LossState


def init(key: Array, inputs: int = NUM_INPUTS, hidden: int = HIDDEN) -> dict[str, Any]:
    """Meta-parameters: two input layers, the LSTM cell, its learned initial state and the step-size head.

    Args:
        key: random key.
        inputs: number of inputs.
        hidden: size of the LSTM.

    Returns:
        A dictionary of float32 arrays; biases and the initial state are zero.
    """
    keys = jax.random.split(key, 4)
    return {
        "mix_relu": dense.init(keys[0], inputs, hidden),
        "mix_linear": dense.init(keys[1], inputs, hidden),
        "lstm": lstm.init(keys[2], hidden, hidden),
        "initial": lstm.zero_state(hidden)._asdict(),
        "step_size": dense.init(keys[3], hidden, 1),
    }


def init_state(theta: dict[str, Any], num_steps: Array) -> SchedulerState:
    """State before the first step.

    Args:
        theta: meta-parameters as made by `init`.
        num_steps: () horizon in steps.
    """
    initial = LSTMState(theta["initial"]["hidden"], theta["initial"]["cell"])
    return SchedulerState(initial, loss_features.init(num_steps))


def inputs(state: LossState, count: Array, num_steps: Array) -> Array:
    """The scheduler's 18 inputs: nine progress features, nine loss features."""
    return jnp.concatenate([loss_features.progress_features(count, num_steps), loss_features.features(state)])


def step_size(head: dict[str, Array], hidden: Array, form: str) -> Array:
    """Step size from the LSTM's output ``x = w h + b``.

    Args:
        head: weights of the last layer.
        hidden: (..., 64) output of the LSTM.
        form: "exp": ``0.1 exp(x)``; "linear": ``x``; "linear_clip": ``max(x, 0)``.

    Returns:
        (...) step size.
    """
    x = dense.apply(head, hidden)[..., 0]
    if form == "exp":
        return SCALE * jnp.exp(x)
    return x if form == "linear" else jnp.maximum(x, 0.0)


def step(
    theta: dict[str, Any],
    state: SchedulerState,
    loss: Array,
    count: Array,
    num_steps: Array,
    form: str = "exp",
) -> tuple[Array, SchedulerState]:
    """One step of the scheduler: ``eta`` and the new state.

    With the 18 inputs z: ``x = W3 z + b3 + relu(W2 z + b2)``, ``h, c = LSTM(x, h, c)``,
    ``eta = 0.1 exp(w h + b)``.

    Args:
        theta: meta-parameters as made by `init`.
        state: state before the step.
        loss: () raw loss of this step.
        count: () steps done before this one.
        num_steps: () horizon in steps.
        form: see `step_size`.

    Returns:
        () step size and the state after the step.
    """
    loss_state = loss_features.update(state.loss, loss)
    z = inputs(loss_state, count, num_steps)
    x = dense.apply(theta["mix_linear"], z) + jax.nn.relu(dense.apply(theta["mix_relu"], z))
    memory = lstm.step(theta["lstm"], x, state.lstm)
    return step_size(theta["step_size"], memory.hidden, form), SchedulerState(memory, loss_state)
