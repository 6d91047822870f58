"""Methods that divide every entry, row or column by the size of its gradients.

Defaults are those of the runs published with VeLO (Metz et al. 2022, arXiv 2211.09760) where there are any; a
docstring says where optax's own differ. Options have optax's names.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from celo._core.checks import Count, Decay, DecayOrSum, Flag, NonNegative, WholeNumber
from celo.baselines.contract import Rate, Transformation, baseline


@baseline
def rmsprop(
    learning_rate: Rate,
    *,
    decay: Decay = 0.9,
    eps: NonNegative = 1e-8,
    momentum: Decay | None = None,
    nesterov: Flag = False,
) -> Transformation:
    """RMSProp (Tieleman and Hinton 2012), eps inside the root, no bias correction. optax's defaults.

    The published runs name momentum 0; None is the same update without its idle buffer.
    """
    return optax.rmsprop(learning_rate, decay, eps, momentum=momentum, nesterov=nesterov)


@baseline
def rmsprop_momentum(
    learning_rate: Rate,
    *,
    decay: Decay = 0.9,
    eps: NonNegative = 1e-8,
    momentum: Decay = 0.9,
    nesterov: Flag = False,
) -> Transformation:
    """RMSProp with momentum 0.9, applied after the learning rate. optax's default is no momentum."""
    return optax.rmsprop(learning_rate, decay, eps, momentum=momentum, nesterov=nesterov)


@baseline
def adagrad(
    learning_rate: Rate, *, initial_accumulator_value: NonNegative = 0.1, eps: NonNegative = 1e-7
) -> Transformation:
    """AdaGrad (Duchi, Hazan and Singer 2011), ``p <- p - lr g / sqrt(0.1 + sum g^2 + 1e-7)``.

    optax's defaults.
    """
    return optax.adagrad(learning_rate, initial_accumulator_value, eps)


@baseline
def adadelta(
    learning_rate: Rate, *, rho: Decay = 0.9, eps: NonNegative = 1e-6, weight_decay: NonNegative = 0.0
) -> Transformation:
    """AdaDelta (Zeiler 2012, arXiv 1212.5701); its own rate is 1. optax's defaults."""
    return optax.adadelta(learning_rate, rho, eps, weight_decay)


@baseline
def adafactor(
    learning_rate: Rate,
    *,
    min_dim_size_to_factor: WholeNumber = 128,
    decay_rate: NonNegative = 0.8,
    decay_offset: Count = 0,
    multiply_by_parameter_scale: Flag = True,
    clipping_threshold: NonNegative | None = 1.0,
    momentum: Decay | None = None,
    weight_decay_rate: NonNegative | None = None,
    eps: NonNegative = 1e-30,
    factored: Flag = True,
) -> Transformation:
    """Adafactor (Shazeer and Stern 2018, arXiv 1804.04235). optax's defaults; factored from 128 x 128 on."""
    return optax.adafactor(
        learning_rate,
        min_dim_size_to_factor=min_dim_size_to_factor,
        decay_rate=decay_rate,
        decay_offset=decay_offset,
        multiply_by_parameter_scale=multiply_by_parameter_scale,
        clipping_threshold=clipping_threshold,
        momentum=momentum,
        weight_decay_rate=weight_decay_rate,
        eps=eps,
        factored=factored,
    )


def _scalars_as_vectors(inner: Transformation) -> Transformation:
    """Shows a transformation every scalar as a vector of one entry."""

    def reshaped(tree: Any) -> Any:
        return jax.tree.map(
            lambda x: (
                jax.ShapeDtypeStruct(x.shape or (1,), x.dtype, sharding=x.sharding)
                if isinstance(x, jax.ShapeDtypeStruct)
                else jnp.atleast_1d(x)
            ),
            tree,
        )

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        new, state = inner.update(reshaped(updates), state, reshaped(params))
        return jax.tree.map(lambda u, g: u.reshape(jnp.shape(g)), new, updates), state

    return optax.GradientTransformation(lambda params: inner.init(reshaped(params)), update)


@baseline
def sm3(
    learning_rate: Rate, *, momentum: Decay = 0.9, b2: DecayOrSum = 1.0, eps: NonNegative = 1e-8
) -> Transformation:
    """SM3 (Anil et al. 2019, arXiv 1901.11150): one accumulator per row and column, momentum as an average.

    optax's defaults; unlike `optax.sm3` it takes scalars, as vectors of one entry, schedules and ``b2``.
    """
    return optax.chain(
        _scalars_as_vectors(optax.scale_by_sm3(momentum, b2, eps)),
        optax.scale_by_learning_rate(learning_rate),
    )
