"""Normalisers of features, and the two passes over a tensor in which a learned rule needs them.

A rule divides every feature by its root mean square over the tensor, so it must see all elements before it
can step one of them. The features themselves are cheaper to compute twice than to keep: pass one reads the
running averages, forms the features and sums their squares; pass two forms them again and runs the network.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

PyTree = Any

# Up to this many elements the inputs of one shape are stacked and treated by one kernel; above, memory
# traffic costs more than kernels do.
STACKED_SIZE = 128
# From this many elements on, the squares of all inputs of one shape are summed by one loop.
JOINT_SIZE = 1 << 14
# How many numbers that loop adds one by one. Shorter runs leave too many sums; longer ones are no faster
# and round more.
SHORTEST_RUN, LONGEST_RUN = 8, 128


def two_passes(
    features: Callable[..., list[Array]], normalise: Callable[[list[Array]], PyTree], *arrays: PyTree
) -> tuple[list[Array], PyTree]:
    """Features of a tensor and their normalisers, such that what reads them computes the features anew.

    Without the barriers XLA computes the running averages again in each of some thirty sums, or keeps all
    features in memory; with them the update of a large tensor takes a third of the time.

    Args:
        features: ``features(*arrays)``, arrays broadcastable to the tensor.
        normalise: their normalisers, for example `inverse_rms`.
        *arrays: what the features are computed from.

    Returns:
        The features and their normalisers.
    """
    arrays = jax.lax.optimization_barrier(arrays)
    scales = normalise(features(*arrays))
    arrays, scales = jax.lax.optimization_barrier((arrays, scales))
    return features(*arrays), scales


def inverse_rms(features: Sequence[Array], epsilon: float = 1e-5) -> Array:
    """``1 / sqrt(epsilon + mean(feature**2))`` of each feature: the normalisers, (features,).

    The mean is over the whole array. A feature that is constant along an axis may have size 1 there: the mean
    is the same.
    """
    sums, order = [], []
    for members, stacked in groups(features):
        order += members
        if stacked is None:
            sums += _square_sums([features[i] for i in members])
        else:
            sums.append(_sum_per_row(jnp.square(stacked)))
    # One division for all of them: a kernel for every mean takes longer to compile and to run.
    sizes = np.asarray([features[i].size for i in order], np.float32)
    means = jnp.concatenate(sums) / sizes
    return jax.lax.rsqrt(epsilon + _rows(means, np.argsort(order).tolist()))


def _square_sums(xs: Sequence[Array]) -> list[Array]:
    """Sums of squares of arrays of one shape: one array of them all, or (1,) each."""
    x = xs[0]
    run = _run_length(x.shape[-1], jax.device_count()) if x.ndim else 0
    if x.size < JOINT_SIZE or len(xs) == 1 or not run:
        return [jnp.sum(jnp.square(x))[None] for x in xs]
    return [_joint_square_sums(tuple(x.reshape(*x.shape[:-1], -1, run) for x in xs))]


def _run_length(length: int, devices: int) -> int:
    """Into runs of how many numbers to split an axis of that length; 0 = it suits no joint sum.

    Devices may share the axis, and XLA would gather it for a run that two of them share: a run divides the
    part of one device.
    """
    part = length // math.gcd(length, devices)
    return max((k for k in range(SHORTEST_RUN, LONGEST_RUN + 1) if part % k == 0), default=0)


@jax.custom_jvp
def _joint_square_sums(xs: tuple[Array, ...]) -> Array:
    """Sums of squares, (arrays,), in one pass over memory; the last axis is added up one by one."""
    zeros = (np.float32(0.0),) * len(xs)
    squares = tuple(map(jnp.square, xs))
    runs = jax.lax.reduce(squares, zeros, lambda a, b: tuple(map(jax.lax.add, a, b)), (xs[0].ndim - 1,))
    return _sum_per_row(jnp.stack(runs))


@_joint_square_sums.defjvp
def _(primals: tuple[Any], tangents: tuple[Any]) -> tuple[Array, Array]:
    (xs,), (dxs,) = primals, tangents
    # JAX has no derivative of a reduction of several arrays.
    moved = jnp.stack([2.0 * jnp.sum(x * dx) for x, dx in zip(xs, dxs, strict=True)])
    return _joint_square_sums(xs), moved


def _sum_per_row(x: Array) -> Array:
    """Sums over all axes but the first, without a reshape, which would gather a sharded array."""
    return jnp.sum(x, axis=tuple(range(1, x.ndim)))


def _rows(x: Array, rows: Sequence[int]) -> Array:
    """``x[rows]`` for static rows, as few slices as there are runs of consecutive rows."""
    runs = np.split(np.asarray(rows), np.flatnonzero(np.diff(rows) != 1) + 1)
    slices = [x[run[0] : run[-1] + 1] for run in runs]
    return slices[0] if len(slices) == 1 else jnp.concatenate(slices)


def groups(inputs: Sequence[Array]) -> list[tuple[list[int], Array | None]]:
    """Inputs of equal shape together, smallest first; small ones stacked, so that one kernel serves all."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for i, x in enumerate(inputs):
        shapes.setdefault(x.shape, []).append(i)
    ordered = sorted(shapes.items(), key=lambda group: math.prod(group[0]))
    return [
        (members, jnp.stack([inputs[i] for i in members]) if math.prod(shape) <= STACKED_SIZE else None)
        for shape, members in ordered
    ]
