"""What optimizers see of the loss, and how a loss that is not finite is kept out of their averages."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

NUM_DECAYS = 10
NUM_LOSS_FEATURES = NUM_DECAYS - 1
PROGRESS_POINTS = np.asarray([0.03, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 1.0, 1.1], np.float32)
LARGEST_DECAY = 1.0 - 2.0**-24
LARGEST_LOSS = 1e30
_LARGE = 999999999999.0

SPREAD_DECAY = 0.9
SPREAD_EPSILON = 1e-8
SPREAD_LARGEST = 5.0
LARGEST_SPREAD = 1e18  # its square is finite in float32


class LossState(NamedTuple):
    """Running averages of the loss on ten time scales.

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

    From 2e7 steps on ``exp(-1/h)`` rounds to 1 in float32, and no average would ever move: the largest decay
    is the number before 1.

    Args:
        num_steps: horizon in steps, may be traced.
    """
    exponent = jnp.linspace(1.0, jnp.log10(jnp.asarray(num_steps, jnp.float32)), NUM_DECAYS)
    return LossState(
        decays=jnp.minimum(jnp.exp(-1.0 / 10.0**exponent), LARGEST_DECAY),
        means=jnp.zeros((NUM_DECAYS,), jnp.float32),
        minima=jnp.full((NUM_DECAYS,), _LARGE, jnp.float32),
        count=jnp.zeros((), jnp.int32),
    )


def update(state: LossState, loss: Array) -> LossState:
    """Adds a loss, first capped at twice the largest bias-corrected average so that one spike does not stay.

    A loss that is not finite counts as the cap; as 0, and in no minimum, where no finite loss was before it.

    Args:
        state: averages before.
        loss: () raw loss.

    Returns:
        Averages after.
    """
    finite = jnp.isfinite(loss)
    loss = jnp.where(finite, jnp.clip(loss, -LARGEST_LOSS, LARGEST_LOSS), LARGEST_LOSS)
    correction = 1.0 - state.decays ** (state.count + 1).astype(jnp.float32)
    # The old averages over the new correction: the cap of the reference implementation.
    largest = jnp.max(state.means / correction)
    known = largest != 0.0
    cap = 2.0 * jnp.abs(jnp.where(known, largest, jnp.where(finite, loss, 0.0)))
    capped = jnp.minimum(jnp.minimum(cap, LARGEST_LOSS), loss)
    means = state.decays * state.means + (1.0 - state.decays) * capped
    minima = jnp.where(known | finite, jnp.minimum(state.minima, means / correction), state.minima)
    return LossState(state.decays, means, minima, state.count + 1)


def features(state: LossState) -> Array:
    """Nine features in [-1, 1]: -1 where the loss falls steadily, more where a faster average lags less.

    ``clip((mu_i - min_i) / max(1e-8, mu_{i+1} - min_i) - 1, -1, 1)``; zero for the first two losses.

    Args:
        state: averages after `update`.

    Returns:
        (9,) features.

    Source: VeLO, arXiv 2211.09760.
    """
    mu = state.means / (1.0 - state.decays ** state.count.astype(jnp.float32))
    above = mu[:-1] - state.minima[:-1]
    scale = jnp.maximum(1e-8, mu[1:] - state.minima[:-1])
    return jnp.where(state.count <= 2, 0.0, jnp.clip(above / scale - 1.0, -1.0, 1.0))


def progress(count: Array, num_steps: Array) -> Array:
    """Nine features of the fraction of training done, ``tanh(10 (count / num_steps - s))``.

    Args:
        count: () steps done before this one.
        num_steps: () horizon in steps.

    Returns:
        (9,) features.
    """
    fraction = count.astype(jnp.float32) / jnp.asarray(num_steps, jnp.float32)
    return jnp.tanh(10.0 * (fraction - PROGRESS_POINTS))


class LossSpread(NamedTuple):
    """Running mean and variance of the loss, each (), not bias-corrected."""

    mean: Array
    variance: Array


def init_spread() -> LossSpread:
    """Before the first loss: zeros."""
    return LossSpread(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.float32))


def normalise(spread: LossSpread, count: Array, loss: Array) -> tuple[Array, LossSpread]:
    """Adds a loss to its spread and measures it, and a loss of 0, in units of the spread.

    ``mean <- 0.9 mean + 0.1 L``, ``var <- 0.9 var + 0.1 (mean - L)^2`` with the new mean; then
    ``clip((L - mean) / sqrt(var + 1e-8), -5, 5)`` with bias-corrected mean and variance. A loss that is not
    finite is passed over: it counts as five spreads above the mean.

    Args:
        spread: before this loss.
        count: () number of losses with this one, at least 1.
        loss: () the loss.

    Returns:
        (2,) the normalised loss and the normalised 0, and the new spread.

    Source: Metz et al. 2020, arXiv 2009.11243. The 0 stands for the validation loss, as in the reference.
    """
    finite = jnp.isfinite(loss)
    kept = jnp.where(finite, jnp.clip(loss, -LARGEST_SPREAD, LARGEST_SPREAD), spread.mean)
    mean = SPREAD_DECAY * spread.mean + (1.0 - SPREAD_DECAY) * kept
    variance = SPREAD_DECAY * spread.variance + (1.0 - SPREAD_DECAY) * jnp.square(mean - kept)
    new = LossSpread(jnp.where(finite, mean, spread.mean), jnp.where(finite, variance, spread.variance))
    correction = 1.0 / (1.0 - SPREAD_DECAY ** count.astype(jnp.float32) + SPREAD_EPSILON)
    scale = jax.lax.rsqrt(new.variance * correction + SPREAD_EPSILON)
    both = jnp.stack([kept, jnp.zeros((), jnp.float32)])
    normal = jnp.clip((both - new.mean * correction) * scale, -SPREAD_LARGEST, SPREAD_LARGEST)
    return normal.at[0].set(jnp.where(finite, normal[0], SPREAD_LARGEST)), new
