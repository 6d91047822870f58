"""Ready recipes: four presets, and what differs by optimizer.

"quick", "cpu" and "wide" are this project's, "paper" is the Celo paper's (arXiv 2501.12670).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from celo._core.names import unknown_name
from celo.learned import LEARNED
from celo.meta.recipe import Recipe
from celo.meta.stage import Stage
from celo.meta.tasks import META_TRAINING, META_VALIDATION, WIDER_META_TRAINING

# SVHN is not among the local datasets of a small machine; these three are.
LOCAL_FAMILIES = tuple(name for name in META_TRAINING if "Svhn" not in name)

_QUICK = Stage("rule", iterations=1000, learning_rate=1e-3, schedule="cosine", horizon_high=500, problems=16)
_CPU = Stage("rule", iterations=5000, learning_rate=1e-3, schedule="cosine")
_WIDE = Stage("rule", iterations=20_000, schedule="cosine", problems=4, normalize=True, average=0.1)

PRESETS: Mapping[str, Recipe] = MappingProxyType(
    {
        "quick": Recipe(
            tasks=("ImageMLP_Digits8_Relu32_bs64",),
            stages=(_QUICK, dataclasses.replace(_QUICK, trains="scheduler", iterations=500)),
            validate_every=250,
            validation_steps=500,
        ),
        "cpu": Recipe(
            tasks=LOCAL_FAMILIES,
            stages=(_CPU, dataclasses.replace(_CPU, trains="scheduler", iterations=2500)),
            validate_every=500,
        ),
        "wide": Recipe(
            tasks=LOCAL_FAMILIES + WIDER_META_TRAINING,
            stages=(_WIDE, dataclasses.replace(_WIDE, trains="scheduler")),
            validate_every=1000,
            validation_tasks=META_VALIDATION,
            validation_seeds=3,
        ),
        "paper": Recipe(),
    }
)
"""Name to recipe, as Celo has it; read-only."""

# Published outer learning rates other than Celo's 3e-4. The Celo paper chose from 3e-5, 5e-5, 1e-4, 3e-4 and
# 1e-3 for each optimizer; nn_adam and rnn_mlp its choices, celo2 and celo2_base those of arXiv 2602.19142.
PAPER_RATES: Mapping[str, float] = MappingProxyType(
    {"nn_adam": 3e-5, "rnn_mlp": 1e-4, "celo2": 5e-5, "celo2_base": 1e-4}
)
"""Name of a learned optimizer to its outer learning rate in the preset paper; 3e-4 for the others."""

QUICK: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        # The mean over a bank of K random MLPs is small by K**0.5 at each layer, and so is the step. The
        # multiplier, found by trial, gives meta-training a step to improve. More is chaotic: with 100, that
        # of the published VeLO, the fall drowns in the error of measuring it. VeLO has 2.3 million
        # meta-parameters and takes long, hence fewer problems.
        "velo": {"problems": 4, "options": ("ff_mult=50.0",)},
        "velo_s": {"options": ("ff_mult=30.0",)},
        # At 0.001 their meta-loss falls by two or three times the error of measuring it; at 0.003 by three to
        # eight times.
        "nn_adam": {"learning_rate": 3e-3},
        "star": {"learning_rate": 3e-3},
        # Its steps do not scale with the parameters, and its scheduler does not see them: no step size suits
        # tensors whose scale varies by a factor of a million.
        "celo2_auto": {"augmentation": "none"},
        # Their meta-parameters are logarithms, where 0.03 is a change by 3 %. No single learning rate suits
        # tensors whose scale varies by a factor of a million, so without augmentation there is more to learn.
        "learnable_adam": {"learning_rate": 0.03, "sigma": 0.1, "augmentation": "none"},
        "learnable_sgd": {"learning_rate": 0.03, "sigma": 0.1, "augmentation": "none"},
        "learnable_sgdm": {"learning_rate": 0.03, "sigma": 0.1, "augmentation": "none"},
    }
)
"""Name of a learned optimizer to what differs in the preset quick, in all stages; read-only.

A few hundred meta-iterations move theta only as far as the outer learning rate allows. The figures behind the
entries are in ``docs/learned_optimizers.md``.
"""


def preset(name: str, optimizer: str = "celo") -> Recipe:
    """The recipe of a preset for an optimizer.

    Args:
        name: "quick" (embedded digits, minutes on two cores), "cpu" (three real datasets, an hour on two
            cores), "wide" (eight families of those datasets, hours on two cores) or "paper" (the Celo paper:
            four datasets, 100,000 meta-iterations in each of two stages).
        optimizer: name of the learned optimizer, see `celo.LEARNED`.

    Returns:
        The preset with that optimizer and its outer settings, from `QUICK` or `PAPER_RATES`.

    Raises:
        ValueError: for an unknown name.

    Example:
        >>> preset("quick", "velo_s").options
        ('ff_mult=30.0',)
        >>> [stage.learning_rate for stage in preset("paper", "celo2").stages]
        [5e-05, 5e-05]
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    if optimizer not in LEARNED:
        raise unknown_name("optimizer", optimizer, LEARNED)
    changes: dict[str, Any] = {}
    if name == "quick":
        changes = dict(QUICK.get(optimizer, {}))
    elif name == "paper" and optimizer in PAPER_RATES:
        changes = {"learning_rate": PAPER_RATES[optimizer]}
    options = changes.pop("options", ())
    return dataclasses.replace(PRESETS[name], optimizer=optimizer, options=options).change_stages(changes)
