"""Meta-training: datasets, tasks, truncation, gradient estimators, recipes, trainer and run folders.

Example::

    from celo.meta import Recipe, Settings, Stage, meta_train

    stages = (Stage("rule", iterations=1000), Stage("scheduler", iterations=500))
    recipe = Recipe("celo", tasks=("ImageMLP_Digits8_Relu32_bs64",), stages=stages)
    result = meta_train(recipe, "runs/mine")  # the same call resumes an interrupted run
    optimizer = result.learned.optimizer(result.theta, num_steps=1000)  # an optax optimizer
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from celo.meta.presets import PRESETS, preset
    from celo.meta.recipe import Recipe, Settings
    from celo.meta.stage import Stage
    from celo.meta.trainer import Result, meta_train

__all__ = ["PRESETS", "Recipe", "Result", "Settings", "Stage", "meta_train", "preset"]

_PLACES = {"PRESETS": "presets", "preset": "presets", "Result": "trainer", "meta_train": "trainer"}


def __getattr__(name: str) -> Any:
    """Import the module of a name when it is first used; the rooms of this package need no trainer."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_PLACES.get(name, 'recipe')}"), name)
