"""Celo (arXiv 2501.12670): a small MLP sets each parameter's step, an LSTM scales all steps by one number."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Annotated, Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo._core import averages, checks, features, mlp, pallas, parameters, tensors
from celo._core.averages import Decays, PyTree, TensorStatistics
from celo._core.normalisers import inverse_rms, two_passes
from celo._core.scheduler import (
    FORMS,
    NoScheduler,
    Observation,
    Scheduler,
    SchedulerState,
    SharedScheduler,
    TensorScheduler,
)
from celo.learned.base import Theta, WithKernels, transformation

DECAYS = Decays(momenta=(0.9, 0.99, 0.999), v=0.999, factored=(0.9, 0.99, 0.999))
GRADIENT_CLIP = 1000.0
MLP_SIZES = (features.NUM_FEATURES, 4, 4, 3)
STEP_MULTIPLIER = 0.001
MAGNITUDE_MULTIPLIER = 0.001
EPSILON_RMS = 1e-9

Rule = Callable[[Array, Array, TensorStatistics], tuple[Array, TensorStatistics]]


class CeloState(NamedTuple):
    """State of Celo: arrays only.

    Attributes:
        count: () int32, steps done.
        num_steps: () float32, the horizon; replace it to train for longer.
        statistics: running averages of the gradient.
        scheduler: state of the scheduler; None in stage 1, which has none.
        eta: () float32, step size of the last step, 1 in stage 1 and before the first step; (tensors,), one
            step size per tensor, where the scheduler sees tensors.
    """

    count: Array
    num_steps: Array
    statistics: TensorStatistics
    scheduler: SchedulerState | None
    eta: Array


def update_rule(theta: mlp.Weights, g: Array, p: Array, statistics: TensorStatistics) -> Array:
    """Step of one tensor, ``0.001 d exp(0.001 m) rms(p)`` with ``d, m = MLP(normalised features)``.

    Args:
        theta: weights of the MLP, 30 -> 4 -> 4 -> 3; the third output is not used.
        g: clipped gradient, float32, any shape.
        p: parameters before the step, float32.
        statistics: running averages of the gradient, updated with ``g``.

    Returns:
        The step, to be subtracted from ``p``.
    """
    inputs, scales = two_passes(features.celo_features, inverse_rms, g, p, *statistics)
    direction, magnitude = mlp.apply(theta, inputs, scales, outputs=2)
    rms = jnp.sqrt(jnp.mean(jnp.square(p)) + EPSILON_RMS)
    return STEP_MULTIPLIER * rms * direction * jnp.exp(MAGNITUDE_MULTIPLIER * magnitude)


def _finish(outputs: list[Array], *arrays: Any) -> Array:
    del arrays  # the step depends on direction and magnitude alone
    direction, magnitude = outputs
    return STEP_MULTIPLIER * direction * jnp.exp(MAGNITUDE_MULTIPLIER * magnitude)


ELEMENTS = pallas.ElementRule(
    bound=functools.partial(parameters.bounded, limit=GRADIENT_CLIP),
    head=features.celo_head,
    finish=_finish,
    outputs=2,
)


def step_tensor(
    theta: mlp.Weights, kernels: str, p: Array, g: Array, statistics: TensorStatistics
) -> tuple[Array, TensorStatistics]:
    """Step and new running averages of one tensor; ``p`` and ``g`` of any dtype."""
    return pallas.by_platform(kernels, _plain_step, _kernel_step, theta, p, g, statistics)


def _plain_step(
    theta: mlp.Weights, p: Array, g: Array, statistics: TensorStatistics
) -> tuple[Array, TensorStatistics]:
    p, g = jnp.asarray(p, jnp.float32), parameters.bounded(g, GRADIENT_CLIP)
    statistics = averages.update(statistics, g, DECAYS)
    return update_rule(theta, g, p, statistics), statistics


def _kernel_step(
    theta: mlp.Weights, p: Array, g: Array, statistics: TensorStatistics
) -> tuple[Array, TensorStatistics]:
    step, statistics, means = pallas.step(ELEMENTS, DECAYS, theta, p, g, statistics)
    return jnp.sqrt(means[2] + EPSILON_RMS) * step, statistics  # the third feature is p


def scheduled(
    rule: Rule, scheduler: Scheduler, theta: Theta, horizon: Array
) -> optax.GradientTransformationExtraArgs:
    """A rule for every tensor whose steps a scheduler multiplies by eta: ``p <- p - eta_t step_t``.

    Args:
        rule: ``rule(p, g, statistics) -> (step, statistics)`` of one tensor.
        scheduler: sets the step sizes; `NoScheduler` reads no loss.
        theta: the scheduler's meta-parameters.
        horizon: () number of steps.

    Returns:
        An optax transformation with the state `CeloState`.
    """

    def init(params: PyTree) -> PyTree:
        start, eta = scheduler.start(theta, params, horizon)
        return CeloState(jnp.zeros((), jnp.int32), horizon, averages.init(params), start, eta)

    def step(grads: PyTree, state: CeloState, params: PyTree, loss: Any) -> tuple[PyTree, CeloState]:
        seen = Observation(loss, state.count, state.num_steps, params, state.statistics)
        eta, memory = scheduler.step(theta, state.scheduler, seen)
        steps, statistics = tensors.map_statistics(rule, params, grads, state.statistics)
        return scheduler.scale(eta, steps), CeloState(
            state.count + 1, state.num_steps, statistics, memory, eta
        )

    return transformation(init, step, reads_loss=not isinstance(scheduler, NoScheduler))


@dataclasses.dataclass(frozen=True)
class Celo(WithKernels):
    """The Celo optimizer: configuration only; meta-parameters are passed to `optimizer`.

    With gradients clipped to +-1000, running averages updated first, and the MLP's direction d and magnitude
    m: ``p <- p - eta_t * 0.001 d exp(0.001 m) rms(p)``; in stage 1 there is no eta. ``state.eta`` is the last
    step size. In stage 2 it reads the loss and follows the horizon.

    Attributes:
        stage: 1 = update rule alone, 2 = with the scheduler. Meta-parameters have the same structure in both.
        form: how the scheduler's output becomes a step size: "exp", "linear" or "linear_clip".
        tensor_features: whether the scheduler is VeLO's (`celo._core.scheduler.TensorScheduler`), which sees
            features of each tensor and gives each its own step size; the paper shows that this gains nothing.
    """

    scheduler_parts: ClassVar[tuple[str, ...] | None] = ("scheduler",)
    scheduler_fields: ClassVar[tuple[str, ...]] = ("form", "tensor_features")

    stage: Annotated[int, checks.OneOf((1, 2), "1 (update rule alone) or 2 (with scheduler)")] = 2
    form: Annotated[str, checks.OneOf(FORMS)] = "exp"
    tensor_features: checks.Flag = False

    @property
    def scheduler(self) -> Scheduler:
        """What sets the step sizes."""
        full = TensorScheduler(self.form) if self.tensor_features else SharedScheduler(self.form)
        return full if self.stage == 2 else NoScheduler(full)

    def init(self, key: Array) -> Theta:
        """Random meta-parameters: ``{"mlp": ..., "scheduler": ...}``, float32, about 36,000 numbers."""
        key_mlp, key_scheduler = jax.random.split(key)
        return {"mlp": mlp.init(key_mlp, MLP_SIZES), "scheduler": self.scheduler.init(key_scheduler)}

    def _transformation(
        self, theta: Theta, horizon: Array, kernels: str = "plain"
    ) -> optax.GradientTransformationExtraArgs:
        rule = functools.partial(step_tensor, theta["mlp"], kernels)
        return scheduled(rule, self.scheduler, theta["scheduler"], horizon)
