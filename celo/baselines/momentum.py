"""Gradient descent, with momentum, signs, or norms of whole tensors.

Defaults are those of the runs published with VeLO (Metz et al. 2022, arXiv 2211.09760) where there are any; a
docstring says where optax's own differ. Options have optax's names.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo._core.checks import DecayOrSum, NonNegative, Size
from celo.baselines.contract import Rate, Transformation, from_optax, in_auto_mode

sgd = from_optax(optax.sgd)
"""Stochastic gradient descent, ``p <- p - lr g``."""

sgdm = from_optax(optax.sgd, momentum=0.9)
"""SGD with momentum, ``m <- 0.9 m + g``, ``p <- p - lr m``. optax's default is no momentum."""

nesterov = from_optax(functools.partial(optax.sgd, nesterov=True), momentum=0.9)
"""SGD with Nesterov momentum, ``m <- 0.9 m + g``, ``p <- p - lr (g + 0.9 m)``."""

lars = from_optax(
    optax.lars,
    {"trust_coefficient": NonNegative},
    weight_decay=0.0,
    trust_coefficient=0.001,
    eps=0.0,
    momentum=0.9,
    nesterov=False,
)
"""LARS (You, Gitman and Ginsburg 2017, arXiv 1708.03888). optax's defaults."""

fromage = from_optax(optax.fromage, {"min_norm": NonNegative}, min_norm=1e-6)
"""Fromage (Bernstein et al. 2020, arXiv 2002.03432). optax's defaults."""

sign_sgd = from_optax(optax.sign_sgd)
"""Sign descent (Bernstein et al. 2018, arXiv 1802.04434), ``p <- p - lr sign(g)``."""

lion = from_optax(optax.lion, b1=0.9, b2=0.99, weight_decay=1e-3)
"""Lion (Chen et al. 2023, arXiv 2302.06675): the sign of a momentum. optax's defaults."""

muon = from_optax(
    lambda learning_rate, **options: in_auto_mode(optax.contrib.muon(learning_rate, **options)),
    {"ns_steps": Size},
    ns_steps=5,
    beta=0.95,
    eps=1e-8,
    weight_decay=0.0,
    nesterov=True,
    adam_b1=0.9,
    adam_b2=0.999,
    adam_weight_decay=0.0,
)
"""Muon (Jordan 2024): momentum orthogonalised by Newton-Schulz iterations. optax's defaults.

Leaves of rank 2, and only these, are orthogonalised; scalars, vectors and tensors of rank 3 and more take
AdamW at the same learning rate, with Nesterov momentum if ``nesterov`` and weight decay
``adam_weight_decay``.
"""


def _lookahead(
    make: Any, learning_rate: Rate, *, sync_period: int, slow_step_size: float | Array, **options: Any
) -> Transformation:
    """Every ``sync_period`` steps moves back to ``slow + slow_step_size (fast - slow)``, the new slow ones.

    The state holds ``fast - slow`` in place of the slow weights, so that it starts from shapes alone.
    """
    inner = make(learning_rate, **options)

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


_LOOKAHEAD = {"sync_period": Size, "slow_step_size": DecayOrSum}

lookahead_sgdm = from_optax(
    functools.partial(_lookahead, optax.sgd), _LOOKAHEAD, momentum=0.9, sync_period=5, slow_step_size=0.5
)
"""Lookahead (Zhang et al. 2019, arXiv 1907.08610) around SGD with momentum, with its k 5 and alpha 0.5.

It trains and evaluates the fast weights, which are the slow ones after every ``sync_period`` steps.
"""

lookahead_radam = from_optax(
    functools.partial(_lookahead, optax.radam),
    _LOOKAHEAD,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    sync_period=5,
    slow_step_size=0.5,
)
"""Lookahead around Rectified Adam, known as Ranger; see `lookahead_sgdm`."""
