"""Methods that see a tensor as rows and columns: factored second moments, Shampoo, Muon.

Defaults are those of the runs published with VeLO (Metz et al. 2022, arXiv 2211.09760); a docstring says
where optax's own differ. Options bear optax's names.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo.baselines.contract import Number, Rate, Transformation, baseline
from celo.baselines.shampoo import Shampoo


@baseline
def adafactor(
    learning_rate: Rate,
    *,
    min_dim_size_to_factor: int = 128,
    decay_rate: Number = 0.8,
    decay_offset: int | Array = 0,
    multiply_by_parameter_scale: bool = True,
    clipping_threshold: Number | None = 1.0,
    momentum: Number | None = None,
    weight_decay_rate: Number | None = None,
    eps: Number = 1e-30,
    factored: bool = True,
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
        return jax.tree.map(jnp.atleast_1d, tree)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        new, state = inner.update(reshaped(updates), state, reshaped(params))
        return jax.tree.map(lambda u, g: u.reshape(jnp.shape(g)), new, updates), state

    return optax.GradientTransformation(lambda params: inner.init(reshaped(params)), update)


@baseline
def sm3(
    learning_rate: Rate, *, momentum: Number = 0.9, b2: float = 1.0, eps: Number = 1e-8
) -> Transformation:
    """SM3 (Anil et al. 2019, arXiv 1901.11150): one accumulator per row and column, momentum as an average.

    optax's defaults; unlike `optax.sm3` it takes scalars, as vectors of one entry, schedules and ``b2``.
    """
    return optax.chain(
        _scalars_as_vectors(optax.scale_by_sm3(momentum, b2, eps)),
        optax.scale_by_learning_rate(learning_rate),
    )


@baseline
def shampoo(
    learning_rate: Rate,
    *,
    graft: str = "sgd",
    block_size: int = 128,
    b1: Number = 0.9,
    b2: Number = 0.999,
    nesterov: bool = True,
    diagonal_epsilon: Number = 1e-10,
    matrix_epsilon: Number = 1e-6,
    weight_decay: Number = 0.0,
    start_preconditioning_step: int | Array = 5,
    preconditioning_compute_steps: int = 1,
    merge_small_dims_block_size: int | None = 4096,
    skip_preconditioning_dim_size_gt: int = 4096,
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
    return optax.chain(direction.transformation(), optax.scale_by_learning_rate(learning_rate))


@baseline
def muon(
    learning_rate: Rate,
    *,
    ns_steps: int = 5,
    beta: Number = 0.95,
    eps: Number = 1e-8,
    weight_decay: Number = 0.0,
    nesterov: bool = True,
    adam_b1: Number = 0.9,
    adam_b2: Number = 0.999,
    adam_weight_decay: Number = 0.0,
) -> Transformation:
    """Muon (Jordan 2024): momentum orthogonalised by Newton-Schulz iterations. optax's defaults.

    Leaves of rank 2, and only these, are orthogonalised; scalars, vectors and tensors of rank 3 and more take
    AdamW at the same learning rate, with Nesterov momentum if `nesterov` and weight decay
    `adam_weight_decay`.
    """
    return optax.contrib.muon(
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
