"""The 30 inputs of Celo's per-parameter MLP (Celo, arXiv 2501.12670, section 3 and appendix)."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import Array

from celo._core import accumulators

GRADIENT_CLIP = 0.1
EPSILON_RMS = 1e-6
EPSILON_ROW_COL = 1e-8

NUM_FEATURES = 30


def adafactor_features(
    g: Array, momenta: Sequence[Array], rows: Sequence[Array], cols: Sequence[Array]
) -> tuple[list[Array], list[Array], list[Array], list[Array]]:
    """The features that come from factored second moments, one per decay each.

    Args:
        g: gradient.
        momenta: first moments, one per decay, shape of ``g``.
        rows: row moments as in `celo._core.accumulators.factored_zeros`.
        cols: column moments.

    Returns:
        ``(g rf cf, row, col, m rf cf)``; rows and columns keep size 1 on the axis they do not depend on. For
        rank below 2 rows and columns are both the diagonal moment, and the last group is
        ``m * diagonal**-0.5``.
    """
    if g.ndim < 2:
        preconditioned = [g * accumulators.diagonal_preconditioner(d) for d in rows]
        return (
            preconditioned,
            list(rows),
            list(rows),
            [m * jax.lax.rsqrt(d) for m, d in zip(momenta, rows, strict=True)],
        )
    factors = [accumulators.preconditioners(r, c, g.shape) for r, c in zip(rows, cols, strict=True)]
    expanded = [accumulators.expand_factors(r, c, g.shape) for r, c in zip(rows, cols, strict=True)]
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
    """
    r = jax.lax.rsqrt(v + epsilon)
    y, row, col, m_factored = adafactor_features(g, momenta, rows, cols)
    return [
        g,
        jnp.clip(g, -GRADIENT_CLIP, GRADIENT_CLIP),
        p,
        *momenta,
        v,
        *(m * r for m in momenta),
        r,
        *y,
        g * r,
        *row,
        *col,
        *(jax.lax.rsqrt(x + EPSILON_ROW_COL) for x in row),
        *(jax.lax.rsqrt(x + EPSILON_ROW_COL) for x in col),
        *m_factored,
    ]
