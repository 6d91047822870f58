"""The recurrent parts: a linear layer, and an LSTM cell as the released checkpoints have it.

The cell is haiku's: gates i, g, f, o, and one is added to the forget gate.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from celo._core import mlp


class LSTMState(NamedTuple):
    """Hidden and cell vectors, each (..., hidden)."""

    hidden: Array
    cell: Array


def init_dense(key: Array, inputs: int, outputs: int) -> dict[str, Array]:
    """A linear layer: ``w (inputs, outputs)`` as of `celo._core.mlp.init`, ``b (outputs,)`` zero."""
    return {
        "w": mlp.truncated_normal(key, (inputs, outputs), inputs),
        "b": jnp.zeros((outputs,), jnp.float32),
    }


def dense(theta: dict[str, Array], x: Array) -> Array:
    """``x w + b`` for x (..., inputs)."""
    y = jnp.matmul(x, theta["w"], precision="highest")
    return y + theta["b"].reshape((1,) * (y.ndim - 1) + (-1,))


def init(key: Array, inputs: int, hidden: int) -> dict[str, Array]:
    """Weights of the cell: ``w (inputs + hidden, 4 hidden)``, ``b (4 hidden,)``."""
    return init_dense(key, inputs + hidden, 4 * hidden)


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
    gates = dense(theta, jnp.concatenate([x, state.hidden], axis=-1))
    i, g, f, o = jnp.split(gates, 4, axis=-1)
    cell = jax.nn.sigmoid(f + 1.0) * state.cell + jax.nn.sigmoid(i) * jnp.tanh(g)
    return LSTMState(jax.nn.sigmoid(o) * jnp.tanh(cell), cell)


def stack(vectors: Sequence[Array], size: int) -> Array:
    """One row per tensor, (tensors, size), also where there is no tensor."""
    return jnp.stack(vectors) if vectors else jnp.zeros((0, size), jnp.float32)


def repeat_state(initial: dict[str, Array], tensors: int) -> LSTMState:
    """A learned initial state, ``hidden`` and ``cell`` of shape (hidden,), once for every tensor."""
    return LSTMState(*(jnp.tile(initial[name][None, :], (tensors, 1)) for name in LSTMState._fields))
