"""Celo (arXiv 2501.12670): a small MLP sets each parameter's step, an LSTM scales all steps by one number."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo import accumulators, features, mlp, scheduler
from celo.learned import base
from celo.learned.base import PyTree

DECAYS = (0.9, 0.99, 0.999)
SECOND_MOMENT_DECAY = 0.999
GRADIENT_CLIP = 1000.0
MLP_SIZES = (features.NUM_FEATURES, 4, 4, 3)
STEP_MULTIPLIER = 0.001
MAGNITUDE_MULTIPLIER = 0.001
EPSILON_RMS = 1e-9


class TensorStatistics(NamedTuple):
    """Running averages of the gradient of all tensors; each field but ``v`` holds one tree per decay.

    Attributes:
        momenta: first moments, trees shaped like the parameters.
        v: second moment, shaped like the parameters.
        rows: row moments (whole second moments for tensors of rank below 2).
        cols: column moments (a placeholder for tensors of rank below 2).
    """

    momenta: tuple[PyTree, ...]
    v: PyTree
    rows: tuple[PyTree, ...]
    cols: tuple[PyTree, ...]


class CeloState(NamedTuple):
    """State of Celo: arrays only.

    Attributes:
        count: () int32, steps done.
        num_steps: () float32, the horizon; replace it to go on for longer.
        statistics: running averages of the gradient.
        scheduler: state of the scheduler; None in stage 1, which has none.
        eta: () float32, step size of the last step, 1 in stage 1 and before the first step.
    """

    count: Array
    num_steps: Array
    statistics: TensorStatistics
    scheduler: scheduler.SchedulerState | None
    eta: Array


def init_statistics(params: PyTree) -> TensorStatistics:
    """Running averages before the first gradient: zeros in float32."""
    shapes = [accumulators.factored_zeros(jnp.shape(p)) for p in jax.tree.leaves(params)]
    structure = jax.tree.structure(params)
    rows = structure.unflatten([row for row, _ in shapes])
    cols = structure.unflatten([col for _, col in shapes])
    zeros = base.float32_zeros(params)
    copies = range(len(DECAYS))
    return TensorStatistics(
        tuple(zeros for _ in copies), zeros, tuple(rows for _ in copies), tuple(cols for _ in copies)
    )


def update_rule(
    theta: mlp.Weights, g: Array, p: Array, momenta: Any, v: Array, rows: Any, cols: Any
) -> Array:
    """Step of one tensor, ``0.001 d exp(0.001 m) rms(p)`` with ``d, m = MLP(normalised features)``.

    Args:
        theta: weights of the MLP, 30 -> 4 -> 4 -> 3; the third output is not used.
        g: clipped gradient, float32, any shape.
        p: parameters before the step, float32.
        momenta: three first moments, updated with ``g``.
        v: second moment, updated with ``g``.
        rows: three row moments, updated with ``g``.
        cols: three column moments, updated with ``g``.

    Returns:
        The step, to be subtracted from ``p``.
    """
    inputs = features.celo_features(g, p, momenta, v, rows, cols)
    direction, magnitude = mlp.apply(theta, inputs, mlp.inverse_rms(inputs), outputs=2)
    rms = jnp.sqrt(jnp.mean(jnp.square(p)) + EPSILON_RMS)
    return STEP_MULTIPLIER * rms * direction * jnp.exp(MAGNITUDE_MULTIPLIER * magnitude)


def _step_tensor(theta: mlp.Weights, p: Array, g: Array, *statistics: Array) -> tuple[Array, ...]:
    """New statistics and step of one tensor, as one flat tuple."""
    k = len(DECAYS)
    p, g = jnp.asarray(p, jnp.float32), jnp.clip(jnp.asarray(g, jnp.float32), -GRADIENT_CLIP, GRADIENT_CLIP)
    momenta = [accumulators.average(m, g, d) for m, d in zip(statistics[:k], DECAYS, strict=True)]
    v = accumulators.average(statistics[k], jnp.square(g), SECOND_MOMENT_DECAY)
    old = zip(statistics[k + 1 : 2 * k + 1], statistics[2 * k + 1 :], DECAYS, strict=True)
    factored = [accumulators.factored_average(row, col, g, d) for row, col, d in old]
    rows, cols = [row for row, _ in factored], [col for _, col in factored]
    step = update_rule(theta, g, p, momenta, v, rows, cols)
    return (*momenta, v, *rows, *cols, step)


@dataclasses.dataclass(frozen=True)
class Celo:
    """The Celo optimizer: configuration only; meta-parameters are passed to `optimizer`.

    With gradients clipped to +-1000, running averages updated first, and the MLP's direction d and magnitude
    m: ``p <- p - eta_t * 0.001 d exp(0.001 m) rms(p)``; in stage 1 there is no eta.

    Attributes:
        stage: 1 = update rule alone, 2 = with the scheduler. Meta-parameters have the same structure in both.
        form: how the scheduler's output becomes a step size: "exp", "linear" or "linear_clip".
    """

    stage: int = 2
    form: str = "exp"

    def __post_init__(self) -> None:
        """Checks the configuration."""
        base.check_stage(self.stage)
        base.check_choice("form", self.form, scheduler.FORMS)

    def init(self, key: Array) -> dict[str, PyTree]:
        """Random meta-parameters: ``{"mlp": ..., "scheduler": ...}``, float32, about 36,000 numbers."""
        key_mlp, key_scheduler = jax.random.split(key)
        return {"mlp": mlp.init(key_mlp, MLP_SIZES), "scheduler": scheduler.init(key_scheduler)}

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
            start = scheduler.init_state(theta["scheduler"], horizon) if self.stage == 2 else None
            return CeloState(
                jnp.zeros((), jnp.int32), horizon, init_statistics(params), start, jnp.ones((), jnp.float32)
            )

        def update(
            updates: PyTree,
            state: Any,
            params: PyTree | None = None,
            *,
            value: Any = None,
            **extra: Any,
        ) -> tuple[PyTree, PyTree]:
            del extra
            params = base.check_params(params)
            eta, memory = state.eta, state.scheduler
            if memory is not None:
                loss = base.check_value(value)
                eta, memory = scheduler.step(
                    theta["scheduler"], memory, loss, state.count, state.num_steps, self.form
                )
            steps, statistics = step_all(theta["mlp"], updates, params, state.statistics)
            deltas = jax.tree.map(lambda s, p: base.cast_updates(-eta * s, p), steps, params)
            return deltas, CeloState(state.count + 1, state.num_steps, statistics, memory, eta)

        return optax.GradientTransformationExtraArgs(init, update)


def step_all(
    theta: mlp.Weights, grads: PyTree, params: PyTree, statistics: TensorStatistics
) -> tuple[PyTree, TensorStatistics]:
    """Celo's update rule on every tensor of a pytree: the steps to subtract and the new running averages."""
    k = len(DECAYS)

    def function(p: Array, g: Array, *rest: Array) -> tuple[Array, ...]:
        return _step_tensor(theta, p, g, *rest)

    trees = (*statistics.momenta, statistics.v, *statistics.rows, *statistics.cols)
    out = base.map_tensors(3 * k + 2, function, params, grads, *trees)
    return out[-1], TensorStatistics(out[:k], out[k], out[k + 1 : 2 * k + 1], out[2 * k + 1 : 3 * k + 1])
