"""Running averages of gradients: momenta, second moments, factored second moments.

None of them corrects the bias of starting from zero: the learned optimizers that read these averages were
meta-trained without such a correction.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import AxisType

PyTree = Any
Decay = float | Array

# Up to this many elements (64 KiB) tensors of equal shape are stacked. Each saves half a second of compiling
# and a kernel per operation; larger ones are few, and copying them in and out takes longer than kernels do.
LARGEST_STACKED = 1 << 14

EPSILON_SQUARE = 1e-30
EPSILON_MEAN = 1e-9
EPSILON_FACTOR = 1e-9


def average(old: Array, new: Array, decay: Decay) -> Array:
    """Exponential moving average, ``decay * old + (1 - decay) * new``.

    Args:
        old: the average so far, any shape.
        new: the value to add, same shape.
        decay: weight of the past, in [0, 1].

    Returns:
        The new average, shape of ``old``.
    """
    return decay * old + (1.0 - decay) * new


def factored_axes(shape: tuple[int, ...]) -> tuple[int, int] | None:
    """The axes over which a second moment is factored.

    Args:
        shape: shape of the tensor.

    Returns:
        ``(second largest axis, largest axis)``, where of equal sizes the later axis counts as larger; None
        for a tensor of rank below 2, which is not factored.
    """
    if len(shape) < 2:
        return None
    order = np.argsort(np.asarray(shape), kind="stable")
    return int(order[-2]), int(order[-1])


def factored_zeros(shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Empty factored second moment of a tensor.

    Args:
        shape: shape of the tensor.

    Returns:
        ``(row, col)``: the tensor's shape without its largest and without its second largest axis. A tensor
        of rank below 2 keeps the whole moment in ``row``; ``col`` is then a placeholder of shape (1,).
    """
    axes = factored_axes(shape)
    if axes is None:
        return jnp.zeros(shape, jnp.float32), jnp.zeros((1,), jnp.float32)
    d1, d0 = axes
    row = tuple(np.delete(shape, d0).tolist())
    col = tuple(np.delete(shape, d1).tolist())
    return jnp.zeros(row, jnp.float32), jnp.zeros(col, jnp.float32)


def factored_average(row: Array, col: Array, g: Array, decay: Decay) -> tuple[Array, Array]:
    """One step of the factored second moment (Adafactor, Shazeer and Stern 2018, without bias correction).

    With ``q = g**2 + 1e-30``: ``row <- decay row + (1 - decay) mean(q, largest axis)`` and
    ``col <- decay col + (1 - decay) mean(q, second largest axis)``.

    Args:
        row: see `factored_zeros`.
        col: see `factored_zeros`.
        g: the gradient.
        decay: weight of the past, in [0, 1].

    Returns:
        The new ``(row, col)``.
    """
    axes = factored_axes(g.shape)
    q = jnp.square(g)
    if axes is None:
        return average(row, q + EPSILON_SQUARE, decay), col
    # Added after the mean: the squares alone are summed without being stored.
    means = [jnp.mean(q, axis=axis) + EPSILON_SQUARE for axis in reversed(axes)]
    return average(row, means[0], decay), average(col, means[1], decay)


def expand_factors(row: Array, col: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Row and column moments of rank 2 or more with size 1 at their averaged axis, ready to broadcast.

    Raises:
        ValueError: for a tensor of rank below 2, which has no factors.
    """
    axes = factored_axes(shape)
    if axes is None:
        raise ValueError(f"a tensor of shape {shape} has no row and column; expected rank 2 or more")
    d1, d0 = axes
    return jnp.expand_dims(row, d0), jnp.expand_dims(col, d1)


def preconditioners(row: Array, col: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Inverse square roots of the two factors of a second moment, broadcastable to the tensor.

    ``rf = rsqrt(max(row / (mean(row, second largest axis) + 1e-9), 1e-9))``, ``cf = rsqrt(max(col, 1e-9))``;
    ``g * rf * cf`` is Adafactor's preconditioned gradient.

    Args:
        row: see `factored_zeros`.
        col: see `factored_zeros`.
        shape: shape of the tensor, of rank 2 or more.

    Returns:
        ``(rf, cf)``, both of the tensor's rank.
    """
    axes = factored_axes(shape)
    row, col = expand_factors(row, col, shape)
    assert axes is not None  # expand_factors has raised otherwise
    mean_row = jnp.mean(row, axis=axes[0], keepdims=True)
    rf = jax.lax.rsqrt(jnp.maximum(row / (mean_row + EPSILON_MEAN), EPSILON_FACTOR))
    cf = jax.lax.rsqrt(jnp.maximum(col, EPSILON_FACTOR))
    return rf, cf


def diagonal_preconditioner(diagonal: Array) -> Array:
    """The counterpart of `preconditioners` below rank 2, ``rsqrt(max(diagonal + 1e-9, 1e-9))``."""
    return jax.lax.rsqrt(jnp.maximum(diagonal + EPSILON_FACTOR, EPSILON_FACTOR))


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
    """Running averages of the gradient of one tensor, or of all: then each field holds trees.

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


def zeros_like(params: PyTree) -> PyTree:
    """Zeros in float32 of the shapes and sharding of ``params``, whatever their dtype."""
    return jax.tree.map(lambda p: jnp.zeros_like(p, jnp.float32), params)


def init(params: PyTree, momenta: int = 3, factored: int = 3) -> TensorStatistics:
    """Running averages before the first gradient: zeros in float32, sharded like the parameters.

    Args:
        params: the parameters, any pytree.
        momenta: number of first moments.
        factored: number of factored second moments.
    """
    zeros = zeros_like(params)
    leaves, structure = jax.tree.flatten(zeros)
    factors = [_factored_zeros_like(x) for x in leaves]
    rows = structure.unflatten([row for row, _ in factors])
    cols = structure.unflatten([col for _, col in factors])
    return TensorStatistics((zeros,) * momenta, zeros, (rows,) * factored, (cols,) * factored)


def _factored_zeros_like(zeros: Array) -> tuple[Array, Array]:
    """`factored_zeros` that lie where the rows and columns of a tensor of zeros lie."""
    axes = factored_axes(zeros.shape)
    if axes is None:
        return zeros, factored_zeros(zeros.shape)[1]
    d1, d0 = axes
    return jnp.sum(zeros, axis=d0), jnp.sum(zeros, axis=d1)


def update(old: TensorStatistics, g: Array, decays: Decays) -> TensorStatistics:
    """Adds the gradient of one tensor to its averages.

    Args:
        old: averages of one tensor.
        g: its gradient, float32.
        decays: one for each average.

    Returns:
        The averages after it; see `average` and `factored_average` for the equations.
    """
    momenta = tuple(average(m, g, d) for m, d in zip(old.momenta, decays.momenta, strict=True))
    v = average(old.v, jnp.square(g), decays.v)
    factored = [
        factored_average(row, col, g, d)
        for row, col, d in zip(old.rows, old.cols, decays.factored, strict=True)
    ]
    return TensorStatistics(momenta, v, tuple(row for row, _ in factored), tuple(col for _, col in factored))


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
