"""A learned optimizer small enough for closed forms, with a part to train in each of two stages."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo.meta.tasks import Quadratic

# Families of two shapes, for it to train.
TASKS = (
    Quadratic.of([0.5, 2.0], target=1.0, noise=0.1, name="first pair"),
    Quadratic.of([0.5, 1.0, 2.0], noise=0.1, name="triple"),
    Quadratic.of([3.0, 0.1], target=2.0, noise=0.1, name="second pair"),
)


class SGDState(NamedTuple):
    """Steps done, the horizon, and the step size of the last step."""

    count: Array
    num_steps: Array
    eta: Array


@dataclasses.dataclass(frozen=True)
class LearnableSGD:
    """``p <- p - exp(log_rate) eta_t g`` with ``eta_t = exp(slope t / T)``, 1 in stage 1."""

    stage: int = 2

    def init(self, key: Array) -> dict[str, Any]:
        """A rate near 0.1 and a slope near 0."""
        rate, slope = 0.1 * jax.random.normal(key, (2,))
        return {"rule": {"log_rate": jnp.log(0.1) + rate}, "scheduler": {"slope": slope}}

    def trainable(self, theta: dict[str, Any], stage: int | str) -> dict[str, Any]:
        """Stage 1 trains the rate, stage 2 the slope."""
        return {"rule": {"log_rate": stage == 1}, "scheduler": {"slope": stage == 2}}

    def optimizer(
        self, theta: dict[str, Any], num_steps: float | Array
    ) -> optax.GradientTransformationExtraArgs:
        """The optimizer; its state counts steps and shows eta."""

        def init(params: Any) -> SGDState:
            horizon = jnp.asarray(num_steps).astype(jnp.float32)
            return SGDState(jnp.zeros((), jnp.int32), horizon, jnp.ones((), jnp.float32))

        def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, SGDState]:
            eta = jnp.ones((), jnp.float32)
            if self.stage == 2:
                eta = jnp.exp(theta["scheduler"]["slope"] * state.count.astype(jnp.float32) / state.num_steps)
            rate = jnp.exp(theta["rule"]["log_rate"]) * eta
            return jax.tree.map(lambda g: -rate * g, updates), SGDState(state.count + 1, state.num_steps, eta)

        return optax.GradientTransformationExtraArgs(init, update)
