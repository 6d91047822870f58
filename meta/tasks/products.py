"""Products of matrices in the form that XLA's CPU backend computes fastest."""

from typing import Any

import jax

# From so many inputs on, a copy of the transposed batch is dearer to do without than to make.
_COPIED = 1024
_PLAIN = (((1,), (0,)), ((), ()))


def dense(inputs: jax.Array, weights: jax.Array) -> jax.Array:
    """Compute `inputs @ weights`, (batch, features) and (features, units), with a fast gradient on a CPU.

    The gradient of the weights is `inputs.T @ g`. For many features XLA computes its transpose and turns that
    around, which takes as long as the product; a copy of the transposed inputs avoids it. Where that is done,
    for 1024 features and more of one dtype on a CPU, there is no forward-mode derivative (`jax.jvp`).
    """
    if inputs.shape[-1] < _COPIED or inputs.dtype != weights.dtype or jax.default_backend() != "cpu":
        return inputs @ weights
    return _product(inputs, weights)


@jax.custom_vjp
def _product(inputs: jax.Array, weights: jax.Array) -> jax.Array:
    return inputs @ weights


def _forward(inputs: jax.Array, weights: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return inputs @ weights, (inputs, weights)


def _backward(saved: tuple[jax.Array, jax.Array], g: jax.Array) -> tuple[jax.Array, jax.Array]:
    inputs, weights = saved
    return g @ weights.T, jax.lax.optimization_barrier(inputs.T) @ g


_product.defvjp(_forward, _backward)


def dot_general(inputs: jax.Array, weights: jax.Array, dimension_numbers: Any, **rest: Any) -> jax.Array:
    """Do what `jax.lax.dot_general` does, by `dense` where that is the same, as for a dense layer of flax.

    Args:
        inputs: the left operand.
        weights: the right operand.
        dimension_numbers: axes to contract, and axes of batches.
        rest: precision and dtypes as flax gives them; any that is not None is the library's matter.
    """
    plain = inputs.ndim == weights.ndim == 2 and dimension_numbers == _PLAIN
    if plain and all(value is None for value in rest.values()):
        return dense(inputs, weights)
    return jax.lax.dot_general(inputs, weights, dimension_numbers, **rest)
