"""NN-Adam: an LSTM moves Adam's hyperparameters, tensor by tensor (Metz et al. 2022, arXiv 2203.11860)."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from celo._core import averages, hyperparameters, lstm, parameters, tensors
from celo._core.averages import PyTree
from celo._core.features import log_magnitude, variance
from celo.learned.base import Learned, Theta, transformation

HIDDEN = 64
NUM_INPUTS = 19
NUM_CONTROLS = 4
OUTPUT_SCALE = 0.01
GRADIENT_CLIP = 1000.0
EPSILON_ROOT = 1e-10

# Bounds of the unconstrained learning rate, b1, b2 and epsilon: rates within 1e-8 and 1e3, decays within 0
# and 1 - exp(-10), epsilon within 1e-11 and 1e4.
LOW = np.asarray([np.log(1e-8) / 10, -1.0, -1.0, np.log(1e-11) / 10], np.float32)
HIGH = np.asarray([np.log(1e3) / 10, 0.0, 0.0, np.log(1e4) / 10], np.float32)


class NNAdamState(NamedTuple):
    """State: arrays only.

    Attributes:
        count: () int32, steps done.
        m: first moments, float32, without bias correction.
        v: second moments, float32, without bias correction.
        controls: (tensors, 4) learning rate, b1, b2 and epsilon of each tensor, unconstrained, in the order
            of the tree's leaves; see `adam_hyperparameters`.
        lstm: one LSTM state per tensor.
    """

    count: Array  # pyright: ignore[reportIncompatibleMethodOverride]  # optax's name for it
    m: PyTree
    v: PyTree
    controls: Array
    lstm: lstm.LSTMState


def adam_hyperparameters(controls: Array) -> tuple[Array, Array, Array, Array]:
    """Learning rate, b1, b2 and epsilon from their unconstrained form.

    Args:
        controls: (..., 4), within `LOW` and `HIGH`.

    Returns:
        Four arrays (...).
    """
    rate, b1, b2, epsilon = (controls[..., i] for i in range(NUM_CONTROLS))
    to_decay, to_positive = hyperparameters.to_decay, hyperparameters.to_positive
    return to_positive(rate), to_decay(b1), to_decay(b2), to_positive(epsilon)


def tensor_features(p: Array, g: Array, m: Array, v: Array, controls: Array) -> Array:
    """The 19 inputs of a tensor's LSTM: hyperparameters, rank, and means and variances of g, m, p and v.

    Args:
        p: parameters before the step, float32.
        g: clipped gradient.
        m: first moment, updated with ``g``.
        v: second moment, updated with ``g``.
        controls: (4,) unconstrained hyperparameters that the step used.

    Returns:
        (19,) features.
    """
    rate, b1, b2, epsilon = jnp.clip(controls, -5.0, 5.0) * 0.2
    means = [jnp.mean(x) for x in (g, m, p, v)]
    sizes = 0.5 * log_magnitude(jnp.stack([*means, jnp.mean(jnp.abs(g)), *map(variance, (g, m, p, v))]))
    signs = jnp.sign(jnp.stack(means))
    is_bias, is_scalar = (jnp.float32(1.0 if p.ndim == rank else -1.0) for rank in (1, 0))
    gradient = (sizes[0], signs[0], sizes[4])
    others = (x for i in (1, 2, 3) for x in (sizes[i], signs[i]))
    return jnp.stack([b1, b2, epsilon, is_bias, is_scalar, rate, *gradient, *others, *sizes[5:]])


def _step_tensor(p: Array, g: Array, m: Array, v: Array, controls: Array) -> tuple[Array, ...]:
    """Step, new moments and the LSTM's input of one tensor."""
    p, g = jnp.asarray(p, jnp.float32), parameters.bounded(g, GRADIENT_CLIP)
    rate, b1, b2, epsilon = adam_hyperparameters(controls)
    m, v = averages.average(m, g, b1), averages.average(v, jnp.square(g), b2)
    step = rate * (1.0 + epsilon) / (epsilon + jnp.sqrt(v + EPSILON_ROOT)) * m
    return step, m, v, tensor_features(p, g, m, v, controls)


@dataclasses.dataclass(frozen=True)
class NNAdam(Learned):
    """Adam with a learning rate, decays and an epsilon for each tensor, which an LSTM moves at every step.

    ``p <- p - lr (1 + eps) m / (eps + sqrt(v + 1e-10))`` without bias correction, gradients clipped to
    +-1000; then ``x <- clip(x + 0.01 (C h + b))`` for the unconstrained hyperparameters x of the next step,
    with the output h of the tensor's LSTM. `adam_hyperparameters` of ``state.controls`` gives those of the
    next step. It reads neither the loss nor the horizon.
    """

    def init(self, key: Array) -> Theta:
        """Random meta-parameters, float32, about 22,000 numbers; the controls start at zero: plain Adam."""
        head = lstm.init_dense(key, HIDDEN, NUM_CONTROLS)
        return {
            "lstm": lstm.init(key, NUM_INPUTS, HIDDEN),
            "initial": lstm.zero_state(HIDDEN)._asdict(),
            "controls": jax.tree.map(jnp.zeros_like, head),
            "hyperparameters": {
                "learning_rate": hyperparameters.from_positive(1e-4),
                "b1": hyperparameters.from_decay(0.9),
                "b2": hyperparameters.from_decay(0.999),
                "epsilon": hyperparameters.from_positive(1e-8),
            },
        }

    def _transformation(self, theta: Theta, horizon: Array) -> optax.GradientTransformationExtraArgs:
        del horizon
        names = ("learning_rate", "b1", "b2", "epsilon")
        start = jnp.stack([theta["hyperparameters"][name] for name in names])

        def init(params: PyTree) -> PyTree:
            zeros, count = averages.zeros_like(params), len(jax.tree.leaves(params))
            return NNAdamState(
                jnp.zeros((), jnp.int32),
                zeros,
                zeros,
                jnp.tile(start[None, :], (count, 1)),
                lstm.repeat_state(theta["initial"], count),
            )

        def step(grads: PyTree, state: NNAdamState, params: PyTree, loss: Any) -> tuple[PyTree, NNAdamState]:
            del loss
            controls = jax.tree.structure(params).unflatten(list(state.controls))
            steps, m, v, seen = tensors.map_tensors(
                4, _step_tensor, params, grads, state.m, state.v, controls
            )
            inputs = lstm.stack(jax.tree.leaves(seen), NUM_INPUTS)
            memory = lstm.step(theta["lstm"], inputs, state.lstm)
            moved = state.controls + OUTPUT_SCALE * lstm.dense(theta["controls"], memory.hidden)
            new = jnp.clip(moved, LOW[None, :], HIGH[None, :])
            return steps, NNAdamState(state.count + 1, m, v, new, memory)

        return transformation(init, step)
