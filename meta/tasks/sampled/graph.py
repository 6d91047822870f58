"""Activations and initialisers chosen inside the graph, so that tasks which differ in them share a program.

Under `jax.vmap` over such tasks a choice computes all branches and selects.

Source: VeLO (Metz et al. 2022, arXiv 2211.09760), appendix C; the parametric tasks of learned_optimization.
"""

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from celo.meta.tasks.sampled.distributions import Choice, Uniform

Dynamic = dict[str, jax.Array]
"""Scalars of a task by name that are leaves, not configuration."""

ACTIVATIONS = (
    "relu",
    "relu",
    "relu6",
    "selu",
    "tanh",
    "cos",
    "sin",
    "sigmoid",
    "silu",
    "swish",
    "gelu",
    "leaky_relu",
)
"""As published: ReLU is twice as likely as the others, and silu and swish are one function."""

_FUNCTIONS: dict[str, Callable[[jax.Array], jax.Array]] = {
    "relu": jax.nn.relu,
    "relu6": jax.nn.relu6,
    "selu": jax.nn.selu,
    "tanh": jnp.tanh,
    "cos": jnp.cos,
    "sin": jnp.sin,
    "sigmoid": jax.nn.sigmoid,
    "silu": jax.nn.silu,
    "gelu": functools.partial(jax.nn.gelu, approximate=True),
    "leaky_relu": functools.partial(jax.nn.leaky_relu, negative_slope=-0.5),  # the published slope
}
_BRANCH = np.array([list(_FUNCTIONS).index(name.replace("swish", "silu")) for name in ACTIVATIONS], np.int32)

INITIALIZERS = ("orthogonal", "uniform", "normal", "normal", "uniform_sqrt")
"""As published; "normal" is listed twice. With the scale s: orthogonal times s; uniform with a standard
deviation of ``s / sqrt(fan-in)``; normal and uniform with one of ``sqrt(s / fan-in)``."""

_KIND = np.array([0, 1, 2, 2, 1], np.int32)
_ROOT = np.array([False, False, True, True, True])

SHARED: dict[str, Any] = {
    "activation": Choice(ACTIVATIONS),
    "initializer": Choice(INITIALIZERS),
    "init_scale": Uniform(0.5, 2.0),
}
"""Ranges of what the families share."""


def activation(number: jax.Array) -> Callable[[jax.Array], jax.Array]:
    """Return the activation of a number in `ACTIVATIONS`, which may be traced.

    Example:
        >>> activation(jnp.int32(2))(jnp.array([-1.0, 3.0, 9.0])).tolist()
        [0.0, 3.0, 6.0]
    """
    branch = jnp.asarray(_BRANCH)[number]
    return lambda x: jax.lax.switch(branch, list(_FUNCTIONS.values()), x)


def kernel(key: jax.Array, shape: Sequence[int], initializer: jax.Array, scale: jax.Array) -> jax.Array:
    """Draw a kernel by a number in `INITIALIZERS` and a scale, which may be traced; float32.

    The last axis is the outputs, the others are the inputs.
    """
    fan_in, outputs = math.prod(shape[:-1]), shape[-1]
    branches = (
        lambda k: jax.nn.initializers.orthogonal()(k, (fan_in, outputs), jnp.float32),
        lambda k: jax.random.uniform(k, (fan_in, outputs), jnp.float32, -1.0, 1.0) * math.sqrt(3 / fan_in),
        lambda k: jax.random.normal(k, (fan_in, outputs), jnp.float32) / math.sqrt(fan_in),
    )
    drawn = jax.lax.switch(jnp.asarray(_KIND)[initializer], branches, key)
    gain = jnp.where(jnp.asarray(_ROOT)[initializer], jnp.sqrt(scale), scale)
    return (gain * drawn).reshape(tuple(shape))


def initialize(key: jax.Array, params: Any, dynamic: Dynamic, layers: tuple[str, ...]) -> Any:
    """Draw the kernels of the layers whose names begin with one of `layers` anew; the rest is left.

    Kernels are the arrays called "w" or "kernel". A `dynamic` without initialiser leaves all.
    """
    if "initializer" not in dynamic:
        return params
    leaves, structure = jax.tree_util.tree_flatten_with_path(params)
    drawn = []
    for number, (path, leaf) in enumerate(leaves):
        layer, name = str(path[0].key), str(path[-1].key)
        if layer.startswith(layers) and name in ("w", "kernel"):
            key_leaf = jax.random.fold_in(key, number)
            leaf = kernel(key_leaf, leaf.shape, dynamic["initializer"], dynamic["init_scale"])
        drawn.append(leaf)
    return jax.tree.unflatten(structure, drawn)
