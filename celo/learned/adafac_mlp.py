"""The small MLP with Adafactor features of Metz et al. 2022 (arXiv 2203.11860), "small_fc_lopt"."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo._core import averages, features, hyperparameters, mlp, pallas, parameters, tensors
from celo._core.averages import Decays, PyTree, TensorStatistics
from celo._core.normalisers import inverse_rms, two_passes
from celo.learned.base import Theta, WithKernels, transformation

INITIAL_DECAYS = Decays(momenta=(0.9, 0.99, 0.999), v=0.999, factored=(0.9, 0.99, 0.999))
NUM_FEATURES = 28
MLP_INPUTS = NUM_FEATURES + features.NUM_TIME_FEATURES
MLP_HIDDEN = (4, 4)
OUTPUTS = 2
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


def adafac_features(g: Array, p: Array, statistics: TensorStatistics) -> list[Array]:
    """28 features of one tensor, not normalised.

    ``g; p; m_k; v; m_k r; r; y_k; row_k; col_k; rsqrt(row_k); rsqrt(col_k); m_k rf_k cf_k`` with
    ``r = rsqrt(v + 1e-6)``, ``y_k = g rf_k cf_k`` and k over three decays; below rank 2 the last group is
    ``m_k rsqrt(diagonal_k + 1e-6)``.

    Args:
        g: gradient, float32.
        p: parameters before the step, float32.
        statistics: running averages of the gradient, updated with ``g``.

    Returns:
        28 arrays broadcastable to the shape of ``g``.
    """
    momenta, v, rows, cols = statistics
    y, row, col, m_factored = features.adafactor_features(g, momenta, rows, cols)
    if g.ndim < 2:
        m_factored = [m * jax.lax.rsqrt(d + EPSILON_VECTOR) for m, d in zip(momenta, rows, strict=True)]
    head = adafac_head(g, p, momenta, v, y)
    return [*head, *row, *col, *features.roots(row), *features.roots(col), *m_factored]


def adafac_head(g: Array, p: Array, momenta: Sequence[Array], v: Array, y: Sequence[Array]) -> list[Array]:
    """The first 13 of `adafac_features`, from the arguments there and the y_k."""
    r = jax.lax.rsqrt(v + features.EPSILON_RMS)
    return [g, p, *momenta, v, *(m * r for m in momenta), r, *y]


def per_parameter(
    theta: Theta, step_of: Callable[..., Array], outputs: int, kernels: str
) -> optax.GradientTransformationExtraArgs:
    """The optimizer whose MLP sees the 28 features and the time; `star` has the same.

    Args:
        theta: ``{"mlp": weights of an MLP of 39 inputs, "decays": see `learned_decays`}``.
        step_of: ``step_of(outputs, p, momenta, v)``, the step of one tensor from the outputs of the MLP.
        outputs: number of outputs of the MLP.
        kernels: "plain" or "pallas".

    Returns:
        An optax transformation.
    """
    elements = pallas.ElementRule(
        bound=parameters.bounded,
        head=adafac_head,
        finish=step_of,
        outputs=outputs,
        epsilon_vector=EPSILON_VECTOR,
    )

    def plain(
        weights: mlp.Weights, decays: Decays, p: Array, g: Array, statistics: TensorStatistics
    ) -> tuple[Array, TensorStatistics]:
        p, g = jnp.asarray(p, jnp.float32), parameters.bounded(g)
        statistics = averages.update(statistics, g, decays)
        inputs, scales = two_passes(adafac_features, inverse_rms, g, p, statistics)
        out = mlp.apply(weights, inputs, scales)
        return step_of(out, p, statistics.momenta, statistics.v), statistics

    def in_kernels(
        weights: mlp.Weights, decays: Decays, p: Array, g: Array, statistics: TensorStatistics
    ) -> tuple[Array, TensorStatistics]:
        return pallas.step(elements, decays, weights, p, g, statistics)[:2]

    def init(params: PyTree) -> PyTree:
        return AdafacMlpState(jnp.zeros((), jnp.int32), averages.init(params))

    def step(
        grads: PyTree, state: AdafacMlpState, params: PyTree, loss: None
    ) -> tuple[PyTree, AdafacMlpState]:
        del loss
        decays = learned_decays(theta["decays"])
        weights = mlp.condition(theta["mlp"], features.tanh_time(state.count))

        rule = functools.partial(pallas.by_platform, kernels, plain, in_kernels, weights, decays)
        steps, statistics = tensors.map_statistics(rule, params, grads, state.statistics)
        return steps, AdafacMlpState(state.count + 1, statistics)

    return transformation(init, step)


def _step_tensor(outputs: list[Array], *arrays: Any) -> Array:
    del arrays  # this step depends on direction and magnitude alone
    direction, magnitude = outputs
    return STEP_MULTIPLIER * direction * jnp.exp(MAGNITUDE_MULTIPLIER * magnitude)


@dataclasses.dataclass(frozen=True)
class AdafacMlp(WithKernels):
    """One MLP, 39 -> 4 -> 4 -> 2, at every parameter; it reads neither the loss nor the horizon.

    ``p <- p - 0.001 d exp(0.001 m)`` with d and m from 28 normalised features and 11 features of time. The
    decays of the running averages are meta-learned with the weights.
    """

    def init(self, key: Array) -> Theta:
        """Random meta-parameters: ``{"mlp": ..., "decays": ...}``, float32, 197 numbers."""
        return {"mlp": mlp.init(key, (MLP_INPUTS, *MLP_HIDDEN, OUTPUTS)), "decays": init_decays()}

    def _transformation(
        self, theta: Theta, horizon: Array, kernels: str = "plain"
    ) -> optax.GradientTransformationExtraArgs:
        del horizon
        return per_parameter(theta, _step_tensor, OUTPUTS, kernels)
