"""Applying a rule to every tensor of a pytree: small tensors of equal shape together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.sharding import AxisType

from celo._core.averages import PyTree, TensorStatistics

# Up to this many elements (64 KiB) tensors of equal shape are stacked. Each saves half a second of compiling
# and a kernel per operation; larger ones are few, and copying them in and out takes longer than kernels do.
LARGEST_STACKED = 1 << 14


def map_tensors(
    results: int, function: Callable[..., tuple[Any, ...]], params: PyTree, *trees: PyTree
) -> tuple[PyTree, ...]:
    """Applies ``function(p, *leaves) -> tuple`` to every tensor and returns a tuple of trees, one per result.

    Small tensors of equal shape are stacked and share one mapped call: a network has dozens of them, and each
    would cost the compiler half a second and the device a kernel for every operation. Stacking must not move
    a tensor between devices: on a mesh with explicit axes tensors of equal sharding are stacked; under
    ``jax.set_mesh`` of a mesh with automatic axes, where a trace does not show their sharding, none are.

    Args:
        results: number of values that ``function`` returns.
        function: takes one leaf of ``params`` and the matching part of each other tree.
        params: decides the structure; None leaves stay None.
        trees: pytrees that have the structure of ``params`` as a prefix.

    Returns:
        ``results`` trees with the structure of ``params``.

    Raises:
        ValueError: if the structure of a tree differs from that of ``params``.
    """
    leaves, structure = jax.tree.flatten(params)
    columns = [structure.flatten_up_to(tree) for tree in trees]
    rows = list(zip(leaves, *columns, strict=True))
    out: dict[int, tuple[Any, ...]] = {}
    for members in _alike(rows):
        if len(members) == 1:
            out[members[0]] = function(*rows[members[0]])
            continue
        stacked = jax.tree.map(lambda *xs: jnp.stack(xs), *(rows[i] for i in members))
        found = jax.vmap(function)(*stacked)
        out |= {i: jax.tree.map(lambda x, k=k: x[k], found) for k, i in enumerate(members)}
    return tuple(structure.unflatten([out[i][k] for i in range(len(rows))]) for k in range(results))


def _alike(rows: Sequence[tuple[Any, ...]]) -> list[list[int]]:
    """Indices of small tensors of equal shapes, dtypes and sharding together, all others alone."""
    hidden = _hides_sharding()
    found: dict[Any, list[int]] = {}
    for i, row in enumerate(rows):
        kinds = tuple(jax.typeof(x) for x in jax.tree.leaves(row))
        alone = hidden or jnp.size(row[0]) > LARGEST_STACKED
        found.setdefault(i if alone else (kinds, jax.tree.structure(row)), []).append(i)
    return list(found.values())


def _hides_sharding() -> bool:
    """Whether the mesh of ``jax.set_mesh`` has automatic axes over several devices."""
    mesh = jax.sharding.get_abstract_mesh()
    return any(
        kind == AxisType.Auto and size > 1
        for kind, size in zip(mesh.axis_types, mesh.axis_sizes, strict=True)
    )


def map_statistics(
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
    k, j = len(statistics.momenta), len(statistics.rows)
    fields = jax.tree.structure(TensorStatistics((0,) * k, 0, (0,) * j, (0,) * j))
    n = fields.num_leaves

    def rule(p: Array, g: Array, *rest: Any) -> tuple[Any, ...]:
        step, new = function(p, g, fields.unflatten(rest[:n]), *rest[n:])
        return step, *fields.flatten_up_to(new)

    steps, *new = map_tensors(1 + n, rule, params, grads, *fields.flatten_up_to(statistics), *trees)
    return steps, fields.unflatten(new)
