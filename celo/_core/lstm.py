"""One LSTM cell as the released checkpoints have it (haiku's: gates i, g, f, o; forget bias plus one)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from celo._core import mlp


class LSTMState(NamedTuple):
    """Hidden and cell vectors, each (..., hidden)."""

    hidden: Array
    cell: Array


def init(key: Array, inputs: int, hidden: int) -> dict[str, Array]:
    """Weights of the cell: ``w (inputs + hidden, 4 hidden)``, ``b (4 hidden,)``."""
    return {
        "w": mlp.truncated_normal(key, (inputs + hidden, 4 * hidden), inputs + hidden),
        "b": jnp.zeros((4 * hidden,), jnp.float32),
    }


def zero_state(hidden: int) -> LSTMState:
    """A state of zeros, each vector (hidden,)."""
    return LSTMState(jnp.zeros((hidden,), jnp.float32), jnp.zeros((hidden,), jnp.float32))


def step(theta: dict[str, Array], x: Array, state: LSTMState) -> LSTMState:
    """One step: ``c' = sigmoid(f + 1) c + sigmoid(i) tanh(g)``, ``h' = sigmoid(o) tanh(c')``.

    Args:
        theta: weights as made by `init`; ``[i, g, f, o] = concat[x, h] w + b``.
        x: input, (..., inputs).
        state: state before the step.

    Returns:
        State after the step; its ``hidden`` is the output.
    """
    inputs = jnp.concatenate([x, state.hidden], axis=-1)
    gates = jnp.matmul(inputs, theta["w"], precision="highest")
    i, g, f, o = jnp.split(gates + theta["b"].reshape((1,) * (gates.ndim - 1) + (-1,)), 4, axis=-1)
    cell = jax.nn.sigmoid(f + 1.0) * state.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    return LSTMState(jax.nn.sigmoid(o) * jnp.tanh(cell), cell)
