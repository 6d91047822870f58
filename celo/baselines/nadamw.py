"""NAdamW, the family of the tuned-list baseline (Metz et al. 2020, arXiv 2002.11887)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array


def nadamw(
    learning_rate: optax.ScalarOrSchedule,
    b1: float | Array = 0.9,
    b2: float | Array = 0.999,
    eps: float | Array = 1e-8,
    adamw_weight_decay: float | Array = 0.0,
    l2_weight_decay: float | Array = 0.0,
    nesterov: bool | Array = True,
) -> optax.GradientTransformation:
    """Adam with Nesterov momentum and two kinds of weight decay.

    ``g <- g - l2 p``, ``m <- b1 m + (1-b1) g``, ``v <- b2 v + (1-b2) g^2``,
    ``lr_t = lr sqrt(1-b2^t) / (1-b1^t)``, ``p <- p - lr_t (n / (sqrt(v) + eps) + adamw p)``, with
    ``n = b1 m + (1-b1) g`` under Nesterov momentum, else ``m``; t counts from 1.

    Three things differ from `optax.nadamw`: `eps` is added before the bias correction of v; the correction of
    m is applied to all of n, so that a first step has length ``(1 + b1) lr``; and the decay is scaled by
    ``lr_t``. The sign of the L2 term is the reference's, opposite to the usual one: a positive
    `l2_weight_decay` drives parameters away from 0.

    Args:
        learning_rate: a scalar, or a schedule of the number of steps taken before this one.
        b1: decay of the first moment.
        b2: decay of the second moment.
        eps: added to the root of the second moment.
        adamw_weight_decay: decoupled decay, per unit of ``lr_t``.
        l2_weight_decay: multiple of the parameters subtracted from the gradient.
        nesterov: whether to use Nesterov momentum; may be traced.

    Returns:
        An `optax.GradientTransformation` whose update needs the parameters. Every argument may be traced, so
        that a list of configurations runs under one `jax.vmap`.
    """

    def init(params: optax.Params) -> optax.ScaleByAdamState:
        mu, nu = optax.tree.zeros_like(params), optax.tree.zeros_like(params)
        return optax.ScaleByAdamState(jnp.zeros([], jnp.int32), mu, nu)

    def update(
        updates: optax.Updates, state: Any, params: optax.Params | None = None
    ) -> tuple[optax.Updates, optax.ScaleByAdamState]:
        if params is None:
            raise ValueError("nadamw decays weights: its update needs params=")
        count = optax.safe_increment(state.count)
        t = jnp.asarray(count, jnp.float32)
        rate = learning_rate(state.count) if callable(learning_rate) else learning_rate
        rate = jnp.asarray(rate, jnp.float32) * jnp.sqrt(1.0 - b2**t) / (1.0 - b1**t)
        g = jax.tree.map(lambda u, p: u - l2_weight_decay * p, updates, params)
        mu = optax.tree.update_moment(g, state.mu, b1, 1)
        nu = optax.tree.update_moment(g, state.nu, b2, 2)

        def step(g: Array, m: Array, v: Array, p: Array) -> Array:
            numerator = jnp.where(nesterov, b1 * m + (1.0 - b1) * g, m)
            return -rate * (numerator / (jnp.sqrt(v) + eps) + adamw_weight_decay * p)

        return jax.tree.map(step, g, mu, nu, params), optax.ScaleByAdamState(count, mu, nu)

    return optax.GradientTransformation(init, update)
