"""What a recurrent network that runs once per tensor sees of its tensor, and how tensors are stacked."""

from __future__ import annotations

from collections.abc import Sequence

import jax.numpy as jnp
from jax import Array

from celo._core.lstm import LSTMState

_SMALLEST = 1e-8
_LARGEST_LOG = 5.0


def log_magnitude(x: Array) -> Array:
    """``clip(log(1e-8 + |x|), -5, 5)``: the size of a number of any scale as a feature."""
    return jnp.clip(jnp.log(_SMALLEST + jnp.abs(x)), -_LARGEST_LOG, _LARGEST_LOG)


def variance(x: Array, around: Array | None = None) -> Array:
    """``mean((x - c)^2)`` over the whole tensor, with c its mean unless another centre is given."""
    return jnp.mean(jnp.square(x - (jnp.mean(x) if around is None else around)))


def stack(vectors: Sequence[Array], size: int) -> Array:
    """One row per tensor, (tensors, size), also where there is no tensor."""
    return jnp.stack(vectors) if vectors else jnp.zeros((0, size), jnp.float32)


def initial_state(initial: dict[str, Array], tensors: int) -> LSTMState:
    """The learned initial state of an LSTM once for every tensor.

    Args:
        initial: ``hidden`` and ``cell``, each (hidden,).
        tensors: how many.

    Returns:
        A state of vectors (tensors, hidden).
    """
    rows = {name: jnp.tile(x[None, :], (tensors, 1)) for name, x in initial.items()}
    return LSTMState(rows["hidden"], rows["cell"])
