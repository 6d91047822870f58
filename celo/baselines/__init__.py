"""Hand-designed optimizers by name, the baselines a learned optimizer is compared with.

Each is an `optax.GradientTransformationExtraArgs` that takes ``value=`` and any other extra argument of
`update`, so a learned optimizer can take its place in the same training loop. Only momo, momo_adam and
polyak_sgd read the loss.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import optax

from celo._core import names
from celo.baselines import adam_family, diagonal, matrix, momentum, rate_free
from celo.baselines.contract import Factory
from celo.baselines.evaluation_iterate import eval_params
from celo.baselines.shampoo import GRAFTS

__all__ = ["HAND_DESIGNED", "eval_params", "hand_designed"]

HAND_DESIGNED: Mapping[str, Factory] = MappingProxyType(
    {
        "adam": adam_family.adam,
        "adamw": adam_family.adamw,
        "nadamw": adam_family.nadamw,
        "radam": adam_family.radam,
        "yogi": adam_family.yogi,
        "adabelief": adam_family.adabelief,
        "lamb": adam_family.lamb,
        "lars": momentum.lars,
        "rmsprop": diagonal.rmsprop,
        "rmsprop_momentum": diagonal.rmsprop_momentum,
        "adafactor": diagonal.adafactor,
        "adagrad": diagonal.adagrad,
        "sm3": diagonal.sm3,
        "sgd": momentum.sgd,
        "sgdm": momentum.sgdm,
        "nesterov": momentum.nesterov,
        "fromage": momentum.fromage,
        **{f"shampoo_{graft}": functools.partial(matrix.shampoo, graft=graft) for graft in GRAFTS},
        "schedule_free_adamw": rate_free.schedule_free_adamw,
        "muon": matrix.muon,
        "nadam": adam_family.nadam,
        "adamax": adam_family.adamax,
        "amsgrad": adam_family.amsgrad,
        "adan": adam_family.adan,
        "adopt": adam_family.adopt,
        "acprop": adam_family.acprop,
        "ademamix": adam_family.ademamix,
        "novograd": adam_family.novograd,
        "adadelta": diagonal.adadelta,
        "sign_sgd": momentum.sign_sgd,
        "lion": momentum.lion,
        "lookahead_sgdm": momentum.lookahead_sgdm,
        "lookahead_radam": momentum.lookahead_radam,
        "schedule_free_sgd": rate_free.schedule_free_sgd,
        "prodigy": rate_free.prodigy,
        "dadapt_adamw": rate_free.dadapt_adamw,
        "dog": rate_free.dog,
        "dowg": rate_free.dowg,
        "cocob": rate_free.cocob,
        "momo": rate_free.momo,
        "momo_adam": rate_free.momo_adam,
        "polyak_sgd": rate_free.polyak_sgd,
    }
)
"""Name to constructor ``(learning_rate, **options)``; read-only."""


def hand_designed(
    name: str, learning_rate: optax.ScalarOrSchedule, **config: Any
) -> optax.GradientTransformationExtraArgs:
    """A hand-designed optimizer by name.

    Defaults are those of the published baselines; ``docs/hand_designed.md`` lists them and where they differ
    from optax's. For half-precision parameters, state and arithmetic are float32, and updates are rounded
    last.

    Args:
        name: a key of `HAND_DESIGNED`.
        learning_rate: a float, an optax schedule, or a scalar array, which may be traced: one compiled
            program serves many rates under `jax.vmap`.
        **config: options of the constructor, such as ``b1=0.8``.

    Returns:
        The optimizer. Its `update` accepts ``value=`` and any other extra argument.

    Raises:
        ValueError: for an unknown name, or a number out of its range, such as ``b1=2`` or a negative rate.
        TypeError: for an unknown option, or a learning rate that is neither number nor schedule.

    Example:
        >>> import jax.numpy as jnp
        >>> import optax
        >>> params = {"w": jnp.ones(2)}
        >>> optimizer = hand_designed("sgd", 0.5)
        >>> state = optimizer.init(params)
        >>> updates, state = optimizer.update({"w": jnp.ones(2)}, state, params, value=jnp.float32(1.0))
        >>> optax.apply_updates(params, updates)["w"].tolist()
        [0.5, 0.5]
    """
    factory = names.lookup("hand-designed optimizer", name, HAND_DESIGNED)
    if set(config) == {"config"} and isinstance(config["config"], Mapping):
        config = dict(config["config"])  # optax.inject_hyperparams gives **config back as one argument
    names.check_options(name, config, names.options(factory, reserved=["learning_rate"]))
    return factory(learning_rate, **config)
