"""MLPs applied to every parameter of a tensor, without ever forming the (..., features) array.

The inputs stay separate arrays, each broadcastable to the tensor: a feature that depends on the row alone is
a vector per row, and its part of the first layer costs a vector per row. The normaliser of each feature is
folded into the first layer's weights. On CPU this is an order of magnitude faster than a trailing feature
axis.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from celo._core.normalisers import JOINT_SIZE, groups

Weights = dict[str, Array]


def truncated_normal(key: Array, shape: tuple[int, ...], fan_in: int) -> Array:
    """Normal of sigma ``1/sqrt(fan_in)``, cut at two sigma and not rescaled (haiku's default for a layer)."""
    return jax.random.truncated_normal(key, -2.0, 2.0, shape, jnp.float32) * np.float32(fan_in**-0.5)


def init(key: Array, sizes: Sequence[int]) -> Weights:
    """Weights of an MLP: ``w0 (sizes[0], sizes[1]), b0 (sizes[1],), w1, b1, ...``.

    Args:
        key: random key.
        sizes: number of inputs, hidden units, outputs.

    Returns:
        A dictionary of float32 arrays; weights as in `truncated_normal`, biases zero.
    """
    theta: Weights = {}
    keys = jax.random.split(key, len(sizes) - 1)
    for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
        theta[f"w{i}"] = truncated_normal(keys[i], (fan_in, fan_out), fan_in)
        theta[f"b{i}"] = jnp.zeros((fan_out,), jnp.float32)
    return theta


def linear(w: Array, b: Array, inputs: Sequence[Array]) -> list[Array]:
    """One dense layer over separate inputs, ``y_j = b_j + sum_i w[i, j] x_i``.

    Args:
        w: (inputs, outputs).
        b: (outputs,).
        inputs: arrays broadcastable with each other.

    Returns:
        One array per output. Inputs of equal shape are summed before anything is broadcast.
    """
    outputs = [b[j] for j in range(w.shape[1])]
    largest = max(x.size for x in inputs)
    for members, stacked in groups(inputs):
        if stacked is None:
            products = [[w[i, j] * inputs[i] for i in members] for j in range(w.shape[1])]
            partials = [functools.reduce(jnp.add, terms) for terms in products]
        else:
            weights = jnp.stack([w[i] for i in members])
            partials = list(jnp.tensordot(weights, stacked, axes=(0, 0), precision="highest"))
        if inputs[members[0]].size < largest >= JOINT_SIZE:
            # Without the barrier XLA computes what belongs to a row or column at each of its elements.
            partials = jax.lax.optimization_barrier(partials)
        outputs = [y + partial for y, partial in zip(outputs, partials, strict=True)]
    return outputs


def apply(
    theta: Weights, inputs: Sequence[Array], scales: Array | None = None, outputs: int | None = None
) -> list[Array]:
    """MLP with ReLU between layers, evaluated at every element.

    Args:
        theta: weights as made by `init`.
        inputs: one array per input, broadcastable with each other.
        scales: (inputs,) factor of each input (its normaliser).
        outputs: how many of the outputs to compute; all by default.

    Returns:
        One array per output.
    """
    layers = len(theta) // 2
    w0 = theta["w0"] if scales is None else theta["w0"] * scales[:, None]
    hidden = linear(w0, theta["b0"], inputs)
    for i in range(1, layers):
        hidden = [jax.nn.relu(h) for h in hidden]
        keep = slice(0, outputs if i == layers - 1 else None)
        hidden = linear(theta[f"w{i}"][:, keep], theta[f"b{i}"][keep], hidden)
    return hidden


def apply_wide(theta: Weights, inputs: Sequence[Array], scales: Array) -> Array:
    """`apply` for tens of hidden units: one matrix product per layer.

    `apply` spells every multiplication out, which suits four hidden units; with 32 it takes minutes to
    compile. The weights are the same.

    Args:
        theta: weights as made by `init`.
        inputs: one array per input, broadcastable with each other.
        scales: (inputs,) factor of each input (its normaliser).

    Returns:
        (outputs, ...) with the outputs in front of the shape of the inputs.
    """
    layers = len(theta) // 2
    x = jnp.stack(jnp.broadcast_arrays(*inputs))
    weights = [theta["w0"] * scales[:, None], *(theta[f"w{i}"] for i in range(1, layers))]
    for i, w in enumerate(weights):
        x = x if i == 0 else jax.nn.relu(x)
        x = jnp.tensordot(w, x, axes=(0, 0), precision="highest")
        x = x + theta[f"b{i}"].reshape((-1,) + (1,) * (x.ndim - 1))
    return x


def condition(theta: Weights, context: Array) -> Weights:
    """Folds the last inputs of an MLP into the biases of its first layer, ``b0 + context W0[-n:]``.

    Inputs that are the same at every parameter (time, sizes) are then multiplied once per tensor.

    Args:
        theta: weights as made by `init`.
        context: (n,) values of the last n inputs.

    Returns:
        Weights of an MLP of the other inputs.
    """
    own = theta["w0"].shape[0] - context.shape[0]
    shared = jnp.matmul(context, theta["w0"][own:], precision="highest")
    return {**theta, "w0": theta["w0"][:own], "b0": theta["b0"] + shared}


def init_bank(key: Array, count: int, sizes: Sequence[int]) -> Weights:
    """Weights of ``count`` MLPs as of `init`, stacked along a leading axis."""
    return jax.vmap(lambda key: init(key, sizes))(jax.random.split(key, count))


def mix(bank: Weights, controls: Array, multiplier: float) -> list[Weights]:
    """The MLP of each tensor, ``W = multiplier * mean_k(c_k W_k)``, biases alike.

    Args:
        bank: weights of K MLPs as made by `init_bank`.
        controls: (tensors, K) weights of the mixtures.
        multiplier: factor of all of them.

    Returns:
        Weights of one MLP per tensor.

    Source: the hypernetwork of VeLO, arXiv 2211.09760.
    """
    tensors, count = controls.shape
    controls = controls * (multiplier / count)
    mixed = {name: jnp.tensordot(controls, w, axes=1, precision="highest") for name, w in bank.items()}
    return [{name: w[i] for name, w in mixed.items()} for i in range(tensors)]
