"""Running averages of gradients: momenta, second moments, factored second moments.

None of them corrects the bias of starting from zero: the learned optimizers that read these averages were
meta-trained without such a correction.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

PyTree = Any
Decay = float | Array

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


def factored_zeros(zeros: Array) -> tuple[Array, Array]:
    """Empty factored second moment of a tensor.

    Args:
        zeros: a tensor of zeros, shaped and sharded like the parameters.

    Returns:
        ``(row, col)``: the tensor without its largest and without its second largest axis; they lie where its
        rows and columns lie. A tensor of rank below 2 keeps the whole moment in ``row``; ``col`` is then a
        placeholder of shape (1,).
    """
    axes = factored_axes(zeros.shape)
    if axes is None:
        return zeros, jnp.zeros((1,), jnp.float32)
    d1, d0 = axes
    return jnp.sum(zeros, axis=d0), jnp.sum(zeros, axis=d1)


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
    factors = [factored_zeros(x) for x in leaves]
    rows = structure.unflatten([row for row, _ in factors])
    cols = structure.unflatten([col for _, col in factors])
    return TensorStatistics((zeros,) * momenta, zeros, (rows,) * factored, (cols,) * factored)


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
