"""Running averages of the gradient of a whole tree: what the per-parameter update rules read.

Most optimizers keep three momenta, one second moment and three factored second moments per tensor.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from celo._core import accumulators

PyTree = Any
Decay = float | Array


class Decays(NamedTuple):
    """Weights of the past in the running averages, each in [0, 1].

    Attributes:
        momenta: of the first moments.
        v: of the second moment.
        factored: of the factored second moments.
    """

    momenta: Sequence[Decay]
    v: Decay
    factored: Sequence[Decay]


class TensorStatistics(NamedTuple):
    """Running averages of the gradient: of one tensor, or of all, each field then holding trees.

    Attributes:
        momenta: first moments, one per decay, shaped like the parameters.
        v: second moment, shaped like the parameters.
        rows: row moments, one per decay (whole second moments for tensors of rank below 2).
        cols: column moments, one per decay (a placeholder for tensors of rank below 2).
    """

    momenta: tuple[PyTree, ...]
    v: PyTree
    rows: tuple[PyTree, ...]
    cols: tuple[PyTree, ...]


def init(params: PyTree, momenta: int = 3, factored: int = 3) -> TensorStatistics:
    """Running averages before the first gradient: zeros in float32, sharded like the parameters.

    Args:
        params: the parameters, any pytree.
        momenta: number of first moments.
        factored: number of factored second moments.
    """
    zeros = jax.tree.map(lambda p: jnp.zeros_like(p, jnp.float32), params)
    leaves, structure = jax.tree.flatten(params)
    factors = [accumulators.factored_zeros(jnp.shape(p)) for p in leaves]
    rows = structure.unflatten([row for row, _ in factors])
    cols = structure.unflatten([col for _, col in factors])
    return TensorStatistics((zeros,) * momenta, zeros, (rows,) * factored, (cols,) * factored)


def update(old: TensorStatistics, g: Array, decays: Decays) -> TensorStatistics:
    """Adds the gradient of one tensor to its averages.

    Args:
        old: averages of one tensor.
        g: its gradient, float32.
        decays: as many as there are averages.

    Returns:
        The averages after it; see `celo._core.accumulators` for the equations.
    """
    momenta = tuple(accumulators.average(m, g, d) for m, d in zip(old.momenta, decays.momenta, strict=True))
    v = accumulators.average(old.v, jnp.square(g), decays.v)
    factored = [
        accumulators.factored_average(row, col, g, d)
        for row, col, d in zip(old.rows, old.cols, decays.factored, strict=True)
    ]
    return TensorStatistics(momenta, v, tuple(row for row, _ in factored), tuple(col for _, col in factored))


def map_tensors(
    function: Callable[..., tuple[Array, TensorStatistics]],
    params: PyTree,
    grads: PyTree,
    statistics: TensorStatistics,
    *trees: PyTree,
) -> tuple[PyTree, TensorStatistics]:
    """Applies an update rule to every tensor.

    Args:
        function: ``function(p, g, statistics, *leaves) -> (step, new statistics)`` on one tensor.
        params: decides the structure; None leaves stay None.
        grads: gradients, structured like ``params``.
        statistics: averages of all tensors.
        *trees: more arguments of ``function``, with the structure of ``params`` as a prefix.

    Returns:
        The steps, structured like ``params``, and the new averages.

    Raises:
        ValueError: if the structure of a tree differs from that of ``params``.
    """
    leaves, structure = jax.tree.flatten(params)
    k, j = len(statistics.momenta), len(statistics.rows)
    fields = jax.tree.structure(TensorStatistics((0,) * k, 0, (0,) * j, (0,) * j))
    columns = [structure.flatten_up_to(tree) for tree in fields.flatten_up_to(statistics)]
    others = [structure.flatten_up_to(tree) for tree in (grads, *trees)]
    results = [
        function(p, g, fields.unflatten(averages), *rest)
        for p, averages, (g, *rest) in zip(
            leaves, zip(*columns, strict=True), zip(*others, strict=True), strict=True
        )
    ]
    steps = structure.unflatten([step for step, _ in results])
    new = [fields.flatten_up_to(averages) for _, averages in results]
    return steps, fields.unflatten(
        [structure.unflatten([row[i] for row in new]) for i in range(len(columns))]
    )
