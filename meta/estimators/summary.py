"""What is recorded of an estimate: losses of its problems, and how much of it is signal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from celo.meta.estimators.problem import Steps
from celo.meta.estimators.terms import Terms


class Summary(NamedTuple):
    """Record of one estimate, per family and problem: every field is (families, problems).

    Attributes:
        loss: mean normalised loss over the unmasked steps and both members: the meta-loss of the problem.
        diverged: 1 if the raw loss of a member was not finite at any unmasked step, else 0.
        eta_low: smallest step size of the scheduler over the steps and members.
        eta_mean: mean step size.
        eta_high: largest step size.
        horizon: horizon in force at the end.
    """

    loss: Array
    diverged: Array
    eta_low: Array
    eta_mean: Array
    eta_high: Array
    horizon: Array

    @classmethod
    def zeros(cls, shape: tuple[int, ...]) -> Summary:
        """A summary of zeros, each field of this shape."""
        zeros = jnp.zeros(shape, jnp.float32)
        return cls(zeros, zeros, zeros, zeros, zeros, jnp.zeros(shape, jnp.int32))


class Report(NamedTuple):
    """Record of one estimate.

    Attributes:
        groups: one `Summary` per group of families.
        gradient_snr: () see `gradient_snr`.
        difference_snr: () see `difference_snr`.
    """

    groups: tuple[Summary, ...]
    gradient_snr: Array
    difference_snr: Array


def summarise(steps: Steps) -> Summary:
    """The `Summary` of one problem's unroll."""
    weights = steps.mask.astype(jnp.float32)
    total = jnp.maximum(jnp.sum(weights), 1.0)
    finite = jnp.isfinite(steps.raw_loss) | ~steps.mask[:, None]
    return Summary(
        loss=jnp.sum(weights * jnp.mean(steps.loss, axis=1)) / total,
        diverged=jnp.any(~finite).astype(jnp.float32),
        eta_low=jnp.min(steps.eta),
        eta_mean=jnp.mean(steps.eta),
        eta_high=jnp.max(steps.eta),
        horizon=steps.horizon[-1],
    )


def gradient_snr(
    mean: Array, groups: Sequence[tuple[Terms, Terms]], count: int, axis: str | None = None
) -> Array:
    """Squared norm of the meta-gradient over the variance that its estimate has: 1 is noise alone.

    With the gradients ``g_i`` of N problems and their mean ``g``:
    ``|g|^2 / (sum_i |g_i - g|^2 / (N (N - 1)))``. Unlike ``|g|^2``, it does not depend on the unit of losses.

    Args:
        mean: (size,) the mean ``g``.
        groups: weights and vectors of all problems here, see `Terms`.
        count: number N of problems, on all devices.
        axis: mesh axis over which the problems are sharded; None on one device.

    Returns:
        () float32; NaN for a single problem.
    """
    squares = jnp.zeros((), jnp.float32)
    for weights, vectors in groups:
        pairs = [(w, v) for w, v in zip(weights, vectors, strict=True) if v is not None]
        gradients = sum((w[..., None] * v for w, v in pairs), start=jnp.zeros((), jnp.float32))
        squares = squares + jnp.sum(jnp.square(gradients))
    if axis is not None:
        squares = jax.lax.psum(squares, axis)
    signal = count * jnp.sum(jnp.square(mean))
    noise = jnp.maximum(squares - signal, 0.0)
    return (count - 1) * signal / noise if count > 1 else jnp.full((), jnp.nan, jnp.float32)


def difference_snr(deltas: Sequence[Array], masks: Sequence[Array], axis: str | None = None) -> Array:
    """Mean over families of ``mean |d| / std d`` of the differences d between the losses of both signs.

    About 0.8 for differences that are Gaussian noise, less if a few steps or problems dominate, more if they
    agree in sign.

    Args:
        deltas: (families, problems, K) differences per step, one array per group.
        masks: which steps count.
        axis: mesh axis over which the problems are sharded; None on one device.

    Returns:
        () float32; a family without differences counts as 0.

    Source: the published code of ELO (arXiv 2607.06772) logs the same ratio.
    """
    sums = []
    for delta, mask in zip(deltas, masks, strict=True):
        weight, d = mask.astype(jnp.float32), jnp.where(mask, delta, 0.0)
        sums.append([jnp.sum(x, axis=(1, 2)) for x in (weight, jnp.abs(d), d, jnp.square(d))])
    weight, size, mean, square = (jnp.concatenate(column) for column in zip(*sums, strict=True))
    if axis is not None:
        weight, size, mean, square = jax.lax.psum((weight, size, mean, square), axis)
    weight = jnp.maximum(weight, 1.0)
    std = jnp.sqrt(jnp.maximum(square / weight - jnp.square(mean / weight), 0.0))
    return jnp.mean(jnp.where(std > 0, size / weight / jnp.where(std > 0, std, 1.0), 0.0))


def meta_loss(report: Report) -> Array:
    """The meta-loss of an estimate, (): the mean over families of the mean loss of their problems.

    Args:
        report: record of one estimate, with the problems of all shards.
    """
    return jnp.mean(jnp.concatenate([jnp.mean(group.loss, axis=1) for group in report.groups]))


def metrics_row(report: Report, families: Sequence[str]) -> dict[str, Any]:
    """The row of metrics of one compiled call, from the reports of its meta-iterations, stacked.

    Means over the meta-iterations: ``meta_loss``, ``loss/FAMILY``, ``gradient_snr``, ``difference_snr``,
    ``diverged`` (the fraction of problems); and arrays over meta-iterations, families and problems: ``eta``,
    ``horizon``. ``families`` are named in the order of the groups.
    """
    groups = report.groups
    loss = np.concatenate([np.mean(group.loss, axis=(0, 2)) for group in groups])
    eta = [x for group in groups for x in (group.eta_low, group.eta_mean, group.eta_high)]
    return {
        "meta_loss": float(np.mean(loss)),
        "gradient_snr": float(np.mean(report.gradient_snr)),
        "difference_snr": float(np.mean(report.difference_snr)),
        "diverged": float(np.mean(np.concatenate([np.ravel(group.diverged) for group in groups]))),
        **{f"loss/{name}": float(value) for name, value in zip(families, loss, strict=True)},
        "eta": np.concatenate([np.ravel(x) for x in eta]),
        "horizon": np.concatenate([np.ravel(group.horizon) for group in groups]),
    }
