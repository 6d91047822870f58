"""One linear layer, ``y = x w + b``, as the recurrent parts of the learned optimizers use it."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from celo._core import mlp


def init(key: Array, inputs: int, outputs: int) -> dict[str, Array]:
    """Weights ``w (inputs, outputs)`` as in `celo._core.mlp.truncated_normal` and biases ``b (outputs,)``, zero."""
    return {
        "w": mlp.truncated_normal(key, (inputs, outputs), inputs),
        "b": jnp.zeros((outputs,), jnp.float32),
    }


def apply(theta: dict[str, Array], x: Array) -> Array:
    """``x w + b``.

    Args:
        theta: weights as made by `init`.
        x: (..., inputs).

    Returns:
        (..., outputs).
    """
    y = jnp.matmul(x, theta["w"], precision="highest")
    return y + theta["b"].reshape((1,) * (y.ndim - 1) + (-1,))
