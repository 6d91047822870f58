"""Clipping of gradients to ten times their recent size (Metz et al. 2020, arXiv 2009.11243)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

DECAY = 0.99
MULTIPLE = 10.0
EPSILON = 1e-8


def init() -> Array:
    """Running size of the gradient before the first: 1, as an average not corrected for its start at zero."""
    return jnp.asarray(1.0 - DECAY, jnp.float32)


def clip(size: Array, count: Array, grads: Any) -> tuple[Any, Array]:
    """Clips the gradients and adds their size to the running size.

    With t gradients seen before and the bias-corrected size ``s = size / (1 - 0.99^(t + 1))``, every entry
    is clipped to ``+-10 s``; then ``size <- 0.99 size + 0.01 sqrt(1e-8 + mean over tensors of mean(g^2))``
    with the clipped gradients.

    Args:
        size: () running size, from `init` on.
        count: () gradients clipped before.
        grads: gradients, any pytree, float32.

    Returns:
        The clipped gradients and the new size.
    """
    limit = MULTIPLE * size / (1.0 - DECAY ** (count + 1).astype(jnp.float32))
    clipped = jax.tree.map(lambda g: jnp.clip(g, -limit, limit), grads)
    squares = [jnp.mean(jnp.square(g)) for g in jax.tree.leaves(clipped)]
    mean = sum(squares, jnp.zeros((), jnp.float32)) / max(1, len(squares))
    return clipped, DECAY * size + (1.0 - DECAY) * jnp.sqrt(EPSILON + mean)
