"""Methods that precondition matrices: Shampoo and Muon.

Defaults are those of the runs published with VeLO (Metz et al. 2022, arXiv 2211.09760) where there are any; a
docstring says where optax's own differ. Options have optax's names.
"""

from __future__ import annotations

from typing import Annotated

import optax

from celo._core.checks import Count, Decay, DecayOrSum, Flag, NonNegative, OneOf, Size, WholeNumber
from celo.baselines.contract import Rate, Transformation, baseline, in_auto_mode
from celo.baselines.shampoo import GRAFTS, Shampoo


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
    return in_auto_mode(optax.chain(direction.transformation(), optax.scale_by_learning_rate(learning_rate)))


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
    return in_auto_mode(
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
