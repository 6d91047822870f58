"""Meta-losses of several meta-parameters on the same inner problems, with standard errors of differences."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from celo.learned.base import LearnedOptimizer, check_theta
from celo.meta.compile import jit
from celo.meta.estimators.problem import Steps, Thetas
from celo.meta.estimators.unroll import InnerTraining
from celo.meta.stage import Stage

PyTree = Any


class Difference(NamedTuple):
    """The mean of paired differences.

    Attributes:
        mean: over the pairs.
        error: standard error of it, ``std / sqrt(n)`` with n - 1 degrees of freedom.
    """

    mean: float
    error: float


def meta_losses(
    learned: LearnedOptimizer, stage: Stage, thetas: Sequence[PyTree], task: Any, key: Array, problems: int
) -> np.ndarray:
    """(problems, thetas) mean losses of meta-parameters on the same problems, from first step to last.

    Problems are drawn as in a stage of meta-training: initial parameters, augmentation, horizon and batches,
    the same for all meta-parameters; losses are normalised. The meta-loss of a truncated unroll also depends
    on the age of the problems and falls at the start of meta-training even if theta does not change.
    """
    if problems < 1:
        raise ValueError(f"problems is {problems}; expected at least 1")
    for theta in thetas:
        check_theta(learned, theta)
    inner = InnerTraining(learned, stage.augmentations(), stage.horizons())
    stacked = jax.tree.map(lambda *leaves: jnp.stack(jax.tree.map(jnp.asarray, leaves)), *thetas)

    def one(thetas: PyTree, task: Any, key: Array) -> Array:
        members = Thetas((thetas,), jax.tree.map(lambda _: None, thetas))
        end = jnp.asarray(stage.iterations, jnp.int32)  # where a curriculum ends
        key_begin, key_unroll = jax.random.split(key)
        problem = inner.begin(members, task, key_begin, end, offset=False)
        draws = inner.draw(task, key_unroll, inner.horizon.high, end)
        _, steps = inner.unroll(members, task, problem, draws)
        return mean_of_first_training(steps)

    over_problems = jit(jax.vmap(one, in_axes=(None, None, 0)))
    return np.asarray(over_problems(stacked, task, jax.random.split(key, problems)))


def mean_of_first_training(steps: Steps) -> Array:
    """(members,) mean loss over the steps until the first training ends."""
    done = steps.done.astype(jnp.int32)
    weights = (steps.mask & (jnp.cumsum(done) - done == 0)).astype(jnp.float32)
    return jnp.sum(weights[:, None] * steps.loss, axis=0) / jnp.sum(weights)


def difference(after: np.ndarray, before: np.ndarray) -> Difference:
    """Mean and standard error of ``after - before``, (n,) values of the same n problems, at least 2.

    Example:
        >>> difference(np.array([1.0, 2.0]), np.array([2.0, 5.0]))
        Difference(mean=-2.0, error=1.0)
    """
    if after.shape != before.shape or after.ndim != 1 or after.size < 2:
        raise ValueError(f"values have shapes {after.shape} and {before.shape}; expected (n,) twice, n >= 2")
    change = after.astype(np.float64) - before.astype(np.float64)
    return Difference(float(np.mean(change)), float(np.std(change, ddof=1) / np.sqrt(change.size)))
