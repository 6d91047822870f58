"""Truncated evolution strategies: PES without a memory, hence biased towards short-term gains."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp

from celo.meta.estimators.antithetic import Antithetic, Weights
from celo.meta.estimators.unroll import Steps


@dataclasses.dataclass(frozen=True)
class TruncatedES(Antithetic):
    """Antithetic ES on each truncation alone: ``mean over problems of e mean_t(delta_t) / (2 sigma^2)``."""

    def weigh(self, steps: Steps) -> Weights:
        """``e mean_t(delta_t) / (2 sigma^2)``, whatever came before."""
        weight = self.plain_weight(steps)
        return Weights(jnp.zeros_like(weight), weight, jnp.any(steps.done))
