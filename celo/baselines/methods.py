"""The constructors of the hand-designed optimizers.

Defaults are those of the runs published with VeLO (Metz et al. 2022, arXiv 2211.09760); a docstring says
where optax's own differ. Options have optax's names.
"""

from __future__ import annotations

from typing import Annotated, Any

import jax
import jax.numpy as jnp
import optax

from celo._core.checks import (
    Count,
    Decay,
    DecayOrSum,
    Flag,
    NonNegative,
    Number,
    OneOf,
    Size,
    TracedFlag,
    WholeNumber,
)
from celo._core.parameters import in_auto_mode
from celo.baselines import nadamw as nadamw_rule
from celo.baselines.contract import Rate, Transformation, baseline
from celo.baselines.shampoo import GRAFTS, Shampoo


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
def schedule_free_adamw(
    learning_rate: Rate,
    *,
    warmup_steps: WholeNumber | None = None,
    b1: Decay = 0.9,
    b2: Decay = 0.999,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    weight_lr_power: NonNegative = 2.0,
) -> Transformation:
    """Schedule-free AdamW (Defazio et al. 2024, arXiv 2405.15682). optax's defaults.

    Evaluate and save ``celo.eval_params(state, params)``, not the parameters being trained.
    """
    if warmup_steps is not None and callable(learning_rate):
        raise ValueError(
            "warmup_steps needs a constant learning_rate; got a schedule, which may hold its own warm-up"
        )
    inner = optax.contrib.schedule_free_adamw(
        learning_rate,  # pyright: ignore[reportArgumentType]  # optax takes schedules, its annotation forgets them
        warmup_steps,
        b1,
        b2,
        eps,
        weight_decay,
        weight_lr_power,
    )

    def init(params: Any) -> Any:
        if any(isinstance(p, jax.ShapeDtypeStruct) for p in jax.tree.leaves(params)):
            raise ValueError(
                "schedule_free_adamw starts from the parameters' values; expected arrays, not shapes"
            )
        return inner.init(params)

    return optax.GradientTransformation(init, inner.update)


@baseline
def sgd(learning_rate: Rate) -> Transformation:
    """Stochastic gradient descent, ``p <- p - lr g``."""
    return optax.sgd(learning_rate)


@baseline
def sgdm(learning_rate: Rate, *, momentum: Decay = 0.9) -> Transformation:
    """SGD with momentum, ``m <- 0.9 m + g``, ``p <- p - lr m``. optax's default is no momentum."""
    return optax.sgd(learning_rate, momentum)


@baseline
def nesterov(learning_rate: Rate, *, momentum: Decay = 0.9) -> Transformation:
    """SGD with Nesterov momentum, ``m <- 0.9 m + g``, ``p <- p - lr (g + 0.9 m)``."""
    return optax.sgd(learning_rate, momentum, nesterov=True)


@baseline
def lars(
    learning_rate: Rate,
    *,
    weight_decay: NonNegative = 0.0,
    trust_coefficient: NonNegative = 0.001,
    eps: NonNegative = 0.0,
    momentum: Decay = 0.9,
    nesterov: Flag = False,
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
def fromage(learning_rate: Rate, *, min_norm: NonNegative = 1e-6) -> Transformation:
    """Fromage (Bernstein et al. 2020, arXiv 2002.03432). optax's defaults."""
    return optax.fromage(learning_rate, min_norm)


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


def _in_auto_mode(inner: Transformation) -> Transformation:
    """Lets XLA place the matrix products of a transformation, also on a mesh with explicit axes."""

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        return in_auto_mode(inner.update, (updates, state), updates, state, params)

    return optax.GradientTransformation(inner.init, update)


@baseline
def shampoo(
    learning_rate: Rate,
    *,
    graft: Annotated[str, OneOf(GRAFTS)] = "sgd",
    block_size: Size = 128,
    b1: Decay = 0.9,
    b2: DecayOrSum = 0.999,
    nesterov: Flag = True,
    diagonal_epsilon: NonNegative = 1e-10,
    matrix_epsilon: NonNegative = 1e-6,
    weight_decay: NonNegative = 0.0,
    start_preconditioning_step: Count = 5,
    preconditioning_compute_steps: Size = 1,
    merge_small_dims_block_size: Size | None = 4096,
    skip_preconditioning_dim_size_gt: WholeNumber = 4096,
) -> Transformation:
    """Shampoo with grafting, see `celo.baselines.shampoo.Shampoo`. optax has none."""
    direction = Shampoo(
        graft,
        block_size,
        b1,
        b2,
        nesterov,
        diagonal_epsilon,
        matrix_epsilon,
        weight_decay,
        start_preconditioning_step,
        preconditioning_compute_steps,
        merge_small_dims_block_size,
        skip_preconditioning_dim_size_gt,
    )
    return _in_auto_mode(optax.chain(direction.transformation(), optax.scale_by_learning_rate(learning_rate)))


@baseline
def muon(
    learning_rate: Rate,
    *,
    ns_steps: Size = 5,
    beta: Decay = 0.95,
    eps: NonNegative = 1e-8,
    weight_decay: NonNegative = 0.0,
    nesterov: Flag = True,
    adam_b1: Decay = 0.9,
    adam_b2: Decay = 0.999,
    adam_weight_decay: NonNegative = 0.0,
) -> Transformation:
    """Muon (Jordan 2024): momentum orthogonalised by Newton-Schulz iterations. optax's defaults.

    Leaves of rank 2, and only these, are orthogonalised; scalars, vectors and tensors of rank 3 and more take
    AdamW at the same learning rate, with Nesterov momentum if `nesterov` and weight decay
    `adam_weight_decay`.
    """
    return _in_auto_mode(
        optax.contrib.muon(
            learning_rate,
            ns_steps=ns_steps,
            beta=beta,
            eps=eps,
            weight_decay=weight_decay,
            nesterov=nesterov,
            adam_b1=adam_b1,
            adam_b2=adam_b2,
            adam_weight_decay=adam_weight_decay,
        )
    )
