"""Meta-parameters of the reference implementations, amoudgl/celo and google/learned_optimization."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import serialization

from celo._core import names, trees
from celo._core.layouts import LAYOUTS, Layout
from celo.learned import LearnedOptimizer, base, learned_optimizer

__all__ = ["LAYOUTS", "AmbiguousError", "encode", "from_upstream", "recognise", "to_upstream"]


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
    wrong = trees.mismatches(_expected(mapping, learned), _specs(flat))
    if wrong:
        raise ValueError(f"these arrays are not upstream's meta-parameters of {name}: {wrong}")
    arrays = {path: np.asarray(leaf) for path, leaf in flat.items()}
    trees.check_finite(arrays, f"upstream's meta-parameters of {name}")
    ours = _shapes(learned)
    read = {leaf.target: leaf.read(arrays, ours[leaf.target]) for leaf in mapping if leaf.used}
    return jax.tree.map(jnp.asarray, trees.unflatten(read))


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
    flat = {path: np.asarray(leaf) for path, leaf in trees.flatten(theta).items()}
    parts = [leaf.write(flat[leaf.target]) for leaf in mapping]
    return {source: array for part in parts for source, array in part.items()}


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
    return serialization.msgpack_serialize(_nest(to_upstream(name, theta, **config)))


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
    found = _specs(flat)
    expected = {name: _expected(LAYOUTS[name], learned_optimizer(name)) for name in LAYOUTS}
    wrong = {name: trees.mismatches(specs, found) for name, specs in expected.items()}
    fitting = [name for name in LAYOUTS if not wrong[name]]
    if len(fitting) > 1:
        message = f"these arrays fit {' and '.join(fitting)} alike; state which with name="
        raise AmbiguousError(message, tuple(fitting))
    if fitting:
        return fitting[0]

    def likeness(name: str) -> float:
        """Share of the leaves that are as expected, of all leaves expected or found."""
        return len(expected[name].items() & found.items()) / len(expected[name].keys() | found.keys())

    nearest = max(LAYOUTS, key=likeness)
    raise ValueError(f"these arrays fit none of {', '.join(LAYOUTS)}; most like {nearest}: {wrong[nearest]}")


def _shapes(learned: LearnedOptimizer) -> dict[str, tuple[int, ...]]:
    """Shape of each leaf of theta, by path."""
    return {path: tuple(leaf.shape) for path, leaf in trees.flatten(base.theta_shapes(learned)).items()}


def _expected(layout: Layout, learned: LearnedOptimizer) -> dict[str, str]:
    """Shape and dtype of every upstream leaf of a configuration."""
    ours = _shapes(learned)
    return {
        source: trees.spec(jax.ShapeDtypeStruct(shape, np.float32))
        for leaf in layout
        for source, shape in leaf.upstream_shapes(ours[leaf.target]).items()
    }


def _specs(flat: Mapping[str, Any]) -> dict[str, str]:
    return {path: trees.spec(leaf) for path, leaf in flat.items()}


def _nest(flat: Mapping[str, Any]) -> dict[str, Any]:
    """Upstream arrays as upstream's own dictionaries: a key of theta, the name of a haiku module, a leaf.

    The name of a module may hold ``/`` itself, and the theta of the MLP over momenta is the dictionary of its
    modules.

    >>> _nest({"rnn_params/rnn/linear/w": 1, "mlp/~/linear_0/w": 2, "log_lr": 3})
    {'rnn_params': {'rnn/linear': {'w': 1}}, 'mlp/~/linear_0': {'w': 2}, 'log_lr': 3}
    """
    nested: dict[str, Any] = {}
    for path, array in flat.items():
        *branch, leaf = path.split("/")
        outer = [] if branch[:1] == ["mlp"] else branch[:1]
        node = nested
        for key in (*outer, "/".join(branch[len(outer) :])):
            node = node.setdefault(key, {}) if key else node
        node[leaf] = array
    return nested
