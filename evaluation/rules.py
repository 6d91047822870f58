"""How the optimizers of an evaluation are made, of numbers that are traced."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Protocol

import jax.numpy as jnp
import optax
from jax import Array

from celo.baselines import hand_designed
from celo.learned.base import LearnedOptimizer
from celo.schedules import cosine_learning_rate

PyTree = Any


class Rule(Protocol):
    """How to make an optimizer of numbers that may be traced; hashable, and its repr says all of it."""

    def optimizer(
        self, theta: PyTree, hyperparameters: Mapping[str, Array], num_steps: int
    ) -> optax.GradientTransformation:
        """The optimizer for a training of ``num_steps`` steps."""
        ...


@dataclasses.dataclass(frozen=True)
class HandDesigned:
    """A hand-designed optimizer at a constant learning rate.

    Attributes:
        name: a key of `celo.HAND_DESIGNED`.
    """

    name: str

    def optimizer(
        self, theta: PyTree, hyperparameters: Mapping[str, Array], num_steps: int
    ) -> optax.GradientTransformation:
        """The optimizer; there is no theta, and the number of steps is not read."""
        return hand_designed(self.name, hyperparameters["learning_rate"])


@dataclasses.dataclass(frozen=True)
class ScheduledNAdamW:
    """NAdamW with warm-up and cosine decay, all of whose hyperparameters vary."""

    def optimizer(
        self, theta: PyTree, hyperparameters: Mapping[str, Array], num_steps: int
    ) -> optax.GradientTransformation:
        """The optimizer; there is no theta."""
        options = dict(hyperparameters)
        scheduled = ("learning_rate", "min_learning_rate_mult", "constant_fraction", "warmup_fraction")
        schedule = cosine_learning_rate(
            num_steps=num_steps, **{name: options.pop(name) for name in scheduled}
        )
        nesterov = jnp.asarray(options.pop("nesterov")) > 0
        return hand_designed("nadamw", schedule, nesterov=nesterov, **options)


@dataclasses.dataclass(frozen=True)
class Learned:
    """A learned optimizer.

    Attributes:
        learned: its configuration.
    """

    learned: LearnedOptimizer

    def optimizer(
        self, theta: PyTree, hyperparameters: Mapping[str, Array], num_steps: int
    ) -> optax.GradientTransformation:
        """The optimizer, which is told the number of steps; there are no hyperparameters."""
        return self.learned.optimizer(theta, num_steps)
