"""Meta-parameters in the form of the reference implementations, amoudgl/celo and google/learned_optimization.

Each optimizer has a file with its `celo.interop.layout.Layout`, and a row in `LAYOUTS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization

from celo._core import names, trees
from celo.interop import adafac_mlp as adafac_mlp_layout
from celo.interop import celo as celo_layout
from celo.interop import celo2 as celo2_layout
from celo.interop import celo_adam as celo_adam_layout
from celo.interop import layout
from celo.interop import learnable as learnable_layout
from celo.interop import mlp_lopt as mlp_lopt_layout
from celo.interop import nn_adam as nn_adam_layout
from celo.interop import rnn_mlp as rnn_mlp_layout
from celo.interop import star as star_layout
from celo.interop import velo as velo_layout
from celo.interop.layout import Layout
from celo.learned import LearnedOptimizer, base, learned_optimizer

__all__ = ["LAYOUTS", "AmbiguousError", "encode", "from_upstream", "recognise", "to_upstream"]

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {
        "celo": celo_layout.LAYOUT,
        "celo_adam": celo_adam_layout.LAYOUT,
        "velo": velo_layout.LAYOUT,
        "velo_s": velo_layout.LAYOUT,
        "adafac_mlp": adafac_mlp_layout.LAYOUT,
        "mlp_lopt": mlp_lopt_layout.LAYOUT,
        "nn_adam": nn_adam_layout.LAYOUT,
        "rnn_mlp": rnn_mlp_layout.LAYOUT,
        "celo2": celo2_layout.LAYOUT,
        "celo2_base": celo2_layout.LAYOUT,
        "star": star_layout.LAYOUT,
        "learnable_adam": learnable_layout.ADAM,
        "learnable_sgd": learnable_layout.SGD,
    }
)
"""Name of a learned optimizer to its upstream layout; read-only."""


class AmbiguousError(ValueError):
    """Meta-parameters that are those of several optimizers alike.

    Attributes:
        fitting: keys of `LAYOUTS`.
    """

    def __init__(self, message: str, fitting: tuple[str, ...]):
        super().__init__(message)
        self.fitting = fitting


def _layout(name: str, config: Mapping[str, Any]) -> tuple[Layout, LearnedOptimizer]:
    learned = learned_optimizer(name, **config)
    if name not in LAYOUTS:
        raise names.unknown_name("upstream layout", name, LAYOUTS)
    return LAYOUTS[name], learned


def from_upstream(name: str, flat: Mapping[str, Any], **config: Any) -> dict[str, Any]:
    """Meta-parameters of a released checkpoint.

    Args:
        name: a key of `LAYOUTS`.
        flat: upstream arrays, float32, by their path, keys joined by ``/``
            (``rnn_params/rnn/linear/w``). Leaves that upstream computes without using must be there too.
        **config: fields of the configuration that differ from their defaults.

    Returns:
        ``theta`` for `celo.learned_optimizer(name, **config)`.

    Raises:
        ValueError: for an unknown name; naming each leaf that is missing, unexpected or of another shape or
            dtype than expected; for numbers that are not finite.
    """
    mapping, learned = _layout(name, config)
    wrong = layout.mismatches(mapping, learned, flat)
    if wrong:
        raise ValueError(f"these arrays are not upstream's meta-parameters of {name}: {wrong}")
    arrays = {path: np.asarray(leaf) for path, leaf in flat.items()}
    trees.check_finite(arrays, f"upstream's meta-parameters of {name}")
    return jax.tree.map(jnp.asarray, layout.read(mapping, learned, arrays))


def to_upstream(name: str, theta: Any, **config: Any) -> dict[str, np.ndarray]:
    """Meta-parameters as upstream has them; undoes `from_upstream`.

    Args:
        name: a key of `LAYOUTS`.
        theta: meta-parameters.
        **config: fields of the configuration that differ from their defaults.

    Returns:
        Arrays by upstream path; zeros for those that upstream computes without using.

    Raises:
        ValueError: for an unknown name, or if ``theta`` does not fit the configuration.
    """
    mapping, learned = _layout(name, config)
    base.check_theta(learned, theta)
    return layout.write(mapping, theta)


def encode(name: str, theta: Any, **config: Any) -> bytes:
    """The content of a file ``theta.state``, which upstream reads with ``flax.serialization.from_bytes``.

    Args:
        name: a key of `LAYOUTS`.
        theta: meta-parameters.
        **config: fields of the configuration that differ from their defaults.

    Returns:
        The content; equal for equal arguments. It does not say which optimizer it is, nor the configuration.

    Raises:
        ValueError: for an unknown name, or if ``theta`` does not fit the configuration.
    """
    return serialization.msgpack_serialize(layout.nest(to_upstream(name, theta, **config)))


def recognise(flat: Mapping[str, Any]) -> str:
    """Which optimizer upstream arrays belong to, by their paths and shapes.

    Args:
        flat: upstream arrays by path.

    Returns:
        A key of `LAYOUTS`.

    Raises:
        ValueError: if they fit none, saying what is wrong for the most similar.
        AmbiguousError: if they fit several.
    """
    every = {name: (LAYOUTS[name], learned_optimizer(name)) for name in LAYOUTS}
    wrong = {name: layout.mismatches(*one, flat) for name, one in every.items()}
    fitting = [name for name in LAYOUTS if not wrong[name]]
    if len(fitting) > 1:
        told = f"these arrays fit {' and '.join(fitting)} alike; say which with name="
        raise AmbiguousError(told, tuple(fitting))
    if not fitting:
        nearest = max(every, key=lambda name: layout.likeness(*every[name], flat))
        raise ValueError(
            f"these arrays fit none of {', '.join(LAYOUTS)}; most like {nearest}: {wrong[nearest]}"
        )
    return fitting[0]
