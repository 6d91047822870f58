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
from celo.baselines import diagonal, momentum, rate_free
from celo.baselines.contract import Factory
from celo.baselines.evaluation_iterate import eval_params
from celo.baselines.shampoo import GRAFTS, shampoo

__all__ = ["HAND_DESIGNED", "eval_params", "hand_designed"]

HAND_DESIGNED: Mapping[str, Factory] = MappingProxyType(
    {
        "adam": diagonal.adam,
        "adamw": diagonal.adamw,
        "nadamw": diagonal.nadamw,
        "radam": diagonal.radam,
        "yogi": diagonal.yogi,
        "adabelief": diagonal.adabelief,
        "lamb": diagonal.lamb,
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
        **{f"shampoo_{graft}": functools.partial(shampoo, graft=graft) for graft in GRAFTS},
        "schedule_free_adamw": rate_free.schedule_free_adamw,
        "muon": momentum.muon,
        "nadam": diagonal.nadam,
        "adamax": diagonal.adamax,
        "amsgrad": diagonal.amsgrad,
        "adan": diagonal.adan,
        "adopt": diagonal.adopt,
        "acprop": diagonal.acprop,
        "ademamix": diagonal.ademamix,
        "novograd": diagonal.novograd,
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
