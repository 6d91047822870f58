"""Shared parts of tasks: dense layers, fast products, cross-entropy, and clipped losses."""

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp

from celo._core.mlp import truncated_normal
from celo._core.names import unknown_name

WIDE = 512
"""From this many inputs on, XLA's transposed copies of the weights take as long as the product itself."""

# From this many inputs on, a copy of the transposed batch makes the gradient faster.
_COPIED = 1024
_PLAIN = (((1,), (0,)), ((), ()))
_TRUNCATED_STD = 0.87962566  # standard deviation of a unit normal cut at two sigma

Layers = dict[str, dict[str, jax.Array]]

ACTIVATIONS: Mapping[str, Callable[[jax.Array], jax.Array]] = MappingProxyType(
    {"relu": jax.nn.relu, "tanh": jnp.tanh}
)

Activation = str | Callable[[jax.Array], jax.Array]
"""A name in `ACTIVATIONS`, or a function of arrays of any shape."""


def activation_of(activation: Activation) -> Callable[[jax.Array], jax.Array]:
    """Return the function of an activation."""
    return ACTIVATIONS[activation] if isinstance(activation, str) else activation


def check_activation(activation: Activation) -> None:
    """Raise a ValueError for the name of an unknown activation."""
    if not callable(activation) and activation not in ACTIVATIONS:
        raise unknown_name("activation", activation, ACTIVATIONS)


def check_positive(what: str, value: object) -> None:
    """Raise a ValueError unless `value` is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{what} must be a whole number of at least 1, got {value!r}")


def check_perceptron(hidden: object, activation: Activation, batch_size: object) -> None:
    """Raise a ValueError unless the configuration of a perceptron task is valid.

    `hidden` is a tuple of widths of at least 1; an empty one is a linear model.
    """
    if not isinstance(hidden, tuple):
        raise ValueError(f"hidden must be a tuple of layer widths, got {hidden!r}")
    for width in hidden:
        check_positive("a width in hidden", width)
    check_positive("batch_size", batch_size)
    check_activation(activation)


def rescaled_normal(key: jax.Array, shape: tuple[int, int], scale: float = 1.0) -> jax.Array:
    """Draw a kernel of variance `scale / fan-in`: normal, cut at two sigma and rescaled to that variance."""
    return truncated_normal(key, shape, shape[0]) / _TRUNCATED_STD * math.sqrt(scale)


def init_mlp(key: jax.Array, widths: Sequence[int]) -> Layers:
    """Draw the parameters of a multi-layer perceptron of these widths, from inputs to outputs.

    `{"linear_0": {"w": (widths[0], widths[1]), "b": (widths[1],)}, ...}`, float32: kernels truncated normal
    (cut at two sigma and not rescaled, sigma = 1/sqrt(fan-in)), biases zero.
    """
    keys = jax.random.split(key, len(widths) - 1)
    return {
        f"linear_{i}": {
            "w": truncated_normal(keys[i], (fan_in, fan_out), fan_in),
            "b": jnp.zeros(fan_out, jnp.float32),
        }
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(widths))
    }


def apply_mlp(params: Layers, inputs: jax.Array, activation: Activation) -> jax.Array:
    """Apply dense layers to (batch, features), with an activation between them; returns (outputs, batch).

    Activations are kept as (units, batch): for the small layers of meta-training XLA's CPU code for losses
    and gradients is a fifth faster than with (batch, units). Inputs that are `is_wide` go by
    `apply_mlp_by_rows`, which for them is up to twice as fast.
    """
    if is_wide(inputs):
        return apply_mlp_by_rows(params, inputs, activation).T
    layer = params["linear_0"]
    hidden = jnp.einsum("fu,bf->ub", layer["w"], inputs) + layer["b"][:, None]
    for i in range(1, len(params)):
        layer = params[f"linear_{i}"]
        hidden = layer["w"].T @ activation_of(activation)(hidden) + layer["b"][:, None]
    return hidden


def is_wide(inputs: jax.Array) -> bool:
    """Return whether inputs (batch, features) are wide enough for `apply_mlp_by_rows` to be faster."""
    return inputs.shape[-1] >= WIDE


def apply_mlp_by_rows(params: Layers, inputs: jax.Array, activation: Activation) -> jax.Array:
    """Apply the layers as `apply_mlp` does, with activations as (batch, units), to (batch, outputs)."""
    hidden = inputs
    for i in range(len(params)):
        layer = params[f"linear_{i}"]
        if i:
            hidden = activation_of(activation)(hidden)
        hidden = dense(hidden, layer["w"]) + layer["b"][None, :]
    return hidden


def dense(inputs: jax.Array, weights: jax.Array) -> jax.Array:
    """Compute `inputs @ weights`, (batch, features) and (features, units), with a fast gradient on a CPU.

    The gradient of the weights is `inputs.T @ g`. For many features XLA computes its transpose and
    transposes it back, which takes as long as the product; a copy of the transposed inputs avoids it. With
    the copy, for 1024 features and more of one dtype on a CPU, `jax.jvp` has no derivative.
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
    """Compute `jax.lax.dot_general`, by `dense` for a plain product of matrices, as in a dense layer of flax.

    The library's product is used if flax passes a precision or dtype in `rest`.
    """
    plain = inputs.ndim == weights.ndim == 2 and dimension_numbers == _PLAIN
    if plain and all(value is None for value in rest.values()):
        return dense(inputs, weights)
    return jax.lax.dot_general(inputs, weights, dimension_numbers, **rest)


def cross_entropy(logits: jax.Array, labels: jax.Array, axis: int) -> jax.Array:
    """Compute the softmax cross-entropy of each example, `logsumexp(z) - z[label]`, in nats.

    Labels have the shape of the float32 logits without the axis of the classes. The logit is picked by
    comparing the label with every class: the gradient of an indexed read is a scatter, which neither
    vectorises nor fuses.
    """
    classes = jax.lax.broadcasted_iota(labels.dtype, logits.shape, axis % logits.ndim)
    picked = jnp.where(classes == jnp.expand_dims(labels, axis), logits, 0.0)
    return jax.nn.logsumexp(logits, axis=axis) - jnp.sum(picked, axis=axis)


def uniform_guess_ceiling(num_classes: int) -> float:
    """Return `1.5 ln C`, one and a half times the loss of a uniform guess."""
    return 1.5 * math.log(num_classes)


def clip_loss(loss: jax.Array, ceiling: float) -> jax.Array:
    """Clip a loss to [0, ceiling]; NaN counts as the ceiling, so that a diverged problem stays comparable."""
    return jnp.where(jnp.isnan(loss), jnp.float32(ceiling), jnp.clip(loss, 0.0, ceiling))
