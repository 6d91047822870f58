"""The optimizer of the meta-parameters: AdamW, or a learned optimizer from a checkpoint."""

from __future__ import annotations

import inspect
import os
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.flatten_util import ravel_pytree

import celo
from celo.checkpoint import Pretrained
from celo.learned.base import LearnedOptimizer, theta_shapes
from celo.meta.estimators import partition
from celo.meta.initial_theta import check_digest, recorded, stage_name
from celo.meta.recipe import Recipe
from celo.meta.runs.fingerprint import arrays_fingerprint
from celo.meta.stage import Stage

PyTree = Any
# Key of a run's configuration: digests of the outer optimizers of its stages.
OUTER_KEY = "outer_theta"


def load_outer(checkpoint: str, digest: str | None = None) -> Pretrained:
    """The learned optimizer of a checkpoint, which moves the meta-parameters of another.

    Raises:
        ValueError: if the checkpoint is damaged, its optimizer needs a learning rate, or its meta-parameters
            have another ``digest`` (of `outer_digests`) than expected.
        FileNotFoundError: if there is no such checkpoint.
    """
    found = celo.load(checkpoint)
    if "learning_rate" in inspect.signature(found[0].optimizer).parameters:
        raise ValueError(
            f"outer is {checkpoint!r}, which holds {found[0]}; expected an optimizer that needs no learning "
            "rate"
        )
    check_digest(checkpoint, found[1], digest)
    return Pretrained(*found)


def outer_digests(recipe: Recipe, run_dir: str | os.PathLike[str]) -> dict[str, dict[str, str]]:
    """What a run's configuration records of learned outer optimizers: nothing if there are none.

    Each is loaded and checked, unless its stage is finished and the run has recorded its digest.

    Returns:
        `OUTER_KEY` to digests by stage ("stage1", "stage2", ...); {} if all stages have AdamW.

    Raises:
        ValueError: as `load_outer`.
        FileNotFoundError: as `load_outer`.
    """
    steps, known = recorded(run_dir, OUTER_KEY)
    digests = {}
    for number, (stage, end) in enumerate(zip(recipe.stages, recipe.ends(), strict=True)):
        name = stage_name(number)
        if stage.outer and name in known and steps[-1] >= end:
            digests[name] = known[name]
        elif stage.outer:
            digests[name] = arrays_fingerprint(load_outer(stage.outer).theta)
    return {OUTER_KEY: digests} if digests else {}


def outer_optimizer(
    stage: Stage, learned: LearnedOptimizer, digest: str | None = None
) -> optax.GradientTransformationExtraArgs:
    """The optimizer of the raveled trained part of theta, (size,), in a stage.

    A learned one sees tensors, as it would those of a network, and the meta-loss as ``value=``; its horizon
    are the meta-iterations of the stage. The stage's clipping applies to both.

    Args:
        stage: the stage.
        learned: the optimizer that is meta-trained.
        digest: of the meta-parameters in the checkpoint ``stage.outer``; None = any.

    Raises:
        ValueError: as `load_outer`.
        FileNotFoundError: as `load_outer`.
    """
    if not stage.outer:
        return optax.with_extra_args_support(stage.adamw())
    inner = load_outer(stage.outer, digest).optimizer(stage.iterations)
    theta = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), theta_shapes(learned))
    unravel = ravel_pytree(partition.split(theta, stage.trainable(learned, theta)).trained)[1]

    def init(params: PyTree) -> PyTree:
        return inner.init(unravel(params))

    def update(updates: PyTree, state: PyTree, params: PyTree = None, **extra: Any) -> tuple[PyTree, PyTree]:
        steps, state = inner.update(unravel(updates), state, unravel(params), **extra)
        return ravel_pytree(steps)[0], state

    flat = optax.GradientTransformationExtraArgs(init, update)
    return optax.chain(optax.clip_by_global_norm(stage.clip_norm), flat) if stage.clip_norm else flat
