"""A stored training for every problem, which resets may resume (ELO, arXiv 2607.06772).

Fresh problems alone show theta mostly the beginning of trainings. With the buffer, a reset resumes with some
probability a training that got stuck or ended, from the state before the truncation in which it did so, and
trains it for another horizon.

The memory of perturbations is stored with the state: what PES accumulated until then, or the perturbation of
ES-Single. The state depends on them, so an estimate without them is biased. (The published code of ELO does
not restore its accumulator.) Both signs decide together, so the choice does not favour one.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from celo.meta.estimators.problem import Draws, Problem, Steps, select


class Buffer(NamedTuple):
    """The stored training of one problem, and how the running one does.

    Attributes:
        problem: the stored training.
        memory: (size,) its memory of perturbations; None for an estimator without one.
        filled: () bool, whether anything is stored.
        rise: (members,) ``c_t = max(0, c_(t-1) + L_t - L_(t-1))`` of the running training, 0 at its first
            step: by how much the loss has risen.
        peak: () largest rise so far, mean over the members.
    """

    problem: Problem
    memory: Array | None
    filled: Array
    rise: Array
    peak: Array

    def offer(self, draws: Draws, key: Array, probability: float) -> Draws:
        """Draws whose resets resume the stored training with this probability."""
        resets = () if draws.starts is None else draws.starts.horizon.shape
        chosen = jax.random.bernoulli(key, probability, resets) & self.filled
        return draws._replace(stored=self.problem, resumes=chosen)


def empty(problem: Problem, memory: Array | None) -> Buffer:
    """A buffer that holds nothing yet, for this problem."""
    rise = jnp.zeros_like(problem.loss)
    return Buffer(problem, memory, jnp.zeros((), bool), rise, jnp.zeros((), jnp.float32))


def push(buffer: Buffer, problem: Problem, memory: Array | None, steps: Steps) -> Buffer:
    """The buffer after a truncation: the state before it is stored if the training got stuck or ended.

    It got stuck if the mean over members of the largest rise grew during the truncation.

    Args:
        buffer: the buffer before.
        problem: the problem before the truncation.
        memory: its memory then.
        steps: what happened in it.
    """
    age = problem.age + jnp.arange(len(steps.mask), dtype=jnp.int32)
    # After a reset, a training counts its rise anew, as the published code does.
    first = (age == 0) | ~jnp.concatenate([jnp.ones((1,), bool), steps.mask[:-1]])

    def step(carry: tuple[Array, Array], drawn: tuple) -> tuple[tuple[Array, Array], None]:
        (rise, peak), (gain, mask, first) = carry, drawn
        rise = jnp.where(mask & ~first, jnp.maximum(0.0, rise + gain), 0.0)
        return (rise, jnp.where(mask, jnp.maximum(peak, rise), 0.0)), None

    start = (buffer.rise, jnp.full_like(buffer.rise, buffer.peak))
    (rise, peaks), _ = jax.lax.scan(step, start, (steps.loss - steps.before, steps.mask, first))
    peak = jnp.mean(peaks)
    stored = ~problem.done & (jnp.any(steps.done) | (peak > buffer.peak))
    kept = (buffer.problem, buffer.memory, buffer.filled)
    problem, memory, filled = select(stored, (problem, memory, jnp.ones((), bool)), kept)
    return Buffer(problem, memory, filled, rise, peak)
