"""What the networks of learned optimizers see: of each parameter, of a whole tensor, of the time."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from celo._core import averages

GRADIENT_CLIP = 0.1
EPSILON_RMS = 1e-6
EPSILON_ROW_COL = 1e-8

NUM_FEATURES = 30

TIME_SCALES = np.asarray([1, 3, 10, 30, 100, 300, 1000, 3000, 10000, 30000, 100000], np.float32)
NUM_TIME_FEATURES = len(TIME_SCALES)

SMALLEST = 1e-8
LARGEST_LOG = 5.0


@jax.custom_jvp
def over_root(x: Array, square: Array) -> Array:
    """``x rsqrt(square)``, whose derivative stays finite where x is 0 and the square nearly so."""
    return x * jax.lax.rsqrt(square)


@over_root.defjvp
def _(primals: tuple[Array, Array], tangents: tuple[Array, Array]) -> tuple[Array, Array]:
    (x, square), (dx, dsquare) = primals, tangents
    r = jax.lax.rsqrt(square)
    y = x * r
    # rsqrt alone would have the factor r^3, which overflows, and times x = 0 gives NaN.
    return y, dx * r - 0.5 * (y * r) * (r * dsquare)


def norm(x: Array) -> Array:
    """Euclidean norm over the whole tensor, with derivative 0 at 0."""
    square = jnp.sum(jnp.square(x))
    return jnp.where(square == 0.0, 0.0, jnp.sqrt(jnp.where(square == 0.0, 1.0, square)))


def adafactor_features(
    g: Array, momenta: Sequence[Array], rows: Sequence[Array], cols: Sequence[Array]
) -> tuple[list[Array], list[Array], list[Array], list[Array]]:
    """The features that come from factored second moments, one per decay each.

    Args:
        g: gradient.
        momenta: first moments, one per decay, shape of ``g``.
        rows: row moments as in `celo._core.averages.factored_zeros`.
        cols: column moments.

    Returns:
        ``(g rf cf, row, col, m rf cf)``; rows and columns keep size 1 on the axis they do not depend on. For
        rank below 2 rows and columns are both the diagonal moment, and the last group is
        ``m * diagonal**-0.5``.
    """
    if g.ndim < 2:
        preconditioned = [g * averages.diagonal_preconditioner(d) for d in rows]
        return (
            preconditioned,
            list(rows),
            list(rows),
            [over_root(m, d) for m, d in zip(momenta, rows, strict=True)],
        )
    factors = [averages.preconditioners(r, c, g.shape) for r, c in zip(rows, cols, strict=True)]
    expanded = [averages.expand_factors(r, c, g.shape) for r, c in zip(rows, cols, strict=True)]
    precondition = [rf * cf for rf, cf in factors]
    return (
        [g * f for f in precondition],
        [r for r, _ in expanded],
        [c for _, c in expanded],
        [m * f for m, f in zip(momenta, precondition, strict=True)],
    )


def celo_features(
    g: Array,
    p: Array,
    momenta: Sequence[Array],
    v: Array,
    rows: Sequence[Array],
    cols: Sequence[Array],
    epsilon: float = EPSILON_RMS,
) -> list[Array]:
    """Celo's 30 features of one tensor, not normalised, in the order of the released weights.

    ``g; clip(g, 0.1); p; m_k; v; m_k r; r; y_k; g r; row_k; col_k; rsqrt(row_k); rsqrt(col_k);
    m_k rf_k cf_k`` with ``r = rsqrt(v + epsilon)``, ``y_k = g rf_k cf_k`` and k over three decays.

    Args:
        g: gradient, already clipped, float32.
        p: parameters before the step, shape of ``g``.
        momenta: three first moments, updated with ``g``.
        v: second moment, updated with ``g``.
        rows: three row moments, updated with ``g``.
        cols: three column moments, updated with ``g``.
        epsilon: added to v under the root.

    Returns:
        30 arrays broadcastable to the shape of ``g``.

    Source: Celo, arXiv 2501.12670, appendix A.
    """
    y, row, col, m_factored = adafactor_features(g, momenta, rows, cols)
    return [*celo_head(g, p, momenta, v, y, epsilon), *row, *col, *roots(row), *roots(col), *m_factored]


def celo_head(
    g: Array, p: Array, momenta: Sequence[Array], v: Array, y: Sequence[Array], epsilon: float = EPSILON_RMS
) -> list[Array]:
    """The first 15 of `celo_features`, from the arguments there and the y_k."""
    r = jax.lax.rsqrt(v + epsilon)
    scaled = [m * r for m in momenta]
    return [g, jnp.clip(g, -GRADIENT_CLIP, GRADIENT_CLIP), p, *momenta, v, *scaled, r, *y, g * r]


def roots(moments: Sequence[Array]) -> list[Array]:
    """Inverse square roots of row or column moments, the features beside them."""
    return [jax.lax.rsqrt(x + EPSILON_ROW_COL) for x in moments]


def tanh_time(count: Array) -> Array:
    """``tanh(count / s - 1)`` on eleven time scales s from 1 to 100,000 steps, (11,)."""
    return jnp.tanh(count.astype(jnp.float32) / TIME_SCALES - 1.0)


def sin_time(count: Array) -> Array:
    """``sin(count / (pi s))`` on the same time scales s. (11,)."""
    return jnp.sin(count.astype(jnp.float32) / (TIME_SCALES * np.float32(np.pi)))


def log_magnitude(x: Array) -> Array:
    """``clip(log(1e-8 + |x|), -5, 5)``: the size of a number of any scale as a feature."""
    return jnp.clip(jnp.log(SMALLEST + jnp.abs(x)), -LARGEST_LOG, LARGEST_LOG)


def variance(x: Array, around: Array | None = None) -> Array:
    """``mean((x - c)^2)`` over the whole tensor; the centre c is the mean by default."""
    return jnp.mean(jnp.square(x - (jnp.mean(x) if around is None else around)))
