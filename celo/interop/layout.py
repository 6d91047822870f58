"""How meta-parameters of a released checkpoint become ours: one `Leaf` per leaf of ours, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from celo._core import trees
from celo.learned import base
from celo.learned.base import LearnedOptimizer

Shape = tuple[int, ...]
Arrays = Mapping[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Leaf:
    """Where one leaf comes from.

    Attributes:
        target: path of the leaf in our theta.
        sources: upstream paths; several are concatenated along the axis before the last.
        rows: the size of each source along that axis; empty for a single source.
        leading: whether upstream has an axis of size 1 in front.
        used: False for what upstream computes and throws away. It must be there, shaped like ``target``, and
            is not read.
    """

    target: str
    sources: tuple[str, ...]
    rows: tuple[int, ...] = ()
    leading: bool = False
    used: bool = True

    def upstream_shapes(self, shape: Shape) -> dict[str, Shape]:
        """Shape of each source, for a target of this shape."""
        front = (1,) * self.leading
        if not self.rows:
            return {self.sources[0]: front + shape}
        *outer, total, last = shape
        if total != sum(self.rows):
            raise ValueError(f"leaf {self.target} has {total} rows; upstream's groups have {sum(self.rows)}")
        return {
            source: (*front, *outer, rows, last) for source, rows in zip(self.sources, self.rows, strict=True)
        }

    def read(self, flat: Arrays, shape: Shape) -> np.ndarray:
        """The target, from upstream's arrays."""
        parts = [flat[source] for source in self.sources]
        return (np.concatenate(parts, axis=-2) if self.rows else parts[0]).reshape(shape)

    def write(self, array: np.ndarray) -> dict[str, np.ndarray]:
        """Upstream's arrays, from the target; zeros for what upstream throws away."""
        array = array.reshape((1,) * self.leading + array.shape)
        if not self.used:
            array = np.zeros_like(array)
        parts = np.split(array, np.cumsum(self.rows)[:-1], axis=-2) if self.rows else [array]
        return dict(zip(self.sources, parts, strict=True))


Layout = tuple[Leaf, ...]


def copy(target: str, source: str) -> Leaf:
    """A leaf that upstream has in the same shape."""
    return Leaf(target, (source,))


def squeeze(target: str, source: str) -> Leaf:
    """A leaf to which upstream adds a leading axis of size 1."""
    return Leaf(target, (source,), leading=True)


def discard(source: str, like: str) -> Leaf:
    """An upstream leaf that influences nothing, shaped like our leaf ``like``."""
    return Leaf(like, (source,), used=False)


def linear(target: str, source: str) -> Layout:
    """Weight and bias of a linear layer."""
    return tuple(copy(f"{target}/{part}", f"{source}/{part}") for part in ("w", "b"))


def mlp(target: str, prefix: str, layers: int) -> Layout:
    """An MLP of which upstream keeps a linear layer each: ``prefix0/w``, ``prefix0/b``, ``prefix1/w``, ..."""
    return tuple(copy(f"{target}/{part}{i}", f"{prefix}{i}/{part}") for i in range(layers) for part in "wb")


def discard_linear(source: str, like: str) -> Layout:
    """Weight and bias of a linear layer that influences nothing, shaped like our layer ``like``."""
    return tuple(discard(f"{source}/{part}", f"{like}/{part}") for part in ("w", "b"))


def feature_groups(target: str, prefix: str, rows: Sequence[int], leading: bool = False) -> Leaf:
    """A first layer of which upstream keeps one matrix per feature group: ``prefix0``, ``prefix1``, ..."""
    return Leaf(target, tuple(f"{prefix}{i}" for i in range(len(rows))), tuple(rows), leading)


def shapes(learned: LearnedOptimizer) -> dict[str, Shape]:
    """Shape of each leaf of theta, by path."""
    return {path: tuple(leaf.shape) for path, leaf in trees.flatten(base.theta_shapes(learned)).items()}


def mismatches(layout: Layout, learned: LearnedOptimizer, flat: Mapping[str, Any]) -> str:
    """What keeps upstream arrays from being meta-parameters of this configuration.

    Args:
        layout: how they map.
        learned: the configuration.
        flat: upstream arrays by path.

    Returns:
        Phrases as of `celo._core.trees.mismatches`; empty if all fit.
    """
    return trees.mismatches(_expected(layout, learned), _found(flat))


def likeness(layout: Layout, learned: LearnedOptimizer, flat: Mapping[str, Any]) -> float:
    """Share of the leaves that are as this configuration has them, of all leaves of either, in [0, 1]."""
    expected, found = _expected(layout, learned), _found(flat)
    return len(expected.items() & found.items()) / len(expected.keys() | found.keys())


def _expected(layout: Layout, learned: LearnedOptimizer) -> dict[str, str]:
    """Shape and dtype of every upstream leaf of a configuration."""
    ours = shapes(learned)
    return {
        source: trees.spec(np.empty(shape, np.float32))
        for leaf in layout
        for source, shape in leaf.upstream_shapes(ours[leaf.target]).items()
    }


def _found(flat: Mapping[str, Any]) -> dict[str, str]:
    return {path: trees.spec(leaf) for path, leaf in flat.items()}


def read(layout: Layout, learned: LearnedOptimizer, flat: Arrays) -> dict[str, Any]:
    """Our theta, from upstream arrays without `problems`."""
    ours = shapes(learned)
    return trees.unflatten({leaf.target: leaf.read(flat, ours[leaf.target]) for leaf in layout if leaf.used})


def write(layout: Layout, theta: Any) -> dict[str, np.ndarray]:
    """Upstream arrays, from our theta."""
    flat = {path: np.asarray(leaf) for path, leaf in trees.flatten(theta).items()}
    parts = [leaf.write(flat[leaf.target]) for leaf in layout]
    return {source: array for part in parts for source, array in part.items()}


def nest(flat: Arrays) -> dict[str, Any]:
    """Upstream arrays as upstream's own dictionaries: a key of theta, the name of a haiku module, a leaf.

    The name of a module may hold ``/`` itself, and the theta of the MLP over momenta is the dictionary of its
    modules.

    >>> nest({"rnn_params/rnn/linear/w": 1, "mlp/~/linear_0/w": 2, "log_lr": 3})
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
