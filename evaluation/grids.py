"""Settings that baselines are tried at: grids of learning rates, and random trials of NAdamW."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from celo._core.names import unknown_name

Setting = Mapping[str, float]

GRIDS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "half_powers": tuple(10.0 ** (half / 2) for half in range(-13, 1)),
        "published": tuple(
            float(f"{digit}e{power}")
            for power in range(-7, 1)
            for digit in (1, 3)
            if (digit, power) != (3, 0)
        ),
    }
)
"""Grids of constant learning rates by name: 14 half powers of ten from 10^-6.5 to 1; and the 15 rates, 1 and
3 times powers of ten from 1e-7 to 1, of the baselines published with VeLO (arXiv 2211.09760)."""

MOST_TRIALS = 1000


def learning_rates(grid: str) -> tuple[Setting, ...]:
    """A setting for each learning rate of a grid, a key of `GRIDS`.

    Example:
        >>> learning_rates("published")[:3]
        ({'learning_rate': 1e-07}, {'learning_rate': 3e-07}, {'learning_rate': 1e-06})
    """
    if grid not in GRIDS:
        raise unknown_name("grid of learning rates", grid, GRIDS)
    return tuple({"learning_rate": rate} for rate in GRIDS[grid])


def nadamw_trials(count: int, seed: int = 0) -> tuple[Setting, ...]:
    """Random hyperparameters of NAdamW with warm-up and cosine decay.

    Log-uniform: learning rate in [1e-5, 1], 1 - b1 in [1e-3, 1], 1 - b2 in [1e-5, 1], eps in [1e-8, 1e4].
    Uniform: the part of the run at constant rate, in [0, 1]; Nesterov momentum or none. Weight decays are
    log-uniform in [1e-5, 1e-1], in equal parts both, AdamW's alone and L2 alone. Half the trials have a
    warm-up, log-uniform in [1e-5, 1e-1] of the run, and half end above rate 0, at [1e-5, 1] of the highest.
    The space is read off the 1000 published settings: least, greatest and median value of each, and how many
    are 0. The first trials do not depend on ``count``, 1 to `MOST_TRIALS`.

    Returns:
        Hyperparameters by their names in `celo.baselines.nadamw.nadamw` and
        `celo.schedules.cosine_learning_rate`; ``nesterov`` is 0 or 1.

    Source: Metz et al. 2020, Using a thousand optimization tasks to learn hyperparameter search strategies
    (arXiv 2002.11887).
    """
    if not 1 <= count <= MOST_TRIALS:
        raise ValueError(f"nadamw-search has {count} trials; expected 1 to {MOST_TRIALS}")
    return tuple(_nadamw_trial(np.random.default_rng([seed, trial])) for trial in range(count))


def _nadamw_trial(rng: np.random.Generator) -> Setting:
    def power(low: int, high: int) -> float:
        return float(10.0 ** rng.uniform(low, high))

    # Draw everything, used or not, so that each value depends on the seed alone.
    decays = rng.integers(3)
    adamw, l2, warmup, last = power(-5, -1), power(-5, -1), power(-5, -1), power(-5, 0)
    has_warmup, has_last, nesterov = (float(rng.integers(2)) for _ in range(3))
    return {
        "learning_rate": power(-5, 0),
        "b1": 1.0 - power(-3, 0),
        "b2": 1.0 - power(-5, 0),
        "eps": power(-8, 4),
        "nesterov": nesterov,
        "adamw_weight_decay": adamw if decays != 2 else 0.0,
        "l2_weight_decay": l2 if decays != 1 else 0.0,
        "warmup_fraction": has_warmup * warmup,
        "min_learning_rate_mult": has_last * last,
        "constant_fraction": float(rng.uniform()),
    }
