"""Learning-rate schedules of the published baselines, as optax schedules: step count to learning rate.

The step count is the number of updates made before, so the first update sees 0. Every argument may be traced,
which lets a list of configurations run under one `jax.vmap`.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import optax
from jax.typing import ArrayLike

_LARGEST = float(np.finfo(np.float32).max)


def _require(name: str, value: ArrayLike, low: float, high: float) -> None:
    """Refuses a number known before tracing that lies outside [low, high]."""
    if isinstance(value, (int, float)) and not low <= value <= high:
        raise ValueError(f"{name} is {value}; expected a number in [{low}, {high}]")


def cosine_learning_rate(
    learning_rate: ArrayLike,
    num_steps: ArrayLike,
    min_learning_rate_mult: ArrayLike = 0.0,
    constant_fraction: ArrayLike = 0.5,
    warmup_fraction: ArrayLike = 0.01,
) -> optax.Schedule:
    """Constant until ``constant_fraction T``, then half a cosine down to ``min_learning_rate_mult lr`` at T.

    ``lr_t = lr (k + (1 - k) (1 + cos(pi (t - cT) / (T - cT))) / 2)`` for ``t >= cT``, constant after T.

    **A quirk kept on purpose.** With ``warmup_fraction > 0`` the linear warm-up lasts ``max(warmup_fraction,
    constant_fraction) T`` steps, not ``warmup_fraction T``: the constant phase becomes warm-up. The published
    list of NAdamW settings was chosen with it.

    Args:
        learning_rate: the highest rate.
        num_steps: T, length of the run in steps.
        min_learning_rate_mult: k, last rate over highest rate.
        constant_fraction: c, part of the run before the decay.
        warmup_fraction: requested share of the run for warm-up; see the quirk.

    Returns:
        An optax schedule.

    Raises:
        ValueError: for `num_steps` below 1 or a fraction outside [0, 1].

    Source: the schedule of the NAdamW baseline, Metz et al. 2020 (arXiv 2002.11887).
    """
    _require("learning_rate", learning_rate, 0.0, _LARGEST)
    _require("num_steps", num_steps, 1, _LARGEST)
    _require("min_learning_rate_mult", min_learning_rate_mult, 0.0, _LARGEST)
    _require("constant_fraction", constant_fraction, 0.0, 1.0)
    _require("warmup_fraction", warmup_fraction, 0.0, 1.0)

    def schedule(count: ArrayLike) -> ArrayLike:
        total = jnp.asarray(num_steps, jnp.float32)
        step = jnp.minimum(jnp.asarray(count, jnp.float32), total)
        constant = total * constant_fraction
        # With constant_fraction 1 nothing is left to decay over; the guard keeps 0/0 out.
        decay_steps = jnp.maximum(total - constant, jnp.finfo(jnp.float32).tiny)
        progress = jnp.maximum(step - constant, 0.0) / decay_steps
        cosine = 0.5 + 0.5 * jnp.cos(jnp.pi * progress)
        decayed = min_learning_rate_mult + (1.0 - min_learning_rate_mult) * cosine
        warmup = total * jnp.maximum(warmup_fraction, constant_fraction)
        in_warmup = (jnp.asarray(warmup_fraction) > 0.0) & (step < warmup)
        ramp = step / jnp.where(in_warmup, warmup, 1.0)
        return learning_rate * jnp.where(in_warmup, ramp, decayed)

    return schedule


def linear_rampup_sqrt_decay(peak: ArrayLike = 1e-3, warmup_steps: ArrayLike = 1000) -> optax.Schedule:
    """Linear warm-up, then decay with the root of time: ``peak min(t/W, sqrt(W/t))``, ``t = max(step, 1)``.

    Args:
        peak: highest rate, reached at step `warmup_steps`.
        warmup_steps: W, in steps.

    Returns:
        An optax schedule.

    Raises:
        ValueError: for a negative or infinite `peak`, or `warmup_steps` below 1.
    """
    _require("peak", peak, 0.0, _LARGEST)
    _require("warmup_steps", warmup_steps, 1, _LARGEST)

    def schedule(count: ArrayLike) -> ArrayLike:
        t = jnp.maximum(jnp.asarray(count, jnp.float32), 1.0)
        w = jnp.asarray(warmup_steps, jnp.float32)
        return peak * jnp.minimum(t / w, jnp.sqrt(w / t))

    return schedule


def exponential_decay(base: ArrayLike, decay_amount: ArrayLike = 7e-5) -> optax.Schedule:
    """Constant relative decay: ``base (1 - decay_amount)^step``.

    Args:
        base: first rate.
        decay_amount: part lost per step; the default loses three orders of magnitude in 100,000 steps.

    Returns:
        An optax schedule.

    Raises:
        ValueError: for a negative or infinite `base`, or a `decay_amount` outside [0, 1].
    """
    _require("base", base, 0.0, _LARGEST)
    _require("decay_amount", decay_amount, 0.0, 1.0)

    def schedule(count: ArrayLike) -> ArrayLike:
        return base * jnp.exp(
            jnp.asarray(count, jnp.float32) * jnp.log1p(-jnp.asarray(decay_amount, jnp.float32))
        )

    return schedule
