"""Adam and the methods made from it.

Defaults are those of the runs published with VeLO (Metz et al. 2022, arXiv 2211.09760) where there are any; a
docstring says where optax's own differ. Options have optax's names.
"""

from __future__ import annotations

from typing import Any

import optax

from celo._core.checks import Decay, Flag, NonNegative, Number, TracedFlag
from celo.baselines import nadamw as nadamw_rule
from celo.baselines.contract import Rate, Transformation, baseline


@baseline
def adam(
    learning_rate: Rate,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 1e-8,
) -> Transformation:
    """Adam (Kingma and Ba 2014, arXiv 1412.6980), ``p <- p - lr mhat / (sqrt(vhat + eps_root) + eps)``.

    optax's ``eps_root`` is 0; 1e-8 inside the root bounds the step of gradients below about 1e-4.
    """
    return optax.adam(learning_rate, b1, b2, eps, eps_root)


@baseline
def adamw(
    learning_rate: Rate,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    weight_decay: NonNegative = 1e-4,
) -> Transformation:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2017, arXiv 1711.05101). optax's defaults."""
    return optax.adamw(learning_rate, b1, b2, eps, eps_root, weight_decay=weight_decay)


@baseline
def nadamw(
    learning_rate: Rate,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    adamw_weight_decay: NonNegative = 0.0,
    l2_weight_decay: Number = 0.0,
    nesterov: TracedFlag = True,
) -> Transformation:
    """NAdamW (Metz et al. 2020, arXiv 2002.11887); not `optax.nadamw`, see `celo.baselines.nadamw`."""
    return nadamw_rule.nadamw(learning_rate, b1, b2, eps, adamw_weight_decay, l2_weight_decay, nesterov)


@baseline
def radam(
    learning_rate: Rate,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    threshold: NonNegative = 5.0,
) -> Transformation:
    """Rectified Adam (Liu et al. 2019, arXiv 1908.03265). optax's defaults."""
    return optax.radam(learning_rate, b1, b2, eps, eps_root, threshold)


@baseline
def yogi(
    learning_rate: Rate, *, b1: Decay = 0.9, b2: Decay = 0.999, eps: NonNegative = 1e-3
) -> Transformation:
    """Yogi (Zaheer et al. 2018). optax's defaults, which start both moments at 1e-6."""
    return optax.yogi(learning_rate, b1, b2, eps)


@baseline
def adabelief(
    learning_rate: Rate,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-16,
    eps_root: NonNegative = 1e-16,
) -> Transformation:
    """AdaBelief (Zhuang et al. 2020, arXiv 2010.07468). optax's defaults."""
    return optax.adabelief(learning_rate, b1, b2, eps, eps_root)


@baseline
def lamb(
    learning_rate: Rate,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-6,
    eps_root: NonNegative = 0.0,
    weight_decay: NonNegative = 0.0,
) -> Transformation:
    """LAMB (You et al. 2019, arXiv 1904.00962). optax's defaults."""
    return optax.lamb(learning_rate, b1, b2, eps, eps_root, weight_decay)


@baseline
def nadam(
    learning_rate: Rate,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
) -> Transformation:
    """Adam with Nesterov momentum (Dozat 2016). optax's defaults."""
    return optax.nadam(learning_rate, b1, b2, eps, eps_root)


@baseline
def adamax(
    learning_rate: Rate, *, b1: Decay = 0.9, b2: Decay = 0.999, eps: NonNegative = 1e-8
) -> Transformation:
    """AdaMax (Kingma and Ba 2014, arXiv 1412.6980, section 7): Adam with the infinity norm.

    optax's defaults.
    """
    return optax.adamax(learning_rate, b1, b2, eps)


@baseline
def amsgrad(
    learning_rate: Rate,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
) -> Transformation:
    """AMSGrad (Reddi, Kale and Kumar 2018, arXiv 1904.09237): Adam over its largest second moment so far.

    optax's defaults.
    """
    return optax.amsgrad(learning_rate, b1, b2, eps, eps_root)


@baseline
def adan(
    learning_rate: Rate,
    *,
    b1: Decay = 0.98,
    b2: Decay = 0.92,
    b3: Decay = 0.99,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
) -> Transformation:
    """Adan (Xie et al. 2022, arXiv 2208.06677): moments of the gradient and of its change.

    optax's defaults.
    """
    return optax.adan(learning_rate, b1, b2, b3, eps, eps_root, weight_decay)


@baseline
def adopt(
    learning_rate: Rate,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.9999,
    eps: NonNegative = 1e-6,
    nesterov: Flag = False,
    use_clipping: Flag = True,
) -> Transformation:
    """ADOPT (Taniguchi et al. 2024, arXiv 2411.02853): each gradient over the moment before it.

    optax's defaults; the first update is 0.
    """
    return optax.contrib.adopt(learning_rate, b1, b2, eps, nesterov=nesterov, use_clipping=use_clipping)


@baseline
def acprop(
    learning_rate: Rate,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-16,
    eps_root: NonNegative = 1e-16,
    weight_decay: NonNegative = 0.0,
) -> Transformation:
    """ACProp (Zhuang et al. 2021, arXiv 2110.05454): AdaBelief over the moment before. optax's defaults."""
    return optax.contrib.acprop(learning_rate, b1, b2, eps, eps_root, weight_decay)


@baseline
def ademamix(
    learning_rate: Rate,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    b3: Decay = 0.9999,
    alpha: NonNegative = 5.0,
    eps: NonNegative = 1e-8,
    eps_root: NonNegative = 0.0,
    weight_decay: NonNegative = 0.0,
) -> Transformation:
    """AdEMAMix (Pagliardini et al. 2024, arXiv 2409.03137): Adam with a second, slower momentum.

    optax's defaults, without the schedules of ``b3`` and ``alpha`` that long trainings need.
    """
    return optax.contrib.ademamix(learning_rate, b1, b2, b3, alpha, eps, eps_root, weight_decay=weight_decay)


@baseline
def novograd(
    learning_rate: Rate,
    *,
    b1: Decay = 0.9,
    b2: Decay = 0.25,
    eps: NonNegative = 1e-6,
    eps_root: NonNegative = 0.0,
    weight_decay: NonNegative = 0.0,
) -> Transformation:
    """NovoGrad (Ginsburg et al. 2019, arXiv 1905.11286): one second moment per tensor. optax's defaults."""
    inner = optax.novograd(learning_rate, b1, b2, eps, eps_root, weight_decay)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if params is None:
            raise ValueError("novograd decays weights: its update needs params=")
        return inner.update(updates, state, params)

    return optax.GradientTransformation(inner.init, update)
