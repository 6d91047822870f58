"""Splitting meta-parameters into the part a stage trains and the part it leaves alone."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax

PyTree = Any


class Parts(NamedTuple):
    """The two parts of theta, each with None where the other has a leaf."""

    trained: PyTree
    frozen: PyTree


def split(theta: PyTree, trainable: PyTree) -> Parts:
    """Splits ``theta`` by a tree of bools into ``(trained, frozen)``.

    ValueError if nothing is trainable.
    """
    if not any(jax.tree.leaves(trainable)):
        raise ValueError("no leaf of theta is trainable in this stage")
    trained = jax.tree.map(lambda on, leaf: leaf if on else None, trainable, theta)
    frozen = jax.tree.map(lambda on, leaf: None if on else leaf, trainable, theta)
    return Parts(trained, frozen)


def merge(trained: PyTree, frozen: PyTree) -> PyTree:
    """Puts the two parts of `split` together again."""
    return jax.tree.map(lambda a, b: b if a is None else a, trained, frozen, is_leaf=lambda x: x is None)
