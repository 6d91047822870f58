"""Adam and the methods that change one thing in it.

Defaults are those of the runs published with VeLO (Metz et al. 2022, arXiv 2211.09760); a docstring says
where optax's own differ. Options bear optax's names.
"""

from __future__ import annotations

import optax
from jax import Array

from celo.baselines.contract import Number, Rate, Transformation, baseline
from celo.baselines.nadamw import nadamw as nadamw_transformation


@baseline
def adam(
    learning_rate: Rate, *, b1: Number = 0.9, b2: Number = 0.999, eps: Number = 1e-8, eps_root: Number = 1e-8
) -> Transformation:
    """Adam (Kingma and Ba 2014, arXiv 1412.6980), ``p <- p - lr mhat / (sqrt(vhat + eps_root) + eps)``.

    optax's ``eps_root`` is 0; 1e-8 inside the root bounds the step of gradients below about 1e-4.
    """
    return optax.adam(learning_rate, b1, b2, eps, eps_root)


@baseline
def adamw(
    learning_rate: Rate,
    *,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    weight_decay: Number = 1e-4,
) -> Transformation:
    """Adam with decoupled weight decay (Loshchilov and Hutter 2017, arXiv 1711.05101). optax's defaults."""
    return optax.adamw(learning_rate, b1, b2, eps, eps_root, weight_decay=weight_decay)


@baseline
def nadamw(
    learning_rate: Rate,
    *,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    adamw_weight_decay: Number = 0.0,
    l2_weight_decay: Number = 0.0,
    nesterov: bool | Array = True,
) -> Transformation:
    """NAdamW (Metz et al. 2020, arXiv 2002.11887); not `optax.nadamw`, see `celo.baselines.nadamw`."""
    return nadamw_transformation(learning_rate, b1, b2, eps, adamw_weight_decay, l2_weight_decay, nesterov)


@baseline
def radam(
    learning_rate: Rate,
    *,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    eps_root: Number = 0.0,
    threshold: Number = 5.0,
) -> Transformation:
    """Rectified Adam (Liu et al. 2019, arXiv 1908.03265). optax's defaults."""
    return optax.radam(learning_rate, b1, b2, eps, eps_root, threshold)


@baseline
def yogi(learning_rate: Rate, *, b1: Number = 0.9, b2: Number = 0.999, eps: Number = 1e-3) -> Transformation:
    """Yogi (Zaheer et al. 2018). optax's defaults, which start both moments at 1e-6."""
    return optax.yogi(learning_rate, b1, b2, eps)


@baseline
def adabelief(
    learning_rate: Rate,
    *,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-16,
    eps_root: Number = 1e-16,
) -> Transformation:
    """AdaBelief (Zhuang et al. 2020, arXiv 2010.07468). optax's defaults."""
    return optax.adabelief(learning_rate, b1, b2, eps, eps_root)


@baseline
def lamb(
    learning_rate: Rate,
    *,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-6,
    eps_root: Number = 0.0,
    weight_decay: Number = 0.0,
) -> Transformation:
    """LAMB (You et al. 2019, arXiv 1904.00962). optax's defaults."""
    return optax.lamb(learning_rate, b1, b2, eps, eps_root, weight_decay)


@baseline
def schedule_free_adamw(
    learning_rate: Rate,
    *,
    warmup_steps: int | None = None,
    b1: Number = 0.9,
    b2: Number = 0.999,
    eps: Number = 1e-8,
    weight_decay: Number = 0.0,
    weight_lr_power: Number = 2.0,
) -> Transformation:
    """Schedule-free AdamW (Defazio et al. 2024, arXiv 2405.15682). optax's defaults.

    Evaluate and save ``celo.baselines.eval_params(state, params)``, not the parameters being trained.
    """
    if warmup_steps is not None and callable(learning_rate):
        raise ValueError(
            "warmup_steps needs a constant learning_rate; got a schedule, which may hold its own warm-up"
        )
    return optax.contrib.schedule_free_adamw(
        learning_rate,  # pyright: ignore[reportArgumentType]  # optax takes schedules, its annotation forgets them
        warmup_steps,
        b1,
        b2,
        eps,
        weight_decay,
        weight_lr_power,
    )
