"""The meta-parameters a stage starts from, whether they fit what it trains, and whether they are the same."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import jax

import celo
from celo.learned.base import theta_shapes
from celo.meta.compile import jit_once
from celo.meta.estimators import partition, sharding
from celo.meta.recipe import Recipe
from celo.meta.runs import config_file
from celo.meta.runs.fingerprint import arrays_fingerprint
from celo.meta.runs.run import saved_steps

PyTree = Any
# Key of a run's configuration: digests of what its stages start from.
CONFIG_KEY = "initial_theta"


def initial_theta(recipe: Recipe, number: int = 0, digest: str | None = None) -> PyTree:
    """The meta-parameters a stage starts from: those of its checkpoint, or random ones.

    Args:
        recipe: the recipe.
        number: the stage, counted from 0.
        digest: of the meta-parameters the checkpoint has to hold, as `starting_points` gives it; None = any.

    Raises:
        ValueError: if the checkpoint is damaged, holds numbers that are not finite, is of another optimizer
            or another configuration of it, or holds other meta-parameters than it has to.
        FileNotFoundError: if there is no such checkpoint.
    """
    learned = recipe.learned(recipe.plan()[number].part)
    checkpoint = recipe.checkpoint(number)
    if not checkpoint:
        return jit_once(learned.init)(jax.random.fold_in(jax.random.key(recipe.seed), 0))
    loaded, theta = celo.load(checkpoint)
    # A theta is the same whether its scheduler is in use or not.
    if loaded not in (recipe.learned(1), recipe.learned(2)):
        raise ValueError(f"{checkpoint} holds meta-parameters of {loaded}, not of {learned}")
    if digest is not None and (found := arrays_fingerprint(theta)) != digest:
        raise ValueError(
            f"{checkpoint} was changed since the run began: the digest of its meta-parameters is {found}, "
            f"expected {digest}"
        )
    return theta


def starting_points(recipe: Recipe, run_dir: str | os.PathLike[str]) -> dict[str, str]:
    """Digests of the meta-parameters in the checkpoints that stages start from, for a run's configuration.

    The checkpoint of a stage that has not begun is read and checked. Of one that has, the run folder holds
    what came of it: the file may be gone, but if it is there it counts, as it may have been changed. Packaged
    and published weights change with the package and the hub, which is no reason to give up a run under way.

    Args:
        recipe: the recipe.
        run_dir: its run folder, there or not.

    Returns:
        SHA-256 in hexadecimal by stage, "stage1" and "stage2"; stages that start from no checkpoint are left
        out.

    Raises:
        ValueError: as `initial_theta`, or the run's ``config.json`` is not readable.
        FileNotFoundError: a checkpoint that is still needed is not there.
    """
    steps = saved_steps(run_dir)
    # Without a configuration it is no run, which is for those to say who open it.
    known = bool(steps) and (Path(run_dir) / config_file.NAME).exists()
    begun = recipe.stage_at(steps[-1]) + 1 if known else 0
    recorded = config_file.read_config(run_dir)["config"].get(CONFIG_KEY, {}) if known else {}
    digests = {}
    for number in range(len(recipe.plan())):
        stage, checkpoint = stage_name(number), recipe.checkpoint(number)
        if checkpoint and (number >= begun or Path(checkpoint).is_file()):
            digests[stage] = arrays_fingerprint(initial_theta(recipe, number))
        elif checkpoint and stage in recorded:
            digests[stage] = recorded[stage]
    return digests


def stage_name(number: int) -> str:
    """Name of a stage counted from 0, as the recipe calls it."""
    return f"stage{number + 1}"


def check_recipe(recipe: Recipe) -> None:
    """Finds out before anything is compiled what would stop a stage, perhaps hours from now.

    Args:
        recipe: what to check against the optimizer and the devices there are.

    Raises:
        ValueError: if a stage has nothing to train, or its problems do not divide among the processes.
    """
    for stage in recipe.plan():
        learned = recipe.learned(stage.part)
        shapes = theta_shapes(learned)
        partition.split(shapes, stage.trainable(learned, shapes))
        sharding.problem_mesh(stage.problems)
