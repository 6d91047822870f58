"""A loss in units of its own recent spread (Metz et al. 2020, arXiv 2009.11243)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

DECAY = 0.9
EPSILON = 1e-8
LARGEST = 5.0


class LossSpread(NamedTuple):
    """Running mean and variance of the loss, each (), not bias-corrected."""

    mean: Array
    variance: Array


def init() -> LossSpread:
    """Before the first loss: zeros."""
    return LossSpread(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))


def update(state: LossSpread, loss: Array) -> LossSpread:
    """Adds a loss: ``mean <- 0.9 mean + 0.1 L``, ``var <- 0.9 var + 0.1 (mean - L)^2`` with the new mean."""
    mean = DECAY * state.mean + (1.0 - DECAY) * loss
    return LossSpread(mean, DECAY * state.variance + (1.0 - DECAY) * jnp.square(mean - loss))


def normalise(state: LossSpread, count: Array, loss: Array | float) -> Array:
    """``clip((L - mean) / sqrt(var + 1e-8), -5, 5)`` with bias-corrected mean and variance.

    Args:
        state: after `update`.
        count: () number of losses seen, at least 1.
        loss: () the loss to normalise.

    Returns:
        () the normalised loss.
    """
    correction = 1.0 / (1.0 - DECAY ** count.astype(jnp.float32) + EPSILON)
    spread = jax.lax.rsqrt(state.variance * correction + EPSILON)
    return jnp.clip((loss - state.mean * correction) * spread, -LARGEST, LARGEST)
