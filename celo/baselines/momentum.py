"""Gradient descent, with momentum, signs, or norms of whole tensors.

Defaults are those of the runs published with VeLO (Metz et al. 2022, arXiv 2211.09760) where there are any; a
docstring says where optax's own differ. Options have optax's names.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo._core.checks import Decay, DecayOrSum, Flag, NonNegative, Size
from celo.baselines.contract import Rate, Transformation, baseline


@baseline
def sgd(learning_rate: Rate) -> Transformation:
    """Stochastic gradient descent, ``p <- p - lr g``."""
    return optax.sgd(learning_rate)


@baseline
def sgdm(learning_rate: Rate, *, momentum: Decay = 0.9) -> Transformation:
    """SGD with momentum, ``m <- 0.9 m + g``, ``p <- p - lr m``. optax's default is no momentum."""
    return optax.sgd(learning_rate, momentum)


@baseline
def nesterov(learning_rate: Rate, *, momentum: Decay = 0.9) -> Transformation:
    """SGD with Nesterov momentum, ``m <- 0.9 m + g``, ``p <- p - lr (g + 0.9 m)``."""
    return optax.sgd(learning_rate, momentum, nesterov=True)


@baseline
def lars(
    learning_rate: Rate,
    *,
    weight_decay: NonNegative = 0.0,
    trust_coefficient: NonNegative = 0.001,
    eps: NonNegative = 0.0,
    momentum: Decay = 0.9,
    nesterov: Flag = False,
) -> Transformation:
    """LARS (You, Gitman and Ginsburg 2017, arXiv 1708.03888). optax's defaults."""
    return optax.lars(
        learning_rate,
        weight_decay,
        trust_coefficient=trust_coefficient,
        eps=eps,
        momentum=momentum,
        nesterov=nesterov,
    )


@baseline
def fromage(learning_rate: Rate, *, min_norm: NonNegative = 1e-6) -> Transformation:
    """Fromage (Bernstein et al. 2020, arXiv 2002.03432). optax's defaults."""
    return optax.fromage(learning_rate, min_norm)


@baseline
def sign_sgd(learning_rate: Rate) -> Transformation:
    """Sign descent (Bernstein et al. 2018, arXiv 1802.04434), ``p <- p - lr sign(g)``."""
    return optax.sign_sgd(learning_rate)


@baseline
def lion(
    learning_rate: Rate, *, b1: Decay = 0.9, b2: Decay = 0.99, weight_decay: NonNegative = 1e-3
) -> Transformation:
    """Lion (Chen et al. 2023, arXiv 2302.06675): the sign of a momentum. optax's defaults."""
    return optax.lion(learning_rate, b1, b2, weight_decay=weight_decay)


def _lookahead(inner: Transformation, sync_period: int, slow_step_size: float | Array) -> Transformation:
    """Every ``sync_period`` steps moves back to ``slow + slow_step_size (fast - slow)``, the new slow ones.

    The state holds ``fast - slow`` in place of the slow weights, so that it starts from shapes alone.
    """

    def init(params: Any) -> Any:
        return jnp.zeros([], jnp.int32), optax.tree.zeros_like(params), inner.init(params)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        count, ahead, inner_state = state
        steps, inner_state = inner.update(updates, inner_state, params)
        count = (count + 1) % sync_period
        ahead = jax.tree.map(jnp.add, ahead, steps)
        back = jax.tree.map(lambda d: jnp.where(count == 0, (1.0 - slow_step_size) * d, 0.0), ahead)
        ahead = jax.tree.map(lambda d: jnp.where(count == 0, 0.0, d), ahead)
        return jax.tree.map(jnp.subtract, steps, back), (count, ahead, inner_state)

    return optax.GradientTransformation(init, update)


@baseline
def lookahead_sgdm(
    learning_rate: Rate, *, momentum: Decay = 0.9, sync_period: Size = 5, slow_step_size: DecayOrSum = 0.5
) -> Transformation:
    """Lookahead (Zhang et al. 2019, arXiv 1907.08610) around SGD with momentum, with its k 5 and alpha 0.5.

    It trains and evaluates the fast weights, which are the slow ones after every ``sync_period`` steps.
    """
    return _lookahead(optax.sgd(learning_rate, momentum), sync_period, slow_step_size)


@baseline
def lookahead_radam(
    learning_rate: Rate,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    sync_period: Size = 5,
    slow_step_size: DecayOrSum = 0.5,
) -> Transformation:
    """Lookahead around Rectified Adam, known as Ranger; see `lookahead_sgdm`."""
    return _lookahead(optax.radam(learning_rate, b1, b2, eps), sync_period, slow_step_size)
