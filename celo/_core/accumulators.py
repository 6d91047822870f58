"""Running averages of gradients: momenta, second moments, factored second moments.

Pure functions on one tensor. None of them corrects the bias of starting from zero; the learned optimizers
that read these averages were meta-trained without such a correction.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

EPSILON_SQUARE = 1e-30
EPSILON_MEAN = 1e-9
EPSILON_FACTOR = 1e-9


def average(old: Array, new: Array, decay: float | Array) -> Array:
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
        ``(second largest axis, largest axis)``, of equal sizes the later axis counts as larger; None for a
        tensor of rank below 2, which is not factored.
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


def factored_average(row: Array, col: Array, g: Array, decay: float | Array) -> tuple[Array, Array]:
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
    q = jnp.square(g) + EPSILON_SQUARE
    if axes is None:
        return average(row, q, decay), col
    d1, d0 = axes
    return average(row, jnp.mean(q, axis=d0), decay), average(col, jnp.mean(q, axis=d1), decay)


def expand_factors(row: Array, col: Array, shape: tuple[int, ...]) -> tuple[Array, Array]:
    """Row and column moments with the axis each averaged over put back as size 1, ready to broadcast.

    Args:
        row: row moment of a tensor of rank 2 or more.
        col: column moment of it.
        shape: shape of the tensor.

    Returns:
        ``(row, col)``, both of the tensor's rank.

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
    """The counterpart of `preconditioners` for a tensor of rank below 2.

    Args:
        diagonal: its second moment, any shape.

    Returns:
        ``rsqrt(max(diagonal + 1e-9, 1e-9))``.
    """
    return jax.lax.rsqrt(jnp.maximum(diagonal + EPSILON_FACTOR, EPSILON_FACTOR))
