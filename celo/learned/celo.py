"""Celo (arXiv 2501.12670): a small MLP sets each parameter's step, an LSTM scales all steps by one number."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo._core import features, gradient_statistics, mlp, scheduler, tensor_scheduler
from celo._core.gradient_statistics import Decays, TensorStatistics
from celo.learned import base
from celo.learned.base import PyTree
from celo.learned.transformation import transformation

DECAYS = Decays(momenta=(0.9, 0.99, 0.999), v=0.999, factored=(0.9, 0.99, 0.999))
GRADIENT_CLIP = 1000.0
MLP_SIZES = (features.NUM_FEATURES, 4, 4, 3)
STEP_MULTIPLIER = 0.001
MAGNITUDE_MULTIPLIER = 0.001
EPSILON_RMS = 1e-9


class CeloState(NamedTuple):
    """State of Celo: arrays only.

    Attributes:
        count: () int32, steps done.
        num_steps: () float32, the horizon; replace it to go on for longer.
        statistics: running averages of the gradient.
        scheduler: state of the scheduler; None in stage 1, which has none.
        eta: () float32, step size of the last step, 1 in stage 1 and before the first step; (tensors,), one
            step size per tensor, where the scheduler sees tensors.
    """

    count: Array
    num_steps: Array
    statistics: TensorStatistics
    scheduler: scheduler.SchedulerState | None
    eta: Array


def update_rule(theta: mlp.Weights, g: Array, p: Array, averages: TensorStatistics) -> Array:
    """Step of one tensor, ``0.001 d exp(0.001 m) rms(p)`` with ``d, m = MLP(normalised features)``.

    Args:
        theta: weights of the MLP, 30 -> 4 -> 4 -> 3; the third output is not used.
        g: clipped gradient, float32, any shape.
        p: parameters before the step, float32.
        averages: running averages of the gradient, updated with ``g``.

    Returns:
        The step, to be subtracted from ``p``.
    """
    inputs = features.celo_features(g, p, *averages)
    direction, magnitude = mlp.apply(theta, inputs, mlp.inverse_rms(inputs), outputs=2)
    rms = jnp.sqrt(jnp.mean(jnp.square(p)) + EPSILON_RMS)
    return STEP_MULTIPLIER * rms * direction * jnp.exp(MAGNITUDE_MULTIPLIER * magnitude)


def step_tensor(
    theta: mlp.Weights, p: Array, g: Array, averages: TensorStatistics
) -> tuple[Array, TensorStatistics]:
    """Step and new running averages of one tensor; ``p`` and ``g`` of any dtype."""
    p, g = jnp.asarray(p, jnp.float32), jnp.clip(jnp.asarray(g, jnp.float32), -GRADIENT_CLIP, GRADIENT_CLIP)
    averages = gradient_statistics.update(averages, g, DECAYS)
    return update_rule(theta, g, p, averages), averages


@dataclasses.dataclass(frozen=True)
class Celo:
    """The Celo optimizer: configuration only; meta-parameters are passed to `optimizer`.

    With gradients clipped to +-1000, running averages updated first, and the MLP's direction d and magnitude
    m: ``p <- p - eta_t * 0.001 d exp(0.001 m) rms(p)``; in stage 1 there is no eta.

    Attributes:
        stage: 1 = update rule alone, 2 = with the scheduler. Meta-parameters have the same structure in both.
        form: how the scheduler's output becomes a step size: "exp", "linear" or "linear_clip".
        tensor_features: whether the scheduler is VeLO's (`celo._core.tensor_scheduler`), which sees features of
            each tensor and gives each its own step size; the paper shows that this gains nothing.
    """

    stage: int = 2
    form: str = "exp"
    tensor_features: bool = False

    def __post_init__(self) -> None:
        """Checks the configuration."""
        base.check_stage(self.stage)
        base.check_choice("form", self.form, scheduler.FORMS)
        base.check_choice("tensor_features", self.tensor_features, (False, True))

    def init(self, key: Array) -> dict[str, PyTree]:
        """Random meta-parameters: ``{"mlp": ..., "scheduler": ...}``, float32, about 36,000 numbers."""
        key_mlp, key_scheduler = jax.random.split(key)
        inputs = tensor_scheduler.NUM_INPUTS if self.tensor_features else scheduler.NUM_INPUTS
        return {"mlp": mlp.init(key_mlp, MLP_SIZES), "scheduler": scheduler.init(key_scheduler, inputs)}

    def trainable(self, theta: dict[str, PyTree], stage: int) -> PyTree:
        """Stage 1 trains the MLP, stage 2 the scheduler with its learned initial state."""
        base.check_stage(stage)
        return base.mask(theta, ("mlp",) if stage == 1 else ("scheduler",))

    def optimizer(
        self, theta: dict[str, PyTree], num_steps: float | Array
    ) -> optax.GradientTransformationExtraArgs:
        """Celo with these meta-parameters.

        Args:
            theta: meta-parameters, structured as `init` makes them.
            num_steps: number of steps of the training ahead, at least 1; may be traced.

        Returns:
            An optax transformation whose ``update`` takes the scalar loss as ``value=`` (ignored in stage 1)
            and whose updates are added to the parameters. ``state.eta`` is the last step size.

        Raises:
            ValueError: if theta does not fit the configuration or num_steps is below 1; by ``update``, if the
                parameters or the loss are missing.
        """
        base.check_theta(self, theta)
        horizon = base.check_num_steps(num_steps)

        def init(params: PyTree) -> PyTree:
            start, eta = self._init_scheduler(theta["scheduler"], params, horizon)
            return CeloState(jnp.zeros((), jnp.int32), horizon, gradient_statistics.init(params), start, eta)

        def step(grads: PyTree, state: CeloState, params: PyTree, loss: Any) -> tuple[PyTree, CeloState]:
            eta, memory = self._step_sizes(theta["scheduler"], state, params, loss)
            rule = functools.partial(step_tensor, theta["mlp"])
            steps, statistics = gradient_statistics.map_tensors(rule, params, grads, state.statistics)
            if eta.ndim:
                etas = jax.tree.structure(params).unflatten(list(eta))
                steps = jax.tree.map(jnp.multiply, etas, steps)
            else:
                steps = jax.tree.map(lambda s: eta * s, steps)
            return steps, CeloState(state.count + 1, state.num_steps, statistics, memory, eta)

        return transformation(init, step, reads_loss=self.stage == 2)

    def _init_scheduler(
        self, theta: dict[str, PyTree], params: PyTree, horizon: Array
    ) -> tuple[scheduler.SchedulerState | None, Array]:
        """State of the scheduler, if there is one, and the step size before the first step."""
        if self.stage == 1:
            return None, jnp.ones((), jnp.float32)
        if not self.tensor_features:
            return scheduler.init_state(theta, horizon), jnp.ones((), jnp.float32)
        tensors = len(jax.tree.leaves(params))
        return tensor_scheduler.init_state(theta, tensors, horizon), jnp.ones((tensors,), jnp.float32)

    def _step_sizes(
        self, theta: dict[str, PyTree], state: CeloState, params: PyTree, loss: Any
    ) -> tuple[Array, scheduler.SchedulerState | None]:
        """Step size of this step, () or (tensors,), and the new state of the scheduler."""
        if state.scheduler is None:
            return state.eta, None
        if not self.tensor_features:
            return scheduler.step(theta, state.scheduler, loss, state.count, state.num_steps, self.form)
        seen = tensor_scheduler.all_features(params, state.statistics)
        hidden, memory = tensor_scheduler.step(
            theta, state.scheduler, seen, loss, state.count, state.num_steps
        )
        return scheduler.step_size(theta["step_size"], hidden, self.form), memory
