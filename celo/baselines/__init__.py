"""Hand-designed optimizers by name, the baselines a learned optimizer is compared with.

Each is an `optax.GradientTransformationExtraArgs` that takes ``value=`` and any other extra argument of
`update` without using it, so a learned optimizer can stand in its place in the same training loop.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import optax

from celo._core import names
from celo.baselines import adam_family, first_order, matrix_methods
from celo.baselines.contract import Factory
from celo.baselines.evaluation_iterate import eval_params

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
        "lars": first_order.lars,
        "rmsprop": first_order.rmsprop,
        "rmsprop_momentum": first_order.rmsprop_momentum,
        "adafactor": matrix_methods.adafactor,
        "adagrad": first_order.adagrad,
        "sm3": matrix_methods.sm3,
        "sgd": first_order.sgd,
        "sgdm": first_order.sgdm,
        "nesterov": first_order.nesterov,
        "fromage": first_order.fromage,
        "shampoo_sgd": functools.partial(matrix_methods.shampoo, graft="sgd"),
        "shampoo_adagrad": functools.partial(matrix_methods.shampoo, graft="adagrad"),
        "schedule_free_adamw": adam_family.schedule_free_adamw,
        "muon": matrix_methods.muon,
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
        ValueError: for an unknown name, a number that is not finite, or a negative learning rate.
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
        config = dict(config["config"])  # optax.inject_hyperparams hands **config back as one argument
    names.check_options(name, config, names.options(factory, reserved=["learning_rate"]))
    return factory(learning_rate, **config)
