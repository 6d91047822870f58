"""What a scheduler sees of training: how far it is, and how the loss moves on ten time scales.

Source: VeLO, arXiv 2211.09760.
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jax import Array

NUM_DECAYS = 10
NUM_LOSS_FEATURES = NUM_DECAYS - 1
PROGRESS_POINTS = np.asarray([0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1], np.float32)
_LARGE = 999999999999.0


class LossState(NamedTuple):
    """Running averages of the loss.

    Attributes:
        decays: (10,) decay of each average.
        means: (10,) averages, not bias-corrected.
        minima: (10,) running minimum of each bias-corrected average.
        count: () int32, losses seen.
    """

    decays: Array
    means: Array
    minima: Array
    count: Array  # pyright: ignore[reportIncompatibleMethodOverride]  # optax's name for it


def init(num_steps: float | Array) -> LossState:
    """Empty averages for a horizon: decays ``exp(-1/h)`` with ten ``h`` log-spaced from 10 to ``num_steps``.

    Args:
        num_steps: horizon in steps, may be traced.
    """
    exponent = jnp.linspace(1.0, jnp.log10(jnp.asarray(num_steps, jnp.float32)), NUM_DECAYS)
    return LossState(
        decays=jnp.exp(-1.0 / 10.0**exponent),
        means=jnp.zeros((NUM_DECAYS,), jnp.float32),
        minima=jnp.full((NUM_DECAYS,), _LARGE, jnp.float32),
        count=jnp.zeros((), jnp.int32),
    )


def update(state: LossState, loss: Array) -> LossState:
    """Adds a loss, first capped at twice the largest bias-corrected average so that one spike does not stay.

    Args:
        state: averages before.
        loss: () raw loss.

    Returns:
        Averages after.
    """
    correction = 1.0 - state.decays ** (state.count + 1).astype(jnp.float32)
    # The old averages over the new correction: the cap of the reference implementation.
    largest = jnp.max(state.means / correction)
    cap = 2.0 * jnp.abs(jnp.where(state.count == 0, loss, largest))
    means = state.decays * state.means + (1.0 - state.decays) * jnp.minimum(cap, loss)
    return LossState(
        decays=state.decays,
        means=means,
        minima=jnp.minimum(state.minima, means / correction),
        count=state.count + 1,
    )


def features(state: LossState) -> Array:
    """Nine features in [-1, 1]: -1 where the loss falls steadily, more where a faster average lags less.

    ``clip((mu_i - min_i) / max(1e-8, mu_{i+1} - min_i) - 1, -1, 1)``, zero until three losses were seen.

    Args:
        state: averages after `update`.

    Returns:
        (9,) features.
    """
    mu = state.means / (1.0 - state.decays ** state.count.astype(jnp.float32))
    above = mu[:-1] - state.minima[:-1]
    scale = jnp.maximum(1e-8, mu[1:] - state.minima[:-1])
    return jnp.where(state.count <= 2, 0.0, jnp.clip(above / scale - 1.0, -1.0, 1.0))


def progress_features(count: Array, num_steps: Array) -> Array:
    """Nine features of the fraction of training done, ``tanh(10 (count / num_steps - s))``.

    Args:
        count: () steps done before this one.
        num_steps: () horizon in steps.

    Returns:
        (9,) features.
    """
    fraction = count.astype(jnp.float32) / jnp.asarray(num_steps, jnp.float32)
    return jnp.tanh(10.0 * (fraction - PROGRESS_POINTS))
