"""The first stage of a recipe taken from a finished run of it alone, which several recipes can share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from celo import checkpoint
from celo.meta.estimators import partition
from celo.meta.initial_theta import CONFIG_KEY, initial_theta, stage_name
from celo.meta.outer import OUTER_KEY
from celo.meta.recipe import Recipe
from celo.meta.runs.files import json_ready

PyTree = Any
# They change what a run measures on its way, not the theta it ends with.
_MEASURING = ("validate_every", "validation_tasks", "validation_steps", "validation_seeds")
_DATA = "data"


def theta_after_first_stage(
    recipe: Recipe, config: Mapping[str, Any], file: str | os.PathLike[str]
) -> PyTree:
    """The meta-parameters with which the second stage starts, bit for bit those of a run of both.

    What the first stage trains comes from the file, the rest from the recipe's own beginning.

    Args:
        recipe: the recipe, of two or more stages.
        config: its configuration, with digests of data and initial checkpoints, as the run records it.
        file: ``theta.safetensors`` of a finished run of ``recipe.first_stage()``.

    Raises:
        ValueError: the file is of another recipe, of other data or another initial checkpoint, or the second
            stage does not start from the first.
        FileNotFoundError: there is no such file.
    """
    if len(recipe.stages) < 2:
        raise ValueError("first_stage is given, and the recipe has one stage; expected two or more")
    if recipe.checkpoint(1):
        raise ValueError(f"first_stage is given, and stage 2 starts from {recipe.checkpoint(1)}; give one")
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f"there is no {path}: the run of the first stage is not finished")
    found = checkpoint.read(path)
    made = (found.header or {}).get("provenance", {}).get("recipe", {})
    expected, families = recipe.first_stage(), recipe.families(0)
    inputs = {name: config[name] for name in (_DATA, CONFIG_KEY, OUTER_KEY) if name in config}
    ours = _deciding(json_ready({**expected.config(), **inputs}, "config"), families)
    theirs = _deciding(made, families)
    if differing := sorted(name for name in {*ours, *theirs} if ours.get(name) != theirs.get(name)):
        shown = ", ".join(f"{name} {theirs.get(name)!r}, not {ours.get(name)!r}" for name in differing)
        raise ValueError(f"{path} is not of this recipe's first stage: it has {shown}")
    learned, first = recipe.learned(recipe.stages[0]), recipe.stages[0]
    own = jax.device_get(initial_theta(recipe, 0, config[CONFIG_KEY].get(stage_name(0))))
    trained = partition.split(found.theta, first.trainable(found.learned, found.theta)).trained
    theta = partition.merge(trained, partition.split(own, first.trainable(learned, own)).frozen)
    return jax.tree.map(np.asarray, theta)


def _deciding(config: Mapping[str, Any], families: tuple[str, ...]) -> dict[str, Any]:
    """The part of a run's configuration that decides theta after its first stage."""
    kept = {name: value for name, value in config.items() if name not in _MEASURING}
    kept[_DATA] = {name: config.get(_DATA, {}).get(name) for name in families}
    kept |= {key: config.get(key, {}).get(stage_name(0)) for key in (CONFIG_KEY, OUTER_KEY)}
    return kept
