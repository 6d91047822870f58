"""Truncation schedules: how long an inner problem is trained before it is reset."""

from __future__ import annotations

import dataclasses
import math

import jax
import jax.numpy as jnp
from jax import Array


@dataclasses.dataclass(frozen=True)
class Horizon:
    """Log-uniform distribution of the number of steps of an inner training (Celo: 100 to 2000).

    In a curriculum the upper bound grows: log-linearly from ``start`` to ``high`` over the first ``over``
    meta-iterations, or along straight lines between ``knots``. Short trainings first (VeLO, arXiv 2211.09760;
    Metz et al. 2019): their losses vary less, so theta learns to move at all before it learns to move far.

    Attributes:
        low: smallest horizon; equal to ``high`` for a constant one.
        high: largest horizon.
        start: upper bound at the beginning of a curriculum.
        over: meta-iterations of the curriculum; 0 = none.
        knots: (meta-iteration, upper bound) of a piecewise linear curriculum, in order; () = none. The bound
            is constant before the first and after the last.

    Raises:
        ValueError: unless 1 <= low <= start <= high and over >= 0, and knots are in order and range.
    """

    low: int = 100
    high: int = 2000
    start: int = 0
    over: int = 0
    knots: tuple[tuple[int, int], ...] = ()

    def __post_init__(self) -> None:
        if not 1 <= self.low <= self.high:
            raise ValueError(f"horizon range is [{self.low}, {self.high}]; expected 1 <= low <= high")
        if self.over > 0 and not self.low <= self.start <= self.high:
            raise ValueError(
                f"a curriculum starts at {self.start}; expected a bound from {self.low} to {self.high}"
            )
        if self.over < 0:
            raise ValueError(f"a curriculum lasts {self.over} meta-iterations; expected at least 0")
        times = [time for time, _ in self.knots]
        if times != sorted(set(times)) or not all(self.low <= x <= self.high for _, x in self.knots):
            raise ValueError(
                f"knots of a curriculum are {self.knots}; expected rising meta-iterations and bounds from "
                f"{self.low} to {self.high}"
            )

    def sample(self, key: Array, iteration: Array) -> Array:
        """Draws one horizon, () int32, at a meta-iteration, () int32."""
        if self.low == self.high:
            return jnp.asarray(self.low, jnp.int32)
        if self.knots:
            times, bounds = jnp.asarray(self.knots, jnp.float32).T
            return _log_uniform(
                key, float(self.low), jnp.interp(iteration.astype(jnp.float32), times, bounds)
            )
        if not self.over:
            return _log_uniform(key, float(self.low), float(self.high))
        done = jnp.clip(iteration.astype(jnp.float32) / self.over, 0.0, 1.0)
        bound = self.start * jnp.exp(done * math.log(self.high / self.start))
        return _log_uniform(key, float(self.low), bound)


def _log_uniform(key: Array, low: float | Array, high: float | Array) -> Array:
    log_low, log_high = jnp.log(jnp.asarray(low, jnp.float32)), jnp.log(jnp.asarray(high, jnp.float32))
    value = jnp.exp(log_low + (log_high - log_low) * jax.random.uniform(key, dtype=jnp.float32))
    return jnp.clip(value, low, high).astype(jnp.int32)
