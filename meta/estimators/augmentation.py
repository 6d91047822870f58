"""Task augmentation: the inner problem is re-parameterised by random positive scales (Celo, section 3).

The loss is evaluated at ``tau * p`` and the initial parameters become ``p0 / tau``: the function at
initialisation stays the same, the geometry the optimizer sees does not.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from celo._core.names import unknown_name

PyTree = Any
LEVELS = ("none", "global", "tensor", "parameter", "mixed")
MIXED_LEVELS = ("none", "none", "global", "global", "tensor", "tensor", "parameter")
MIXED_RANGES = ((1e-3, 1e3), (1e-2, 1e2), (1e-1, 1e1))


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """Distribution of the scales tau.

    Attributes:
        level: "none"; "global": one tau for all parameters; "tensor": one per tensor; "parameter": one per
            number; "mixed": level and range drawn for each problem, whatever ``low`` and ``high``.
        low: smallest tau.
        high: largest tau; tau is log-uniform between them.
    """

    level: str = "global"
    low: float = 1e-3
    high: float = 1e3

    def __post_init__(self) -> None:
        if self.level not in LEVELS:
            raise unknown_name("augmentation level", self.level, LEVELS)
        if not (0 < self.low <= self.high and math.isfinite(self.high)):
            raise ValueError(
                f"augmentation range is [{self.low}, {self.high}]; expected 0 < low <= high < inf"
            )

    def sample(self, key: Array, params: PyTree) -> PyTree:
        """Draws the scales of one inner problem for parameters of these structure and shapes.

        A tree like ``params`` whose leaves broadcast to its leaves: () for levels none, global and tensor,
        the full shape for levels parameter and mixed.
        """
        if self.level == "mixed":
            return _sample_mixed(key, params)
        return _sample_level(key, params, self.level, math.log(self.low), math.log(self.high))


def scale(tau: PyTree, params: PyTree) -> PyTree:
    """The parameters the loss is evaluated at, ``tau * p``."""
    return jax.tree.map(lambda t, p: _broadcast(t, p) * p, tau, params)


def unscale(tau: PyTree, params: PyTree) -> PyTree:
    """The parameters the optimizer sees, ``p / tau``."""
    return jax.tree.map(lambda t, p: p / _broadcast(t, p), tau, params)


def _broadcast(tau: Array, p: Array) -> Array:
    return jnp.broadcast_to(tau, p.shape).astype(p.dtype)


def _sample_level(key: Array, params: PyTree, level: str, low: float | Array, high: float | Array) -> PyTree:
    leaves, structure = jax.tree.flatten(params)
    keys = [key] * len(leaves) if level == "global" else list(jax.random.split(key, max(1, len(leaves))))

    def draw(k: Array, p: Array) -> Array:
        if level == "none":
            return jnp.ones((), jnp.float32)
        shape = p.shape if level == "parameter" else ()
        return jnp.exp(low + (high - low) * jax.random.uniform(k, shape, jnp.float32))

    return structure.unflatten([draw(k, p) for k, p in zip(keys, leaves, strict=False)])


def _sample_mixed(key: Array, params: PyTree) -> PyTree:
    """Level and range drawn uniformly from `MIXED_LEVELS` and `MIXED_RANGES`."""
    key_level, key_range, key_tau = jax.random.split(key, 3)
    bounds = jnp.log(jnp.asarray(MIXED_RANGES, jnp.float32))
    low, high = bounds[jax.random.randint(key_range, (), 0, len(MIXED_RANGES), jnp.int32)]
    index = jax.random.randint(key_level, (), 0, len(MIXED_LEVELS), jnp.int32)

    def at(level: str) -> PyTree:
        tau = _sample_level(key_tau, params, level, low, high)
        return jax.tree.map(lambda t, p: jnp.broadcast_to(t, p.shape), tau, params)

    return jax.lax.switch(index, [lambda level=level: at(level) for level in MIXED_LEVELS])
