"""Celo-Adam (arXiv 2501.12670): Celo's scheduler over the update rule of Adam."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo._core import accumulators, scheduler
from celo.learned import base
from celo.learned.base import PyTree
from celo.learned.transformation import transformation

B1 = 0.9
B2 = 0.999
EPSILON = 1e-8
EPSILON_ROOT = 1e-10
GRADIENT_CLIP = 1000.0
STEP_MULTIPLIER = 0.001


class CeloAdamState(NamedTuple):
    """State of Celo-Adam: arrays only.

    Attributes:
        count: () int32, steps done.
        num_steps: () float32, the horizon; replace it to go on for longer.
        m: first moments, float32, without bias correction.
        v: second moments, float32, without bias correction.
        gradients: () int32, gradients in those averages; it stays what it is when ``count`` is reset.
        scheduler: state of the scheduler.
        eta: () float32, step size of the last step, 1 before the first.
    """

    count: Array  # pyright: ignore[reportIncompatibleMethodOverride]  # optax's name for it
    num_steps: Array
    m: PyTree
    v: PyTree
    gradients: Array
    scheduler: scheduler.SchedulerState
    eta: Array


def adam_step(p: Array, g: Array, m: Array, v: Array, correction: tuple[Array, Array]) -> tuple[Array, ...]:
    """Adam's direction ``m^ / (1e-8 + sqrt(v^ + 1e-10))`` and the new moments of one tensor."""
    del p  # Adam does not read it; the walk over tensors passes it to every rule
    g = jnp.clip(jnp.asarray(g, jnp.float32), -GRADIENT_CLIP, GRADIENT_CLIP)
    m, v = accumulators.average(m, g, B1), accumulators.average(v, jnp.square(g), B2)
    mhat, vhat = m / correction[0], v / correction[1]
    return mhat / (EPSILON + jnp.sqrt(vhat + EPSILON_ROOT)), m, v


@dataclasses.dataclass(frozen=True)
class CeloAdam:
    """Adam whose one step size an LSTM sets at every step from the loss and the progress of training.

    With gradients clipped to +-1000 and bias-corrected moments at decays 0.9 and 0.999:
    ``p <- p - 0.001 eta_t m^ / (1e-8 + sqrt(v^ + 1e-10))``.
    """

    def init(self, key: Array) -> dict[str, PyTree]:
        """Random meta-parameters: ``{"scheduler": ...}``, float32, about 36,000 numbers."""
        return {"scheduler": scheduler.init(key)}

    def trainable(self, theta: dict[str, PyTree], stage: int) -> PyTree:
        """Either stage trains all of theta: there is a scheduler and nothing else."""
        base.check_stage(stage)
        return base.mask(theta, ("scheduler",))

    def optimizer(
        self, theta: dict[str, PyTree], num_steps: float | Array
    ) -> optax.GradientTransformationExtraArgs:
        """Celo-Adam with these meta-parameters.

        Args:
            theta: meta-parameters, structured as `init` makes them.
            num_steps: number of steps of the training ahead, at least 1; may be traced.

        Returns:
            An optax transformation whose ``update`` takes the scalar loss as ``value=``. ``state.eta`` is the
            last step size: ``0.001 * eta`` is the learning rate of Adam.

        Raises:
            ValueError: if theta does not fit or num_steps is below 1; by ``update``, if the parameters or the
                loss are missing.
        """
        base.check_theta(self, theta)
        horizon = base.check_num_steps(num_steps)

        def init(params: PyTree) -> PyTree:
            zeros, one = base.float32_zeros(params), jnp.ones((), jnp.float32)
            start = scheduler.init_state(theta["scheduler"], horizon)
            zero = jnp.zeros((), jnp.int32)
            return CeloAdamState(zero, horizon, zeros, zeros, zero, start, one)

        def step(
            grads: PyTree, state: CeloAdamState, params: PyTree, loss: Any
        ) -> tuple[PyTree, CeloAdamState]:
            eta, memory = scheduler.step(
                theta["scheduler"], state.scheduler, loss, state.count, state.num_steps
            )
            gradients = state.gradients + 1
            exponent = gradients.astype(jnp.float32)
            correction = (1.0 - B1**exponent, 1.0 - B2**exponent)

            def rule(p: Array, g: Array, m: Array, v: Array) -> tuple[Array, ...]:
                return adam_step(p, g, m, v, correction)

            steps, m, v = base.map_tensors(3, rule, params, grads, state.m, state.v)
            steps = jax.tree.map(lambda s: STEP_MULTIPLIER * eta * s, steps)
            return steps, CeloAdamState(state.count + 1, state.num_steps, m, v, gradients, memory, eta)

        return transformation(init, step)
