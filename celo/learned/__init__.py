"""The learned optimizers, one file each, and their registry."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from celo._core import names
from celo.learned.adafac_mlp import AdafacMlp
from celo.learned.base import LearnedOptimizer
from celo.learned.celo import Celo
from celo.learned.celo2 import Celo2, Celo2Base
from celo.learned.celo2_auto import Celo2Auto
from celo.learned.celo_adam import CeloAdam
from celo.learned.learnable import LearnableAdam, LearnableSGD, LearnableSGDM
from celo.learned.mlp_lopt import MlpLopt
from celo.learned.nn_adam import NNAdam
from celo.learned.rnn_mlp import RnnMlp
from celo.learned.star import Star
from celo.learned.velo import Velo

__all__ = ["LEARNED", "LearnedOptimizer", "learned_optimizer"]

LEARNED: Mapping[str, Callable[..., LearnedOptimizer]] = MappingProxyType(
    {
        "celo": Celo,
        "celo_adam": CeloAdam,
        "velo": Velo,
        "velo_s": functools.partial(Velo, hidden=64, bank=32),
        "adafac_mlp": AdafacMlp,
        "mlp_lopt": MlpLopt,
        "nn_adam": NNAdam,
        "rnn_mlp": RnnMlp,
        "celo2": Celo2,
        "celo2_base": Celo2Base,
        "celo2_auto": Celo2Auto,
        "star": Star,
        "learnable_adam": LearnableAdam,
        "learnable_sgd": LearnableSGD,
        "learnable_sgdm": LearnableSGDM,
    }
)
"""Name to constructor of a configuration; read-only."""


def learned_optimizer(name: str, **config: Any) -> LearnedOptimizer:
    """The configuration of a learned optimizer by name; it holds no meta-parameters.

    Args:
        name: a key of `LEARNED`.
        **config: fields of the configuration, such as ``stage=1``.

    Returns:
        A frozen dataclass with `init(key) -> theta`, `optimizer(theta, num_steps)` and
        `trainable(theta, stage)`.

    Raises:
        ValueError: for an unknown name, or a value that a field does not take.
        TypeError: for an unknown field.

    Example:
        >>> import jax
        >>> learned = learned_optimizer("celo", stage=1)
        >>> theta = learned.init(jax.random.key(0))
        >>> optimizer = learned.optimizer(theta, num_steps=1000)
    """
    factory = names.lookup("learned optimizer", name, LEARNED)
    names.check_options(name, config, names.options(factory))
    return factory(**config)
