"""The meta-parameters a stage starts from, and whether they fit what it trains."""

from __future__ import annotations

from typing import Any

import jax

import celo
from celo.learned.base import theta_shapes
from meta import partition, sharding
from meta.compile import jit
from meta.recipe import Recipe

PyTree = Any


def initial_theta(recipe: Recipe, number: int = 0) -> PyTree:
    """The meta-parameters a stage starts from: those of its checkpoint, or random ones.

    Args:
        recipe: the recipe.
        number: the stage, counted from 0.

    Raises:
        ValueError: if the checkpoint is damaged, holds numbers that are not finite, or is of another
            optimizer or another configuration of it.
        FileNotFoundError: if there is no such checkpoint.
    """
    learned = recipe.learned(recipe.plan()[number].part)
    checkpoint = recipe.checkpoint(number)
    if not checkpoint:
        return jit(learned.init)(jax.random.fold_in(jax.random.key(recipe.seed), 0))
    loaded, theta = celo.load(checkpoint)
    # A theta is the same whether its scheduler is in use or not.
    if loaded not in (recipe.learned(1), recipe.learned(2)):
        raise ValueError(f"{checkpoint} holds meta-parameters of {loaded}, not of {learned}")
    return theta


def check_recipe(recipe: Recipe, starts: bool) -> None:
    """Finds out before anything is compiled what would stop a stage, perhaps hours from now.

    Args:
        recipe: what to check against the optimizer and the devices there are.
        starts: whether its run is new, hence needs the checkpoints that its stages start from.

    Raises:
        ValueError: if a stage has nothing to train, its problems do not divide among the processes, or a
            checkpoint does not fit.
        FileNotFoundError: if there is no such checkpoint.
    """
    for number, stage in enumerate(recipe.plan()):
        learned = recipe.learned(stage.part)
        shapes = theta_shapes(learned)
        partition.split(shapes, learned.trainable(shapes, stage.part))
        sharding.problem_mesh(stage.problems)
        if starts and recipe.checkpoint(number):
            initial_theta(recipe, number)
