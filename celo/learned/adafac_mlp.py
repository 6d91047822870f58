"""The small MLP with Adafactor features of Metz et al. 2022 (arXiv 2203.11860), "small_fc_lopt"."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo._core import features, gradient_statistics, hyperparameters, mlp, mlp_context, time_features
from celo._core.gradient_statistics import Decays, TensorStatistics
from celo.learned import base
from celo.learned.base import PyTree
from celo.learned.transformation import transformation

INITIAL_DECAYS = Decays(momenta=(0.9, 0.99, 0.999), v=0.999, factored=(0.9, 0.99, 0.999))
NUM_FEATURES = 28
MLP_INPUTS = NUM_FEATURES + time_features.NUM_TIME_FEATURES
MLP_HIDDEN = (4, 4)
STEP_MULTIPLIER = 0.001
MAGNITUDE_MULTIPLIER = 0.001
EPSILON_VECTOR = 1e-6


class AdafacMlpState(NamedTuple):
    """State: arrays only.

    Attributes:
        count: () int32, steps done.
        statistics: running averages of the gradient.
    """

    count: Array  # pyright: ignore[reportIncompatibleMethodOverride]  # optax's name for it
    statistics: TensorStatistics


def init_decays() -> dict[str, Array]:
    """How far the meta-learned decays are from their initial values: zeros."""
    return {
        "momenta": jnp.zeros((3,), jnp.float32),
        "v": jnp.zeros((1,), jnp.float32),
        "factored": jnp.zeros((3,), jnp.float32),
    }


def learned_decays(offsets: dict[str, Array]) -> Decays:
    """Decays ``1 - exp(10 (log(1 - d) / 10 + offset))``; those of second moments clipped to [0, 1]."""

    def moved(initial: Any, offset: Array) -> list[Array]:
        return list(hyperparameters.to_decay(hyperparameters.from_decay(initial) + offset))

    v, factored = (
        [jnp.clip(d, 0.0, 1.0) for d in moved(initial, offsets[name])]
        for name, initial in (("v", (INITIAL_DECAYS.v,)), ("factored", INITIAL_DECAYS.factored))
    )
    return Decays(moved(INITIAL_DECAYS.momenta, offsets["momenta"]), v[0], factored)


def adafac_features(g: Array, p: Array, averages: TensorStatistics) -> list[Array]:
    """28 features of one tensor, not normalised.

    ``g; p; m_k; v; m_k r; r; y_k; row_k; col_k; rsqrt(row_k); rsqrt(col_k); m_k rf_k cf_k`` with
    ``r = rsqrt(v + 1e-6)``, ``y_k = g rf_k cf_k`` and k over three decays; below rank 2 the last group is
    ``m_k rsqrt(diagonal_k + 1e-6)``.

    Args:
        g: gradient, float32.
        p: parameters before the step, float32.
        averages: running averages of the gradient, updated with ``g``.

    Returns:
        28 arrays broadcastable to the shape of ``g``.
    """
    momenta, v, rows, cols = averages
    r = jax.lax.rsqrt(v + features.EPSILON_RMS)
    y, row, col, m_factored = features.adafactor_features(g, momenta, rows, cols)
    if g.ndim < 2:
        m_factored = [m * jax.lax.rsqrt(d + EPSILON_VECTOR) for m, d in zip(momenta, rows, strict=True)]
    row_roots = [jax.lax.rsqrt(x + features.EPSILON_ROW_COL) for x in row]
    col_roots = [jax.lax.rsqrt(x + features.EPSILON_ROW_COL) for x in col]
    scaled = [m * r for m in momenta]
    return [g, p, *momenta, v, *scaled, r, *y, *row, *col, *row_roots, *col_roots, *m_factored]


def per_parameter(
    theta: dict[str, PyTree], step_of: Callable[[list[Array], Array, TensorStatistics], Array]
) -> optax.GradientTransformationExtraArgs:
    """The optimizer whose MLP sees the 28 features and the time; `star` has the same.

    Args:
        theta: ``{"mlp": weights of an MLP of 39 inputs, "decays": see `learned_decays`}``.
        step_of: ``step_of(outputs, p, averages)``, the step of one tensor from the outputs of the MLP.

    Returns:
        An optax transformation.
    """

    def init(params: PyTree) -> PyTree:
        return AdafacMlpState(jnp.zeros((), jnp.int32), gradient_statistics.init(params))

    def step(
        grads: PyTree, state: AdafacMlpState, params: PyTree, loss: None
    ) -> tuple[PyTree, AdafacMlpState]:
        del loss
        decays = learned_decays(theta["decays"])
        weights = mlp_context.condition(theta["mlp"], time_features.tanh_features(state.count))

        def rule(p: Array, g: Array, averages: TensorStatistics) -> tuple[Array, TensorStatistics]:
            p, g = jnp.asarray(p, jnp.float32), base.bounded(g)
            averages = gradient_statistics.update(averages, g, decays)
            inputs = adafac_features(g, p, averages)
            outputs = mlp.apply(weights, inputs, mlp.inverse_rms(inputs))
            return step_of(outputs, p, averages), averages

        steps, statistics = gradient_statistics.map_tensors(rule, params, grads, state.statistics)
        return steps, AdafacMlpState(state.count + 1, statistics)

    return transformation(init, step, reads_loss=False)


def _step_tensor(outputs: list[Array], p: Array, averages: TensorStatistics) -> Array:
    del p, averages  # direction and magnitude are all this step depends on
    direction, magnitude = outputs
    return STEP_MULTIPLIER * direction * jnp.exp(MAGNITUDE_MULTIPLIER * magnitude)


@dataclasses.dataclass(frozen=True)
class AdafacMlp:
    """One MLP, 39 -> 4 -> 4 -> 2, at every parameter; it reads neither the loss nor the horizon.

    ``p <- p - 0.001 d exp(0.001 m)`` with d and m from 28 normalised features and 11 features of time. The
    decays of the running averages are meta-learned with the weights.
    """

    def init(self, key: Array) -> dict[str, PyTree]:
        """Random meta-parameters: ``{"mlp": ..., "decays": ...}``, float32, 197 numbers."""
        return {"mlp": mlp.init(key, (MLP_INPUTS, *MLP_HIDDEN, 2)), "decays": init_decays()}

    def trainable(self, theta: dict[str, PyTree], stage: int) -> PyTree:
        """Either stage trains all of theta: there is no scheduler."""
        base.check_stage(stage)
        return base.mask(theta, tuple(theta))

    def optimizer(
        self, theta: dict[str, PyTree], num_steps: float | Array
    ) -> optax.GradientTransformationExtraArgs:
        """The optimizer with these meta-parameters.

        Args:
            theta: meta-parameters, structured as `init` makes them.
            num_steps: number of steps of the training ahead, at least 1; checked, and not used.

        Returns:
            An optax transformation; it ignores ``value=``.

        Raises:
            ValueError: if theta does not fit or num_steps is below 1; by ``update``, without parameters.
        """
        base.check_theta(self, theta)
        base.check_num_steps(num_steps)

        return per_parameter(theta, _step_tensor)
