"""A per-parameter MLP of tens of hidden units: one matrix product per layer.

`celo._core.mlp` spells every multiplication out, which suits four hidden units and would take minutes to compile
with 32. The weights are the same.
"""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from celo._core import mlp


def apply(theta: mlp.Weights, inputs: Sequence[Array], scales: Array) -> Array:
    """MLP with ReLU between layers, evaluated at every element.

    Args:
        theta: weights as made by `celo._core.mlp.init`.
        inputs: one array per input, broadcastable with each other.
        scales: (inputs,) factor of each input (its normaliser).

    Returns:
        (outputs, ...) with the outputs in front of the shape of the inputs.
    """
    layers = len(theta) // 2
    x = jnp.stack(jnp.broadcast_arrays(*inputs))
    weights = [theta["w0"] * scales[:, None], *(theta[f"w{i}"] for i in range(1, layers))]
    for i, w in enumerate(weights):
        x = x if i == 0 else jax.nn.relu(x)
        x = jnp.tensordot(w, x, axes=(0, 0), precision="highest")
        x = x + theta[f"b{i}"].reshape((-1,) + (1,) * (x.ndim - 1))
    return x
