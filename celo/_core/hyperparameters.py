"""Hyperparameters as unconstrained numbers, which meta-training may move anywhere."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

LOG_SCALE = 10.0


def from_decay(decay: ArrayLike) -> Array:
    """A decay, ``log(1 - d) / 10``: equal steps multiply its distance to 1 by equal factors."""
    return jnp.log(1.0 - jnp.asarray(decay, jnp.float32)) / LOG_SCALE


def to_decay(x: Array) -> Array:
    """``1 - exp(10 x)``; undoes `from_decay`."""
    return 1.0 - jnp.exp(LOG_SCALE * x)


def from_positive(value: ArrayLike) -> Array:
    """A positive number, ``log(value) / 10``."""
    return jnp.log(jnp.asarray(value, jnp.float32)) / LOG_SCALE


def to_positive(x: Array) -> Array:
    """``exp(10 x)``; undoes `from_positive`."""
    return jnp.exp(LOG_SCALE * x)
