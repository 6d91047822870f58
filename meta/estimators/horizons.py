"""Truncation schedules: how long an inner problem is trained before it is drawn anew."""

from __future__ import annotations

import dataclasses
import math
from typing import Protocol

import jax
import jax.numpy as jnp
from jax import Array


class Horizon(Protocol):
    """A distribution over the number of steps of an inner training, which may move during meta-training."""

    @property
    def minimum(self) -> int:
        """Smallest horizon it can draw."""
        ...

    @property
    def maximum(self) -> int:
        """Largest horizon it can draw."""
        ...

    def sample(self, key: Array, iteration: Array) -> Array:
        """Draws one horizon, () int32, at a meta-iteration, () int32."""
        ...


def _check_range(low: int, high: int) -> None:
    if not (1 <= low <= high):
        raise ValueError(f"horizon range is [{low}, {high}]; expected 1 <= low <= high")


def _log_uniform(key: Array, low: float | Array, high: float | Array) -> Array:
    log_low, log_high = jnp.log(jnp.asarray(low, jnp.float32)), jnp.log(jnp.asarray(high, jnp.float32))
    value = jnp.exp(log_low + (log_high - log_low) * jax.random.uniform(key, dtype=jnp.float32))
    return jnp.clip(value, low, high).astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class LogUniform:
    """Log-uniform between ``low`` and ``high`` steps (Celo: 100 to 2000)."""

    low: int = 100
    high: int = 2000

    def __post_init__(self) -> None:
        """Checks the range."""
        _check_range(self.low, self.high)

    @property
    def minimum(self) -> int:
        """Smallest horizon."""
        return self.low

    @property
    def maximum(self) -> int:
        """Largest horizon."""
        return self.high

    def sample(self, key: Array, iteration: Array) -> Array:
        """Draws one horizon; the meta-iteration does not matter."""
        del iteration
        return _log_uniform(key, float(self.low), float(self.high))


@dataclasses.dataclass(frozen=True)
class Constant:
    """Always ``length`` steps."""

    length: int = 1000

    def __post_init__(self) -> None:
        """Checks the length."""
        _check_range(self.length, self.length)

    @property
    def minimum(self) -> int:
        """The length."""
        return self.length

    @property
    def maximum(self) -> int:
        """The length."""
        return self.length

    def sample(self, key: Array, iteration: Array) -> Array:
        """The length, whatever the key."""
        del key, iteration
        return jnp.asarray(self.length, jnp.int32)


@dataclasses.dataclass(frozen=True)
class Curriculum:
    """Log-uniform from ``low`` to a bound that grows log-linearly from ``start`` to ``high``.

    The bound reaches ``high`` after ``over`` meta-iterations.

    Short trainings first (VeLO, arXiv 2211.09760, section on the curriculum; Metz et al. 2019): their losses
    vary less, so theta learns to move at all before it learns to move far.
    """

    low: int = 100
    start: int = 200
    high: int = 2000
    over: int = 10_000

    def __post_init__(self) -> None:
        """Checks the range and the duration."""
        _check_range(self.low, self.start)
        _check_range(self.start, self.high)
        if self.over < 1:
            raise ValueError(f"a curriculum lasts {self.over} meta-iterations; expected at least 1")

    @property
    def minimum(self) -> int:
        """Smallest horizon."""
        return self.low

    @property
    def maximum(self) -> int:
        """Largest horizon, reached at the end of the curriculum."""
        return self.high

    def sample(self, key: Array, iteration: Array) -> Array:
        """Draws one horizon at this meta-iteration."""
        done = jnp.clip(iteration.astype(jnp.float32) / self.over, 0.0, 1.0)
        bound = self.start * jnp.exp(done * math.log(self.high / self.start))
        return _log_uniform(key, float(self.low), bound)
