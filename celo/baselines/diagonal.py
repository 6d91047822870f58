"""Adam, the methods made from it, and others that divide entries, rows or columns by their gradients' size.

Defaults are those of the runs published with VeLO (Metz et al. 2022, arXiv 2211.09760) where there are any; a
docstring says where optax's own differ. Options have optax's names.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax

from celo._core.checks import Count, DecayOrSum, Flag, NonNegative, Number, TracedFlag, WholeNumber
from celo.baselines import nadamw as nadamw_rule
from celo.baselines.contract import Rate, Transformation, from_optax

adam = from_optax(optax.adam, b1=0.9, b2=0.999, eps=1e-8, eps_root=1e-8)
"""Adam (Kingma and Ba 2014, arXiv 1412.6980), ``p <- p - lr mhat / (sqrt(vhat + eps_root) + eps)``.

optax's ``eps_root`` is 0; 1e-8 inside the root bounds the step of gradients below about 1e-4.
"""

adamw = from_optax(optax.adamw, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, weight_decay=1e-4)
"""Adam with decoupled weight decay (Loshchilov and Hutter 2017, arXiv 1711.05101). optax's defaults."""

nadamw = from_optax(
    nadamw_rule.nadamw,
    {"adamw_weight_decay": NonNegative, "l2_weight_decay": Number, "nesterov": TracedFlag},
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    adamw_weight_decay=0.0,
    l2_weight_decay=0.0,
    nesterov=True,
)
"""NAdamW (Metz et al. 2020, arXiv 2002.11887); not `optax.nadamw`, see `celo.baselines.nadamw`."""

radam = from_optax(
    optax.radam, {"threshold": NonNegative}, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0, threshold=5.0
)
"""Rectified Adam (Liu et al. 2019, arXiv 1908.03265). optax's defaults."""

yogi = from_optax(optax.yogi, b1=0.9, b2=0.999, eps=1e-3)
"""Yogi (Zaheer et al. 2018). optax's defaults, which start both moments at 1e-6."""

adabelief = from_optax(optax.adabelief, b1=0.9, b2=0.999, eps=1e-16, eps_root=1e-16)
"""AdaBelief (Zhuang et al. 2020, arXiv 2010.07468). optax's defaults."""

lamb = from_optax(optax.lamb, b1=0.9, b2=0.999, eps=1e-6, eps_root=0.0, weight_decay=0.0)
"""LAMB (You et al. 2019, arXiv 1904.00962). optax's defaults."""

nadam = from_optax(optax.nadam, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0)
"""Adam with Nesterov momentum (Dozat 2016). optax's defaults."""

adamax = from_optax(optax.adamax, b1=0.9, b2=0.999, eps=1e-8)
"""AdaMax (Kingma and Ba 2014, arXiv 1412.6980, section 7): Adam with the infinity norm. optax's defaults."""

amsgrad = from_optax(optax.amsgrad, b1=0.9, b2=0.999, eps=1e-8, eps_root=0.0)
"""AMSGrad (Reddi, Kale and Kumar 2018, arXiv 1904.09237): Adam over its largest second moment so far.

optax's defaults.
"""

adan = from_optax(optax.adan, b1=0.98, b2=0.92, b3=0.99, eps=1e-8, eps_root=1e-8, weight_decay=0.0)
"""Adan (Xie et al. 2022, arXiv 2208.06677): moments of the gradient and of its change. optax's defaults."""

adopt = from_optax(
    optax.contrib.adopt,
    {"use_clipping": Flag},
    b1=0.9,
    b2=0.9999,
    eps=1e-6,
    nesterov=False,
    use_clipping=True,
)
"""ADOPT (Taniguchi et al. 2024, arXiv 2411.02853): each gradient over the moment before it.

optax's defaults; the first update is 0.
"""

acprop = from_optax(optax.contrib.acprop, b1=0.9, b2=0.999, eps=1e-16, eps_root=1e-16, weight_decay=0.0)
"""ACProp (Zhuang et al. 2021, arXiv 2110.05454): AdaBelief over the moment before. optax's defaults."""

ademamix = from_optax(
    optax.contrib.ademamix,
    {"alpha": NonNegative},
    b1=0.9,
    b2=0.999,
    b3=0.9999,
    alpha=5.0,
    eps=1e-8,
    eps_root=0.0,
    weight_decay=0.0,
)
"""AdEMAMix (Pagliardini et al. 2024, arXiv 2409.03137): Adam with a second, slower momentum.

optax's defaults, without the schedules of ``b3`` and ``alpha`` that long trainings need.
"""


def _novograd(learning_rate: Rate, **options: Any) -> Transformation:
    inner = optax.novograd(learning_rate, **options)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        if params is None:
            raise ValueError("novograd decays weights: its update needs params=")
        return inner.update(updates, state, params)

    return optax.GradientTransformation(inner.init, update)


novograd = from_optax(_novograd, b1=0.9, b2=0.25, eps=1e-6, eps_root=0.0, weight_decay=0.0)
"""NovoGrad (Ginsburg et al. 2019, arXiv 1905.11286): one second moment per tensor. optax's defaults."""

rmsprop = from_optax(optax.rmsprop, decay=0.9, eps=1e-8, momentum=None, nesterov=False)
"""RMSProp (Tieleman and Hinton 2012), eps inside the root, no bias correction. optax's defaults.

The published runs name momentum 0; None is the same update without its idle buffer.
"""

rmsprop_momentum = from_optax(optax.rmsprop, decay=0.9, eps=1e-8, momentum=0.9, nesterov=False)
"""RMSProp with momentum 0.9, applied after the learning rate. optax's default is no momentum."""

adagrad = from_optax(
    optax.adagrad, {"initial_accumulator_value": NonNegative}, initial_accumulator_value=0.1, eps=1e-7
)
"""AdaGrad (Duchi, Hazan and Singer 2011), ``p <- p - lr g / sqrt(0.1 + sum g^2 + 1e-7)``.

optax's defaults.
"""

adadelta = from_optax(optax.adadelta, rho=0.9, eps=1e-6, weight_decay=0.0)
"""AdaDelta (Zeiler 2012, arXiv 1212.5701); its own rate is 1. optax's defaults."""

adafactor = from_optax(
    optax.adafactor,
    {
        "min_dim_size_to_factor": WholeNumber,
        "decay_rate": NonNegative,
        "decay_offset": Count,
        "multiply_by_parameter_scale": Flag,
        "clipping_threshold": NonNegative | None,
        "weight_decay_rate": NonNegative,
        "factored": Flag,
    },
    min_dim_size_to_factor=128,
    decay_rate=0.8,
    decay_offset=0,
    multiply_by_parameter_scale=True,
    clipping_threshold=1.0,
    momentum=None,
    weight_decay_rate=None,
    eps=1e-30,
    factored=True,
)
"""Adafactor (Shazeer and Stern 2018, arXiv 1804.04235). optax's defaults; factored from 128 x 128 on."""


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


def _sm3(learning_rate: Rate, *, momentum: Any, b2: Any, eps: Any) -> Transformation:
    direction = _scalars_as_vectors(optax.scale_by_sm3(momentum, b2, eps))
    return optax.chain(direction, optax.scale_by_learning_rate(learning_rate))


sm3 = from_optax(_sm3, {"b2": DecayOrSum}, momentum=0.9, b2=1.0, eps=1e-8)
"""SM3 (Anil et al. 2019, arXiv 1901.11150): one accumulator per row and column, momentum as an average.

optax's defaults; unlike `optax.sm3` it takes scalars, as vectors of one entry, schedules and ``b2``.
"""
