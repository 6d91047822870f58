"""Celo-Adam (arXiv 2501.12670): Celo's scheduler over the update rule of Adam."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo._core import averages, tensors
from celo._core.averages import PyTree
from celo._core.scheduler import Observation, SchedulerState, SharedScheduler
from celo.learned.base import Learned, Theta, transformation

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
        num_steps: () float32, the horizon; replace it to train for longer.
        m: first moments, float32, without bias correction.
        v: second moments, float32, without bias correction.
        gradients: () int32, gradients in those averages; unchanged when ``count`` is reset.
        scheduler: state of the scheduler.
        eta: () float32, step size of the last step, 1 before the first.
    """

    count: Array  # pyright: ignore[reportIncompatibleMethodOverride]  # optax's name for it
    num_steps: Array
    m: PyTree
    v: PyTree
    gradients: Array
    scheduler: SchedulerState
    eta: Array


def adam_step(p: Array, g: Array, m: Array, v: Array, correction: tuple[Array, Array]) -> tuple[Array, ...]:
    """Adam's direction ``m^ / (1e-8 + sqrt(v^ + 1e-10))`` and the new moments of one tensor."""
    del p  # Adam does not read it; the walk over tensors passes it to every rule
    g = jnp.clip(jnp.asarray(g, jnp.float32), -GRADIENT_CLIP, GRADIENT_CLIP)
    m, v = averages.average(m, g, B1), averages.average(v, jnp.square(g), B2)
    mhat, vhat = m / correction[0], v / correction[1]
    return mhat / (EPSILON + jnp.sqrt(vhat + EPSILON_ROOT)), m, v


@dataclasses.dataclass(frozen=True)
class CeloAdam(Learned):
    """Adam whose one step size an LSTM sets at every step from the loss and the progress of training.

    With gradients clipped to +-1000 and bias-corrected moments at decays 0.9 and 0.999:
    ``p <- p - 0.001 eta_t m^ / (1e-8 + sqrt(v^ + 1e-10))``. ``state.eta`` is the last step size: ``0.001 *
    eta`` is the learning rate of Adam. It reads the loss and follows the horizon.
    """

    reads_loss: ClassVar[bool] = True
    scheduler: ClassVar[SharedScheduler] = SharedScheduler()

    def init(self, key: Array) -> Theta:
        """Random meta-parameters: ``{"scheduler": ...}``, float32, about 36,000 numbers."""
        return {"scheduler": self.scheduler.init(key)}

    def _transformation(self, theta: Theta, horizon: Array) -> optax.GradientTransformationExtraArgs:
        scheduler = self.scheduler

        def init(params: PyTree) -> PyTree:
            zeros, zero = averages.zeros_like(params), jnp.zeros((), jnp.int32)
            start, eta = scheduler.start(theta["scheduler"], params, horizon)
            return CeloAdamState(zero, horizon, zeros, zeros, zero, start, eta)

        def step(
            grads: PyTree, state: CeloAdamState, params: PyTree, loss: Any
        ) -> tuple[PyTree, CeloAdamState]:
            seen = Observation(loss, state.count, state.num_steps)
            eta, memory = scheduler.step(theta["scheduler"], state.scheduler, seen)
            gradients = state.gradients + 1
            exponent = gradients.astype(jnp.float32)
            correction = (1.0 - B1**exponent, 1.0 - B2**exponent)

            def rule(p: Array, g: Array, m: Array, v: Array) -> tuple[Array, ...]:
                return adam_step(p, g, m, v, correction)

            steps, m, v = tensors.map_tensors(3, rule, params, grads, state.m, state.v)
            steps = jax.tree.map(lambda s: STEP_MULTIPLIER * eta * s, steps)
            return steps, CeloAdamState(state.count + 1, state.num_steps, m, v, gradients, memory, eta)

        return transformation(init, step, self.reads_loss)
