"""Truncated evolution strategies: PES without a memory, hence biased towards short-term gains."""

from __future__ import annotations

import dataclasses

from jax import Array

from meta.estimators.antithetic import Antithetic
from meta.unroll import Steps


@dataclasses.dataclass(frozen=True)
class TruncatedES(Antithetic):
    """Antithetic ES on each truncation alone: ``mean over problems of e mean_t(delta_t) / (2 sigma^2)``."""

    def contribution(self, steps: Steps, e: Array, xi: Array) -> tuple[Array, Array]:
        """``e mean_t(delta_t) / (2 sigma^2)``; the accumulator stays zero."""
        return self.plain_gradient(steps, e), xi
