"""A problem's share of the meta-gradient: a weighted sum of few vectors, from differences of its losses."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

from celo.meta.estimators.problem import Steps

LOSS_FLOOR = 1e-3


class Terms(NamedTuple):
    """One entry for each vector of perturbations that a gradient is a sum of.

    With vectors and their weights, ``gradient = sum_k weight_k vector_k``: per problem a few numbers, and the
    mean over problems is as many products of a vector with a matrix.

    Attributes:
        past: of the memory that the running training came with; None for an estimator without one.
        new: of this estimate's perturbation.
        stored: of the memory of the stored training; None if nothing resumes.
    """

    past: Any
    new: Any
    stored: Any = None


class Differences(NamedTuple):
    """How the objective differs between theta + e and theta - e, for one problem.

    Attributes:
        delta: (K,) difference at each step, 0 where masked.
        count: () number of steps that the objective averages over.
    """

    delta: Array
    count: Array

    @property
    def averaged(self) -> Array:
        """(K,) contributions whose sum is the difference of the objective."""
        return self.delta / self.count


def mean_differences(steps: Steps) -> Differences:
    """Differences ``w_t (L+_t - L-_t)`` of the mean loss over the steps."""
    weights = steps.mask.astype(jnp.float32)
    return Differences(weights * (steps.loss[:, 0] - steps.loss[:, 1]), jnp.maximum(jnp.sum(weights), 1.0))


def log_loss(loss: Array) -> Array:
    """Logarithm of losses; constant below 1e-3."""
    return jnp.log(jnp.maximum(loss, LOSS_FLOOR))


def log_differences(steps: Steps) -> Differences:
    """Differences ``w_t (log L+_t - log L-_t)`` of the mean `log_loss`.

    Ratios of losses then count, not their sizes: the score of a training is a ratio too.
    """
    return mean_differences(steps._replace(loss=log_loss(steps.loss)))


def telescoping_differences(steps: Steps) -> Differences:
    """Differences of ``L_t - L_(t-1)``, with ``L_(-1) = 0``: over a training they sum to its last loss."""
    weights, gain = steps.mask.astype(jnp.float32), steps.loss - steps.before
    return Differences(weights * (gain[:, 0] - gain[:, 1]), jnp.ones((), jnp.float32))


def contributions(steps: Steps, objective: str) -> Differences:
    """The differences of an objective by its name: "mean", "log" or "final"."""
    kinds = {"mean": mean_differences, "log": log_differences, "final": telescoping_differences}
    return kinds[objective](steps)


def in_life(averaged: Array, life: Array, number: int) -> Array:
    """() sum of the (K,) contributions over the steps of one of the lives."""
    return jnp.sum(jnp.where(life == number, averaged, 0.0))
