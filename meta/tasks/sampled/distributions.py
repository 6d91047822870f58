"""Distributions of the fields of sampled tasks: outside the graph as Python values, inside it as arrays.

Both are functions of a number u, uniform on [0, 1), so that a field is one draw whatever the others are.
"""

import dataclasses
import math
import zlib
from collections.abc import Mapping
from typing import Any, Protocol

import jax
import jax.numpy as jnp

Configuration = Mapping[str, Any]
"""Static values by field: what decides shapes, and so what is compiled."""


class Range(Protocol):
    """A distribution outside the graph."""

    def at(self, u: float) -> Any:
        """The value of a uniform number."""
        ...


class Leaf(Protocol):
    """A distribution inside the graph."""

    def leaf(self, u: jax.Array) -> jax.Array:
        """The value of a uniform number, (); traceable."""
        ...


@dataclasses.dataclass(frozen=True)
class LogInt:
    """``int(exp(x))`` with x uniform from ln `low` to ln `high`: truncated, so `high` itself is never drawn.

    Example:
        >>> LogInt(8, 128).at(0.5)
        32
    """

    low: int
    high: int

    def at(self, u: float) -> int:
        """The value of a uniform number."""
        # The square root of a power of two comes out just below it.
        return int(_log_uniform(self.low, self.high, u) * (1 + 1e-12))


@dataclasses.dataclass(frozen=True)
class LogFloat:
    """``exp(x)`` with x uniform from ln `low` to ln `high`."""

    low: float
    high: float

    def at(self, u: float) -> float:
        """The value of a uniform number."""
        return _log_uniform(self.low, self.high, u)


@dataclasses.dataclass(frozen=True)
class Uniform:
    """Uniform from `low` to `high`."""

    low: float
    high: float

    def at(self, u: float) -> float:
        """The value of a uniform number."""
        return self.low + (self.high - self.low) * u

    def leaf(self, u: jax.Array) -> jax.Array:
        """The value of a uniform number, float32; traceable."""
        return self.low + (self.high - self.low) * u


@dataclasses.dataclass(frozen=True)
class Sometimes:
    """With a probability uniform from `low` to `high`, else 1."""

    probability: float
    low: float
    high: float

    def leaf(self, u: jax.Array) -> jax.Array:
        """The value of a uniform number, float32; traceable."""
        within = self.low + (self.high - self.low) * u / self.probability
        return jnp.where(u < self.probability, within, 1.0)


@dataclasses.dataclass(frozen=True)
class Choice:
    """One of some values, each equally likely; a value that occurs twice is twice as likely.

    Inside the graph it is the int32 number of the value: of ``(False, True)``, the truth value.
    """

    values: tuple[Any, ...]

    def at(self, u: float) -> Any:
        """The value of a uniform number."""
        return self.values[int(u * len(self.values))]

    def leaf(self, u: jax.Array) -> jax.Array:
        """The number of the value of a uniform number, int32; traceable."""
        return jnp.minimum((u * len(self.values)).astype(jnp.int32), len(self.values) - 1)


def configure(key: jax.Array, ranges: Mapping[str, Range]) -> dict[str, Any]:
    """Draw values by name; each depends on the key and its own name alone."""
    return {name: range_.at(float(_uniform(key, name))) for name, range_ in ranges.items()}


def draw(key: jax.Array, leaves: Mapping[str, Leaf]) -> dict[str, jax.Array]:
    """Draw scalars by name inside the graph; each depends on the key and its own name alone."""
    return {name: leaf.leaf(_uniform(key, name)) for name, leaf in leaves.items()}


def _uniform(key: jax.Array, name: str) -> jax.Array:
    return jax.random.uniform(jax.random.fold_in(key, zlib.crc32(name.encode())), (), jnp.float32)


def _log_uniform(low: float, high: float, u: float) -> float:
    return math.exp(math.log(low) + (math.log(high) - math.log(low)) * u)
