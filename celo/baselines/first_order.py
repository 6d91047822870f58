"""Gradient descent and its momenta, per-layer step lengths, and the first adaptive methods.

Defaults are those of the runs published with VeLO (Metz et al. 2022, arXiv 2211.09760); a docstring says
where optax's own differ. Options bear optax's names.
"""

from __future__ import annotations

import optax

from celo.baselines.contract import Number, Rate, Transformation, baseline


@baseline
def sgd(learning_rate: Rate) -> Transformation:
    """Stochastic gradient descent, ``p <- p - lr g``."""
    return optax.sgd(learning_rate)


@baseline
def sgdm(learning_rate: Rate, *, momentum: Number = 0.9) -> Transformation:
    """SGD with momentum, ``m <- 0.9 m + g``, ``p <- p - lr m``. optax's default is no momentum."""
    return optax.sgd(learning_rate, momentum)


@baseline
def nesterov(learning_rate: Rate, *, momentum: Number = 0.9) -> Transformation:
    """SGD with Nesterov momentum, ``m <- 0.9 m + g``, ``p <- p - lr (g + 0.9 m)``."""
    return optax.sgd(learning_rate, momentum, nesterov=True)


@baseline
def lars(
    learning_rate: Rate,
    *,
    weight_decay: Number = 0.0,
    trust_coefficient: Number = 0.001,
    eps: Number = 0.0,
    momentum: Number = 0.9,
    nesterov: bool = False,
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
def fromage(learning_rate: Rate, *, min_norm: Number = 1e-6) -> Transformation:
    """Fromage (Bernstein et al. 2020, arXiv 2002.03432). optax's defaults."""
    return optax.fromage(learning_rate, min_norm)


@baseline
def rmsprop(
    learning_rate: Rate,
    *,
    decay: Number = 0.9,
    eps: Number = 1e-8,
    momentum: Number | None = None,
    nesterov: bool = False,
) -> Transformation:
    """RMSProp (Tieleman and Hinton 2012), eps inside the root, no bias correction. optax's defaults.

    The published runs name momentum 0; None is the same update without its idle buffer.
    """
    return optax.rmsprop(learning_rate, decay, eps, momentum=momentum, nesterov=nesterov)


@baseline
def rmsprop_momentum(
    learning_rate: Rate,
    *,
    decay: Number = 0.9,
    eps: Number = 1e-8,
    momentum: Number = 0.9,
    nesterov: bool = False,
) -> Transformation:
    """RMSProp with momentum 0.9, applied after the learning rate. optax's default is no momentum."""
    return optax.rmsprop(learning_rate, decay, eps, momentum=momentum, nesterov=nesterov)


@baseline
def adagrad(
    learning_rate: Rate, *, initial_accumulator_value: Number = 0.1, eps: Number = 1e-7
) -> Transformation:
    """AdaGrad (Duchi, Hazan and Singer 2011), ``p <- p - lr g / sqrt(0.1 + sum g^2 + 1e-7)``.

    optax's defaults.
    """
    return optax.adagrad(learning_rate, initial_accumulator_value, eps)
