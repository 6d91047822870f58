"""The step size of a learned scheduler, read from the state of any optimizer."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import optax
from jax import Array

PyTree = Any


def step_size(opt_state: PyTree) -> Array:
    """The last step size ``eta`` of a learned scheduler, from an optimizer's state at any depth; () float32.

    With one ``eta`` per tensor it is their geometric mean ``exp(1/n sum_i log |eta_i|)``; it is 1 if the
    state has no ``eta``, or several.
    """
    found = optax.tree_utils.tree_get_all_with_path(opt_state, "eta")
    if len(found) != 1:
        return jnp.ones((), jnp.float32)
    eta = found[0][1]
    return eta if eta.ndim == 0 else jnp.exp(jnp.mean(jnp.log(jnp.abs(eta))))
