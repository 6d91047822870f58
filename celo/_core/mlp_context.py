"""Inputs of a per-parameter MLP that are the same at every parameter: time, sizes, a word from an LSTM."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array

from celo._core import mlp


def condition(theta: mlp.Weights, context: Array) -> mlp.Weights:
    """Folds the last inputs of an MLP into the biases of its first layer, ``b0 + context W0[-n:]``.

    What is the same at every parameter is so multiplied once per tensor, not once per parameter.

    Args:
        theta: weights as of `celo._core.mlp.init`.
        context: (n,) values of the last n inputs.

    Returns:
        Weights of an MLP of the other inputs.
    """
    own = theta["w0"].shape[0] - context.shape[0]
    shared = jnp.matmul(context, theta["w0"][own:], precision="highest")
    return {**theta, "w0": theta["w0"][:own], "b0": theta["b0"] + shared}
