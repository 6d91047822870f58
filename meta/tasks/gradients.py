"""Giving a loss a gradient that is not its derivative."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


@jax.custom_jvp
def with_gradient(loss: jax.Array, params: Any, gradient: Any) -> jax.Array:
    """Return the loss, differentiable with respect to `params` alone, with this gradient.

    Args:
        loss: scalar; its own dependence on anything does not count.
        params: pytree the gradient is for.
        gradient: pytree of the same structure; its dependence on anything does not count.

    Example:
        >>> value, slope = jax.value_and_grad(lambda x: with_gradient(x**3, x, jnp.float32(7.0)))(2.0)
        >>> float(value), float(slope)
        (8.0, 7.0)
    """
    del params, gradient
    return loss


@with_gradient.defjvp
def _with_gradient_jvp(
    primals: tuple[jax.Array, Any, Any], tangents: tuple[jax.Array, Any, Any]
) -> tuple[jax.Array, jax.Array]:
    loss, _, gradient = primals
    products = jax.tree.map(jnp.vdot, gradient, tangents[1])
    return loss, sum(jax.tree.leaves(products), start=jnp.zeros((), np.float32))
