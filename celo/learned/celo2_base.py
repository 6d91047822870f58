"""Celo2-base (arXiv 2602.19142): an MLP gives directions, and the user's learning rate their size."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo._core import features, gradient_statistics, mlp, newton_schulz
from celo._core.gradient_statistics import Decays, TensorStatistics
from celo.baselines import contract
from celo.learned import base
from celo.learned.base import PyTree
from celo.learned.transformation import transformation

DECAYS = Decays(momenta=(0.9, 0.99, 0.999), v=0.95, factored=(0.9, 0.99, 0.999))
MLP_SIZES = (features.NUM_FEATURES, 8, 8, 3)
GRADIENT_CLIP = 1000.0
VECTOR_FEATURES = 15
EPSILON_FEATURES = 1e-8
EPSILON_RMS = 1e-9
LEARNING_RATE = 0.001


class DirectionState(NamedTuple):
    """State of `scale_by_celo2`: running averages of the gradient."""

    statistics: TensorStatistics


def _inverse_rms(x: Array) -> Array:
    """``rsqrt(1e-9 + mean(x^2))`` over the last two axes or all there are, which stay with size 1."""
    axes = tuple(range(max(0, x.ndim - 2), x.ndim))
    return jax.lax.rsqrt(EPSILON_RMS + jnp.mean(jnp.square(x), axis=axes, keepdims=True))


def direction(
    theta: mlp.Weights, g: Array, p: Array, averages: TensorStatistics, orthogonalise: bool
) -> Array:
    """Direction of one tensor: the MLP's first output, of root mean square 1 over the last two axes.

    The 30 features are Celo's, each normalised over the last two axes. A tensor of rank below 2, which has no
    rows and columns, shows the MLP only the first 15.

    Args:
        theta: weights of the MLP, 30 -> 8 -> 8 -> 3; only the first output is used.
        g: gradient, float32.
        p: parameters before the step, float32.
        averages: running averages of the gradient, updated with ``g``.
        orthogonalise: whether the matrices of a tensor of rank 2 and more are orthogonalised first.

    Returns:
        The direction, of the shape of ``g``.
    """
    inputs = features.celo_features(g, p, *averages, epsilon=EPSILON_FEATURES)
    if g.ndim < 2:
        inputs, theta = inputs[:VECTOR_FEATURES], {**theta, "w0": theta["w0"][:VECTOR_FEATURES]}
    if g.ndim <= 2:  # one normaliser per feature, which then costs nothing per parameter
        (out,) = mlp.apply(theta, inputs, mlp.inverse_rms(inputs, EPSILON_RMS), outputs=1)
    else:
        (out,) = mlp.apply(theta, [x * _inverse_rms(x) for x in inputs], outputs=1)
    if orthogonalise and g.ndim >= 2:
        out = newton_schulz.orthogonalise(out)
    return out * _inverse_rms(out)


def scale_by_celo2(theta: dict[str, PyTree], orthogonalise: bool) -> optax.GradientTransformationExtraArgs:
    """Gradients, clipped to +-1000, to steps of RMS 1 downhill, to be scaled by a positive rate."""

    def rule(p: Array, g: Array, averages: TensorStatistics) -> tuple[Array, TensorStatistics]:
        p, g = jnp.asarray(p, jnp.float32), base.bounded(g, GRADIENT_CLIP)
        averages = gradient_statistics.update(averages, g, DECAYS)
        return direction(theta["mlp"], g, p, averages, orthogonalise), averages

    def init(params: PyTree) -> PyTree:
        return DirectionState(gradient_statistics.init(params))

    def step(
        grads: PyTree, state: DirectionState, params: PyTree, loss: None
    ) -> tuple[PyTree, DirectionState]:
        del loss
        steps, statistics = gradient_statistics.map_tensors(rule, params, grads, state.statistics)
        return steps, DirectionState(statistics)

    return transformation(init, step, reads_loss=False)


def with_rate(
    steps: optax.GradientTransformation, learning_rate: optax.ScalarOrSchedule, weight_decay: float | Array
) -> optax.GradientTransformation:
    """``p <- p + lr (step - weight_decay p)`` from steps downhill."""
    return optax.chain(
        steps,
        optax.add_decayed_weights(-weight_decay),
        optax.scale_by_learning_rate(learning_rate, flip_sign=False),
    )


@dataclasses.dataclass(frozen=True)
class Celo2Base:
    """One MLP, 30 -> 8 -> 8 -> 3, gives every parameter its direction; the learning rate is the user's.

    ``p <- p - lr (d / rms(d) + weight_decay p)``, the root mean square taken over the last two axes. It reads
    neither the loss nor the horizon.
    """

    def init(self, key: Array) -> dict[str, PyTree]:
        """Random meta-parameters: ``{"mlp": ...}``, float32, 347 numbers."""
        return {"mlp": mlp.init(key, MLP_SIZES)}

    def trainable(self, theta: dict[str, PyTree], stage: int) -> PyTree:
        """Either stage trains all of theta: there is no scheduler."""
        base.check_stage(stage)
        return base.mask(theta, tuple(theta))

    def optimizer(
        self,
        theta: dict[str, PyTree],
        num_steps: float | Array,
        learning_rate: optax.ScalarOrSchedule = LEARNING_RATE,
        weight_decay: float | Array = 0.0,
    ) -> optax.GradientTransformationExtraArgs:
        """The optimizer with these meta-parameters.

        Args:
            theta: meta-parameters, structured as `init` makes them.
            num_steps: number of steps of the training ahead, at least 1; checked, and not used, as a
                schedule has its own.
            learning_rate: a number, traced or not, or an optax schedule; meta-training uses the default.
            weight_decay: decoupled; multiplied by the learning rate.

        Returns:
            An optax transformation; it ignores ``value=``.

        Raises:
            ValueError: if theta does not fit, or if num_steps or learning_rate is out of range; by
                ``update``, without parameters.
        """
        base.check_theta(self, theta)
        base.check_num_steps(num_steps)
        contract.check_learning_rate(learning_rate)
        rule = scale_by_celo2(theta, orthogonalise=False)
        return contract.in_float32(with_rate(rule, learning_rate, weight_decay))
