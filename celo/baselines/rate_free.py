"""Methods that average the parameters, or find the size of their steps themselves.

Defaults are those of the runs published with VeLO (Metz et al. 2022, arXiv 2211.09760) where there are any; a
docstring says where optax's own differ. Options have optax's names.
"""

from __future__ import annotations

import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax

from celo._core.checks import Flag, NonNegative, Number, Positive, WholeNumber, check_value
from celo.baselines.contract import Rate, Transformation, from_optax, in_auto_mode


def _from_values(name: str, inner: Transformation) -> Transformation:
    """Refuses shapes in place of parameters, and starts from a state that shares no buffer, to be donated."""
    inner = optax.with_extra_args_support(inner)

    def init(params: Any) -> Any:
        if any(isinstance(p, jax.ShapeDtypeStruct) for p in jax.tree.leaves(params)):
            raise ValueError(f"{name} starts from the parameters' values; expected arrays, not shapes")
        return jax.tree.map(lambda x: jnp.array(x, copy=True), inner.init(params))

    return optax.GradientTransformationExtraArgs(init, inner.update)


def _from_shapes(inner: Transformation) -> Transformation:
    """Starts from shapes too, where the first state does not depend on the parameters' values."""

    def init(params: Any) -> Any:
        return inner.init(
            jax.tree.map(
                lambda p: (
                    jnp.zeros(p.shape, p.dtype, device=p.sharding)
                    if isinstance(p, jax.ShapeDtypeStruct)
                    else p
                ),
                params,
            )
        )

    return optax.GradientTransformationExtraArgs(init, optax.with_extra_args_support(inner).update)


def _reads_loss(inner: Transformation) -> Transformation:
    """Explains a missing loss."""
    inner = optax.with_extra_args_support(inner)

    def update(
        updates: Any, state: Any, params: Any = None, *, value: Any = None, **extra: Any
    ) -> tuple[Any, Any]:
        return inner.update(updates, state, params, value=check_value(value), **extra)

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _finite(tree: Any) -> jax.Array:
    leaves = [jnp.all(jnp.isfinite(x)) for x in jax.tree.leaves(tree) if jnp.issubdtype(x.dtype, jnp.inexact)]
    return jnp.all(jnp.stack(leaves)) if leaves else jnp.asarray(True)


def _stands_still(inner: Transformation) -> Transformation:
    """Skips a step in which finite gradients give a step or a state that is not finite.

    These methods divide by norms of all gradients so far: 0 while every gradient was 0, or so small that
    their squares vanish. NaN in the estimate of the rate would stay for good.
    """
    inner = optax.with_extra_args_support(inner)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        steps, after = inner.update(updates, state, params, **extra)
        good = _finite((steps, after)) | ~_finite(updates)
        steps = jax.tree.map(lambda s: jnp.where(good, s, 0.0), steps)
        return steps, jax.tree.map(lambda new, old: jnp.where(good, new, old), after, state)

    return optax.GradientTransformationExtraArgs(inner.init, update)


def _schedule_free(name: str, learning_rate: Rate, *, warmup_steps: Any, **options: Any) -> Transformation:
    if warmup_steps is not None and callable(learning_rate):
        raise ValueError(
            "warmup_steps needs a constant learning_rate; got a schedule, which may hold its own warm-up"
        )
    return _from_values(name, getattr(optax.contrib, name)(learning_rate, warmup_steps, **options))


schedule_free_adamw = from_optax(
    functools.partial(_schedule_free, "schedule_free_adamw"),
    {"warmup_steps": WholeNumber},
    warmup_steps=None,
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    weight_decay=0.0,
    weight_lr_power=2.0,
)
"""Schedule-free AdamW (Defazio et al. 2024, arXiv 2405.15682). optax's defaults.

Evaluate and save ``celo.eval_params(state, params)``, not the parameters being trained.
"""

schedule_free_sgd = from_optax(
    functools.partial(_schedule_free, "schedule_free_sgd"),
    {"warmup_steps": WholeNumber},
    warmup_steps=None,
    b1=0.9,
    weight_decay=0.0,
    weight_lr_power=2.0,
)
"""Schedule-free SGD; see `schedule_free_adamw`. optax's defaults."""


def _prodigy(learning_rate: Rate, *, b1: Any, b2: Any, **options: Any) -> Transformation:
    inner = optax.contrib.prodigy(learning_rate, (b1, b2), **options)
    return _from_values("prodigy", in_auto_mode(_stands_still(inner)))


prodigy = from_optax(
    _prodigy,
    {"estim_lr0": Positive, "estim_lr_coef": NonNegative, "safeguard_warmup": Flag},
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    estim_lr0=1e-6,
    estim_lr_coef=1.0,
    weight_decay=0.0,
    safeguard_warmup=False,
)
"""Prodigy (Mishchenko and Defazio 2023, arXiv 2306.06101): Adam that estimates its rate.

optax's defaults. ``learning_rate`` is a factor of the estimate, 1 in the paper.
"""


def _dadapt_adamw(learning_rate: Rate, *, b1: Any, b2: Any, **options: Any) -> Transformation:
    inner = optax.contrib.dadapt_adamw(learning_rate, (b1, b2), **options)
    return _from_shapes(in_auto_mode(_stands_still(inner)))


dadapt_adamw = from_optax(
    _dadapt_adamw, {"estim_lr0": Positive}, b1=0.9, b2=0.999, eps=1e-8, estim_lr0=1e-6, weight_decay=0.0
)
"""D-Adapted AdamW (Defazio and Mishchenko 2023, arXiv 2301.07733): AdamW that estimates its rate.

optax's defaults. ``learning_rate`` is a factor of the estimate, 1 in the paper.
"""


def _dog(learning_rate: Rate, *, init_step: Any, **options: Any) -> Transformation:
    return _from_values("dog", optax.contrib.dog(learning_rate, ("heuristic", init_step), **options))


dog = from_optax(_dog, {"init_step": Positive}, init_step=1e-6, eps=1e-8, weight_decay=0.0)
"""DoG (Ivgi et al. 2023, arXiv 2302.12022): rate ``r / sqrt(sum |g|^2)``, r the distance from the start.

optax's defaults: ``init_step (1 + |p_0|)`` is the first distance. ``learning_rate`` is a factor, 1 in the
paper, which also averages the parameters.
"""

dowg = from_optax(
    lambda learning_rate, **options: _from_values("dowg", optax.contrib.dowg(learning_rate, **options)),
    {"eps": Positive},
    eps=1e-4,
    weight_decay=0.0,
)
"""DoWG (Khaled, Mishchenko and Jin 2023, arXiv 2305.16284): DoG with gradients weighted by distance.

optax's defaults. ``learning_rate`` is a factor, 1 in the paper.
"""


def _cocob(learning_rate: Rate, **options: Any) -> Transformation:
    return _from_values("cocob", _stands_still(optax.contrib.cocob(learning_rate, **options)))


cocob = from_optax(_cocob, {"alpha": NonNegative, "eps": Positive}, alpha=100.0, eps=1e-8, weight_decay=0.0)
"""COCOB-Backprop (Orabona and Tommasi 2017, arXiv 1705.07795): coin betting in place of a rate.

optax's defaults. ``learning_rate`` is a factor of every step, 1 in the paper.
"""


def _momo(make: Any, learning_rate: Rate, **options: Any) -> Transformation:
    return _reads_loss(_from_shapes(in_auto_mode(_stands_still(make(learning_rate, **options)))))


momo = from_optax(
    functools.partial(_momo, optax.contrib.momo),
    beta=0.9,
    lower_bound=0.0,
    weight_decay=0.0,
    adapt_lower_bound=False,
)
"""MoMo (Schaipp et al. 2023, arXiv 2305.07583): momentum with a Polyak step of at most the rate.

optax's defaults. Its `update` needs the loss as ``value=``; ``lower_bound`` is the least loss.
"""

momo_adam = from_optax(
    functools.partial(_momo, optax.contrib.momo_adam),
    b1=0.9,
    b2=0.999,
    eps=1e-8,
    lower_bound=0.0,
    weight_decay=0.0,
    adapt_lower_bound=False,
)
"""MoMo-Adam: Adam with a Polyak step of at most the rate; see `momo`. optax's defaults."""


def _polyak_sgd(learning_rate: Rate, **options: Any) -> Transformation:
    return _reads_loss(_stands_still(optax.polyak_sgd(scaling=learning_rate, **options)))


polyak_sgd = from_optax(
    _polyak_sgd,
    {"max_learning_rate": NonNegative, "f_min": Number},
    max_learning_rate=1.0,
    f_min=0.0,
    eps=0.0,
)
"""SGD with Polyak's step (Loizou et al. 2020, arXiv 2002.10542), ``min((loss - f_min) / |g|^2, max)``.

optax's defaults. ``learning_rate`` is a factor of that step. Its `update` needs the loss as ``value=``.
"""
