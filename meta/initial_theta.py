"""The meta-parameters a stage starts from, and the checks that they fit and are still the same."""

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
from celo.meta.stage import Stage

PyTree = Any
# Key of a run's configuration: digests of what its stages start from.
CONFIG_KEY = "initial_theta"


def initial_theta(recipe: Recipe, number: int = 0, digest: str | None = None) -> PyTree:
    """The meta-parameters a stage, by its index, starts from: those of its checkpoint, or random ones.

    Raises:
        ValueError: if the checkpoint is damaged, holds numbers that are not finite, is of another optimizer
            or another configuration of it, or has another ``digest`` (of `starting_points`) than expected.
        FileNotFoundError: if there is no such checkpoint.
    """
    learned = recipe.learned(recipe.stages[number])
    checkpoint = recipe.checkpoint(number)
    if not checkpoint:
        return jit_once(learned.init)(jax.random.fold_in(jax.random.key(recipe.seed), 0))
    loaded, theta = celo.load(checkpoint)
    # A theta is the same whether its scheduler is in use or not.
    if loaded not in (recipe.learned(Stage("rule")), recipe.learned(Stage("scheduler"))):
        raise ValueError(f"{checkpoint} holds meta-parameters of {loaded}, not of {learned}")
    check_digest(checkpoint, theta, digest)
    return theta


def check_digest(checkpoint: str, theta: PyTree, digest: str | None) -> None:
    """ValueError unless the meta-parameters of a checkpoint have the digest that a run recorded, if any."""
    if digest is not None and (found := arrays_fingerprint(theta)) != digest:
        raise ValueError(
            f"{checkpoint} has changed since the run started: the digest of its meta-parameters is {found}, "
            f"expected {digest}"
        )


def recorded(run_dir: str | os.PathLike[str], key: str) -> tuple[list[int], dict[str, str]]:
    """Steps of a run's checkpoints, and what its configuration records under a key; nothing for a new run."""
    steps = saved_steps(run_dir)
    # Without a configuration it is not a run, which `RunFolder.open` reports.
    if not steps or not (Path(run_dir) / config_file.NAME).exists():
        return [], {}
    return steps, config_file.read_config(run_dir)["config"].get(key, {})


def starting_points(recipe: Recipe, run_dir: str | os.PathLike[str]) -> dict[str, str]:
    """Digests of the meta-parameters in the checkpoints that stages start from, for a run's configuration.

    SHA-256 in hexadecimal by stage ("stage1", "stage2", ...), for stages that start from a checkpoint.

    The checkpoint of a stage that has not started is read and checked. Once the stage has started, the file
    may be gone; if it still exists it is checked too. Packaged and published weights are not checked any more
    then: they change with the package and the hub, and the run does not need them.

    Raises:
        ValueError: as `initial_theta`, or the run's ``config.json`` is not readable.
        FileNotFoundError: a checkpoint that is still needed does not exist.
    """
    steps, known = recorded(run_dir, CONFIG_KEY)
    started = recipe.stage_at(steps[-1]) + 1 if steps else 0
    digests = {}
    for number in range(len(recipe.stages)):
        stage, checkpoint = stage_name(number), recipe.checkpoint(number)
        if checkpoint and (number >= started or Path(checkpoint).is_file()):
            digests[stage] = arrays_fingerprint(initial_theta(recipe, number))
        elif checkpoint and stage in known:
            digests[stage] = known[stage]
    return digests


def stage_name(number: int) -> str:
    """Name of a stage by its index: "stage1" is the first."""
    return f"stage{number + 1}"


def check_recipe(recipe: Recipe) -> None:
    """Check before anything is compiled that every stage can run, also one that starts hours from now.

    ValueError if a stage has nothing to train, or its problems do not divide among the processes.
    """
    for stage in recipe.stages:
        learned = recipe.learned(stage)
        shapes = theta_shapes(learned)
        partition.split(shapes, stage.trainable(learned, shapes))
        sharding.problem_mesh(stage.problems)
