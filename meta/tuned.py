"""Recipes by preset and optimizer: where the preset quick, made for Celo, is not the place to start.

In a few hundred meta-iterations theta goes only as far as the outer learning rate lets it, and evolution
strategies see only what sigma shows them. Each entry says why it differs; the figures behind them are in
``docs/learned_optimizers.md``. The longer presets are the Celo paper's for every optimizer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType

from celo.meta.recipe import Recipe, preset


@dataclasses.dataclass(frozen=True)
class Tuned:
    """What differs from the preset quick, in both stages.

    Attributes:
        learning_rate: of AdamW on theta.
        sigma: standard deviation of the perturbations of theta.
        augmentation: level of the task augmentation.
        problems: inner problems per task family.
        options: configuration of the optimizer as NAME=VALUE.
    """

    learning_rate: float = 1e-3
    sigma: float = 0.01
    augmentation: str = "global"
    problems: int = 16
    options: tuple[str, ...] = ()


QUICK: Mapping[str, Tuned] = MappingProxyType(
    {
        # At random the mean over a bank of K MLPs is small by K**0.5 at each layer, and the step with it: the
        # multiplier, found by trial, gives meta-training a step to improve. More is chaotic: with 100, that
        # of the published VeLO, the fall drowns in the error of measuring it. The 2.3 million meta-parameters
        # of VeLO take their time, hence fewer problems.
        "velo": Tuned(problems=4, options=("ff_mult=50.0",)),
        "velo_s": Tuned(options=("ff_mult=30.0",)),
        # At 0.001 these two fall too, by two or three times the error of measuring it; at 0.003 by three to
        # eight times.
        "nn_adam": Tuned(learning_rate=3e-3),
        "star": Tuned(learning_rate=3e-3),
        # Meta-parameters are logarithms, where 0.03 is a change by 3 %. No one learning rate suits tensors
        # whose scale varies by a factor of a million, as augmentation makes it: only without it there is
        # something to learn.
        "learnable_adam": Tuned(learning_rate=0.03, sigma=0.1, augmentation="none"),
        "learnable_sgd": Tuned(learning_rate=0.03, sigma=0.1, augmentation="none"),
    }
)
"""Name of a learned optimizer to what to change in the preset quick for it; read-only."""


def tuned_preset(name: str, optimizer: str = "celo") -> Recipe:
    """The recipe of a preset for an optimizer.

    Args:
        name: of a preset, see `celo.meta.recipe.preset`.
        optimizer: name of the learned optimizer, see `celo.LEARNED`.

    Returns:
        The preset with that optimizer; if it is quick, also with the optimizer's entry in `QUICK`.

    Raises:
        ValueError: for an unknown name.

    Example:
        >>> tuned_preset("quick", "velo_s").options
        ('ff_mult=30.0',)
        >>> tuned_preset("quick") == preset("quick")
        True
    """
    recipe = dataclasses.replace(preset(name), optimizer=optimizer)
    if name != "quick" or optimizer not in QUICK:
        return recipe
    changes = dataclasses.asdict(QUICK[optimizer])
    options = changes.pop("options")
    first, second = (dataclasses.replace(stage, **changes) for stage in (recipe.stage1, recipe.stage2))
    return dataclasses.replace(recipe, stage1=first, stage2=second, options=options)
