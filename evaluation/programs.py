"""Many whole trainings of one task in one compiled call: over seeds, and over learning rates of Adam."""

from __future__ import annotations

import functools
import math
from typing import Any

import jax
import numpy as np
import optax
from jax import Array

from celo.hand_designed import hand_designed
from celo.learned.base import LearnedOptimizer
from evaluation.outcome import Trainings
from meta.compile import jit
from meta.full_training import evaluate_end, train
from meta.tasks.base import Task

PyTree = Any


def train_adam(
    task: Task, learning_rates: np.ndarray, keys: Array, num_steps: int, at_once: int = 64
) -> Trainings:
    """Trains a task with Adam at every learning rate, on every key.

    Args:
        task: what to train.
        learning_rates: (rates,) constant learning rates.
        keys: (seeds,) random keys; every rate gets the same.
        num_steps: steps of each training.
        at_once: the most trainings in one call, for the sake of memory, but at least those of one rate.

    Returns:
        Trainings with leading axes (rates, seeds).
    """
    rates = np.asarray(learning_rates, np.float32)
    calls = min(len(rates), math.ceil(len(rates) * len(keys) / at_once))
    size = math.ceil(len(rates) / calls)
    # Calls of equal size compile once: the last is filled up with copies of the last rate.
    filled = np.concatenate([rates, np.full(-len(rates) % size, rates[-1])])
    program = _adam_program(num_steps)
    parts = [jax.device_get(program(task, part, keys)) for part in np.split(filled, len(filled) // size)]
    loss, final = (np.concatenate(part)[: len(rates)] for part in zip(*parts, strict=True))
    return Trainings(loss, final)


def train_learned(
    learned: LearnedOptimizer, theta: PyTree, task: Task, keys: Array, num_steps: int
) -> Trainings:
    """Trains a task with a learned optimizer, which is told the number of steps, on every key.

    Args:
        learned: the learned optimizer.
        theta: its meta-parameters.
        task: what to train.
        keys: (seeds,) random keys.
        num_steps: steps of each training.

    Returns:
        Trainings with the leading axis (seeds,).
    """
    loss, final, eta = jax.device_get(_learned_program(learned, num_steps)(task, theta, keys))
    return Trainings(loss, final, eta)


def _one(task: Task, optimizer: optax.GradientTransformation, key: Array, num_steps: int) -> tuple:
    """Loss at every step, final loss, and step size at every step, of one training."""
    key_train, key_end = jax.random.split(key)
    curve = train(task, optimizer, key_train, num_steps)
    return curve.loss, evaluate_end(task, curve, key_end)[0], curve.eta


@functools.lru_cache(maxsize=16)
def _adam_program(num_steps: int) -> Any:
    """(task, rates, keys) to losses and final losses with leading axes (rates, seeds)."""

    def one(task: Task, rate: Array, key: Array) -> tuple[Array, Array]:
        return _one(task, hand_designed("adam", rate), key, num_steps)[:2]

    over_seeds = jax.vmap(one, in_axes=(None, None, 0))
    return jit(jax.vmap(over_seeds, in_axes=(None, 0, None)))


@functools.lru_cache(maxsize=16)
def _learned_program(learned: LearnedOptimizer, num_steps: int) -> Any:
    """(task, theta, keys) to losses, final losses and step sizes with the leading axis (seeds,)."""

    def one(task: Task, theta: PyTree, key: Array) -> tuple[Array, Array, Array]:
        return _one(task, learned.optimizer(theta, num_steps), key, num_steps)

    return jit(jax.vmap(one, in_axes=(None, None, 0)))
