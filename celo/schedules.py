"""Learning-rate schedules of the published baselines, as optax schedules: step count to learning rate.

The step count is the number of updates made before, so the first update sees 0. Every argument may be traced,
which lets a list of configurations run under one `jax.vmap`. `SCHEDULES` has those a command line can name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
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


def warmup_cosine(
    learning_rate: ArrayLike, num_steps: ArrayLike, *, warmup: ArrayLike = 0.0, last: ArrayLike = 0.0
) -> optax.Schedule:
    """Linear warm-up, then half a cosine down to ``last lr`` at step T, constant after T.

    ``lr_t = lr (t + 1) / W`` for ``t + 1 <= W = warmup T``, then
    ``lr (k + (1 - k) (1 + cos(pi (t - W) / (T - W))) / 2)``.

    Args:
        learning_rate: the highest rate.
        num_steps: T, length of the schedule in steps.
        warmup: share of the steps for warm-up, in [0, 1].
        last: k, last rate over highest rate, in [0, 1].

    Returns:
        An optax schedule.

    Raises:
        ValueError: for a number out of its range.

    Example:
        >>> [round(float(warmup_cosine(1.0, 10, warmup=0.2)(t)), 3) for t in (0, 1, 2, 6, 10)]
        [0.5, 1.0, 1.0, 0.5, 0.0]
    """
    _require("last", last, 0.0, 1.0)

    def shape(t: Array, total: Array, ramp: Array) -> ArrayLike:
        progress = jnp.clip((t - ramp) / jnp.maximum(total - ramp, 1.0), 0.0, 1.0)
        return last + (1.0 - last) * 0.5 * (1.0 + jnp.cos(jnp.pi * progress))

    return _with_warmup(learning_rate, num_steps, warmup, shape)


def warmup_stable_decay(
    learning_rate: ArrayLike,
    num_steps: ArrayLike,
    *,
    warmup: ArrayLike = 0.0,
    cooldown: ArrayLike = 0.2,
    last: ArrayLike = 0.0,
) -> optax.Schedule:
    """Linear warm-up, a constant rate, and a linear descent to ``last lr`` over the last part of T steps.

    Args:
        learning_rate: the highest rate.
        num_steps: T, length of the schedule in steps.
        warmup: share of the steps for warm-up, in [0, 1].
        cooldown: share of the steps for the descent, in [0, 1].
        last: last rate over highest rate, in [0, 1].

    Returns:
        An optax schedule. Where warm-up and descent overlap, the rate is their product.

    Raises:
        ValueError: for a number out of its range.

    Example:
        >>> [round(float(warmup_stable_decay(1.0, 10, warmup=0.2)(t)), 3) for t in (0, 1, 5, 8, 9, 10)]
        [0.5, 1.0, 1.0, 1.0, 0.5, 0.0]

    Source: Hu et al. 2024, MiniCPM (arXiv 2404.06395), section 4.
    """
    _require("cooldown", cooldown, 0.0, 1.0)
    _require("last", last, 0.0, 1.0)

    def shape(t: Array, total: Array, ramp: Array) -> ArrayLike:
        del ramp
        left = jnp.clip((total - t) / jnp.maximum(total * cooldown, 1e-6), 0.0, 1.0)
        return last + (1.0 - last) * left

    return _with_warmup(learning_rate, num_steps, warmup, shape)


def warmup_constant(
    learning_rate: ArrayLike, num_steps: ArrayLike, *, warmup: ArrayLike = 0.0
) -> optax.Schedule:
    """Linear warm-up over a share ``warmup`` of ``num_steps``, then a constant rate; see `warmup_cosine`."""
    return _with_warmup(learning_rate, num_steps, warmup, lambda t, total, ramp: 1.0)


def _with_warmup(
    learning_rate: ArrayLike,
    num_steps: ArrayLike,
    warmup: ArrayLike,
    shape: Callable[[Array, Array, Array], ArrayLike],
) -> optax.Schedule:
    """``lr min(1, (t + 1) / W) shape(t, T, W)``, W = warmup T steps."""
    _require("learning_rate", learning_rate, 0.0, _LARGEST)
    _require("num_steps", num_steps, 1, _LARGEST)
    _require("warmup", warmup, 0.0, 1.0)

    def schedule(count: ArrayLike) -> ArrayLike:
        t, total = jnp.asarray(count, jnp.float32), jnp.asarray(num_steps, jnp.float32)
        ramp = total * warmup
        # From the first update on: a rate of 0 would waste a step.
        risen = jnp.minimum((t + 1.0) / jnp.maximum(ramp, 1.0), 1.0)
        return learning_rate * risen * shape(t, total, ramp)

    return schedule


def _inverse_sqrt(
    learning_rate: ArrayLike, num_steps: ArrayLike, *, warmup_steps: ArrayLike = 1000
) -> optax.Schedule:
    del num_steps
    return linear_rampup_sqrt_decay(learning_rate, warmup_steps)


def _exponential(
    learning_rate: ArrayLike, num_steps: ArrayLike, *, decay_amount: ArrayLike = 7e-5
) -> optax.Schedule:
    del num_steps
    return exponential_decay(learning_rate, decay_amount)


SCHEDULES: Mapping[str, Callable[..., optax.Schedule]] = MappingProxyType(
    {
        "constant": warmup_constant,
        "cosine": warmup_cosine,
        "wsd": warmup_stable_decay,
        "inverse_sqrt": _inverse_sqrt,
        "exponential": _exponential,
    }
)
"""Schedules by name: functions of the highest learning rate, the number of steps, and their options."""
