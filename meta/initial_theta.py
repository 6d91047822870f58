"""The learned optimizer of a stage, the meta-parameters a recipe starts from, and whether the two fit."""

from __future__ import annotations

import inspect
from typing import Any

import jax

import celo
from celo.learned import LEARNED
from celo.learned.base import LearnedOptimizer, check_theta, theta_shapes
from meta import partition, sharding
from meta.recipe import Recipe

PyTree = Any


def stage_optimizer(name: str, part: int) -> LearnedOptimizer:
    """The learned optimizer as a stage trains it: without its scheduler in stage 1, if it has one."""
    kind = LEARNED[name]
    return kind(stage=part) if "stage" in inspect.signature(kind).parameters else kind()


def initial_theta(recipe: Recipe) -> PyTree:
    """The meta-parameters a recipe starts from: those of its checkpoint, or random ones.

    Raises:
        ValueError: if the checkpoint is damaged, holds numbers that are not finite, or is of another
            optimizer or another configuration of it.
        FileNotFoundError: if there is no such checkpoint.
    """
    learned = stage_optimizer(recipe.optimizer, recipe.plan()[0].part)
    if not recipe.init:
        return learned.init(jax.random.fold_in(jax.random.key(recipe.seed), 0))
    loaded, theta = celo.load(recipe.init)
    if not any(loaded == stage_optimizer(recipe.optimizer, part) for part in (1, 2)):
        raise ValueError(f"{recipe.init} holds meta-parameters of {loaded}, not of {learned}")
    check_theta(learned, theta)
    return theta


def check_recipe(recipe: Recipe, starts: bool) -> None:
    """Finds out before anything is compiled what would stop a stage, perhaps hours from now.

    Args:
        recipe: what to check against the optimizer and the devices there are.
        starts: whether its run is new, hence needs the checkpoint that the recipe starts from.

    Raises:
        ValueError: if a stage has nothing to train, its problems do not divide among the processes, or the
            checkpoint does not fit.
        FileNotFoundError: if there is no such checkpoint.
    """
    for stage in recipe.plan():
        learned = stage_optimizer(recipe.optimizer, stage.part)
        shapes = theta_shapes(learned)
        partition.split(shapes, learned.trainable(shapes, stage.part))
        sharding.problem_mesh(stage.problems)
    if starts and recipe.init:
        initial_theta(recipe)
