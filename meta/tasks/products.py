"""Products of matrices in the form that XLA's CPU backend computes fastest."""

from typing import Any

import jax

WIDE = 512
"""From so many inputs on, XLA's copies of weights in another order take as long as the product itself."""

_COPIED = 1024  # From so many inputs on, a copy of the batch is dearer to do without than to make.


@jax.custom_vjp
def dense(inputs: jax.Array, weights: jax.Array) -> jax.Array:
    """Compute `inputs @ weights`, (batch, features) and (features, units), with a fast gradient on a CPU.

    The gradient of the weights is `inputs.T @ g`. For many features XLA computes its transpose and turns that
    around, which takes as long as the product; a copy of the transposed inputs avoids it.
    """
    return inputs @ weights


def _forward(inputs: jax.Array, weights: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return inputs @ weights, (inputs, weights)


def _backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    inputs, weights = saved
    turned = inputs.T
    if inputs.shape[-1] >= _COPIED and jax.default_backend() == "cpu":
        turned = jax.lax.optimization_barrier(turned)
    return g @ weights.T, turned @ g


dense.defvjp(_forward, _backward)


def dot_general(inputs: jax.Array, weights: jax.Array, dimension_numbers: Any, **rest: Any) -> jax.Array:
    """Do what `jax.lax.dot_general` does, by `dense` where that is the same, as for a dense layer of flax.

    Args:
        inputs: the left operand.
        weights: the right operand.
        dimension_numbers: axes to contract, and axes of batches.
        rest: precision and dtype as flax gives them, for the library's function.
    """
    if inputs.ndim == weights.ndim == 2 and dimension_numbers == (((1,), (0,)), ((), ())):
        return dense(inputs, weights)
    return jax.lax.dot_general(inputs, weights, dimension_numbers, **rest)
