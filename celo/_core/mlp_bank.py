"""A bank of small MLPs, mixed into one MLP per tensor: the hypernetwork of VeLO (arXiv 2211.09760)."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from celo._core import mlp


def init(key: Array, count: int, sizes: Sequence[int]) -> mlp.Weights:
    """Weights of ``count`` MLPs as of `celo._core.mlp.init`, stacked along a leading axis."""
    return jax.vmap(lambda key: mlp.init(key, sizes))(jax.random.split(key, count))


def mix(bank: mlp.Weights, controls: Array, multiplier: float) -> list[mlp.Weights]:
    """The MLP of each tensor, ``W = multiplier * mean_k(c_k W_k)``, biases alike.

    Args:
        bank: weights of K MLPs as made by `init`.
        controls: (tensors, K) weights of the mixtures.
        multiplier: factor of all of them.

    Returns:
        Weights of one MLP per tensor.
    """
    tensors, count = controls.shape
    controls = controls * (multiplier / count)
    mixed = {name: jnp.tensordot(controls, w, axes=1, precision="highest") for name, w in bank.items()}
    return [{name: w[i] for name, w in mixed.items()} for i in range(tensors)]
