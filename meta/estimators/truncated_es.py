"""Truncated evolution strategies: PES without a memory, hence biased towards short-term gains."""

from __future__ import annotations

import dataclasses
import jax.numpy as jnp
from jax import Array

from meta.estimators.antithetic import Antithetic
from meta.unroll import Steps


@dataclasses.dataclass(frozen=True)
class TruncatedES(Antithetic):
    """Antithetic ES on each truncation alone: ``mean over problems of e mean_t(delta_t) / (2 sigma^2)``."""

    def contribution(self, steps: Steps, e: Array, xi: Array) -> tuple[Array, Array]:
        """``e sum(w delta) / sum(w) / (2 sigma^2)``; the accumulator stays zero."""
        weights = steps.mask.astype(jnp.float32)
        mean = jnp.sum(weights * (steps.loss[:, 0] - steps.loss[:, 1])) / jnp.maximum(jnp.sum(weights), 1.0)
        return mean * e / (2.0 * self.sigma**2), xi
