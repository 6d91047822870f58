"""RNN-MLP (Metz et al. 2020, arXiv 2009.11243): an LSTM per tensor and an MLP per parameter that talk."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from celo._core import (
    accumulators,
    dense,
    dynamic_clipping,
    loss_normaliser,
    lstm,
    mlp,
    mlp_context,
    tensor_summary,
    time_features,
    wide_mlp,
)
from celo._core.loss_normaliser import LossSpread
from celo._core.tensor_summary import log_magnitude
from celo.learned import base
from celo.learned.base import PyTree
from celo.learned.transformation import transformation

# In float32, as the reference has them: 1 - 0.9999 is then 1.0002e-4, the weight of the newest gradient.
DECAYS = np.asarray((0.5, 0.9, 0.99, 0.999, 0.9999), np.float32)
HIDDEN = 64
FROM_MLP = 16
FROM_LSTM = 18
TO_MLP = 17
NUM_TENSOR_FEATURES = 18
NUM_LSTM_INPUTS = FROM_LSTM + FROM_MLP + NUM_TENSOR_FEATURES
NUM_PARAMETER_FEATURES = 3 + 4 * len(DECAYS)
NUM_CONTEXT = time_features.NUM_TIME_FEATURES + 3 + TO_MLP
MLP_SIZES = (NUM_PARAMETER_FEATURES + NUM_CONTEXT, 32, 32, 2 + FROM_MLP)
STEP_MULTIPLIER = 0.001
MAGNITUDE_MULTIPLIER = 0.001
EPSILON_ROOT = 1e-6
EPSILON_LOG = 1e-8
SHAPE_FEATURES = 4


class RnnMlpState(NamedTuple):
    """State: arrays only.

    Attributes:
        count: () int32, steps done.
        momenta: five trees of first moments, float32.
        second_moments: five trees of second moments, float32.
        lstm: one LSTM state per tensor.
        from_mlp: (tensors, 16) what the MLP of each tensor last told its LSTM.
        from_lstm: (18,) what the LSTMs last told each other.
        loss: running mean and variance of the loss.
        gradient_size: () running size of the gradients, for clipping.
    """

    count: Array  # pyright: ignore[reportIncompatibleMethodOverride]  # optax's name for it
    momenta: tuple[PyTree, ...]
    second_moments: tuple[PyTree, ...]
    lstm: lstm.LSTMState
    from_mlp: Array
    from_lstm: Array
    loss: LossSpread
    gradient_size: Array


def _mean_and_variance(tensors: Sequence[Array]) -> tuple[Array, Array]:
    """Over all entries of arrays of one shape."""
    zero = jnp.zeros((), jnp.float32)
    mean = sum((jnp.mean(x) for x in tensors), zero) / len(tensors)
    return mean, sum((tensor_summary.variance(x, mean) for x in tensors), zero) / len(tensors)


def tensor_features(
    p: Array, g: Array, momenta: Sequence[Array], second_moments: Sequence[Array], losses: Array
) -> Array:
    """The 18 features of a tensor that its LSTM sees besides what it is told.

    Norm of g; scalar or not; mean and sign of the momenta, of the second moments and of p; norm of p; the
    first four sizes of its shape; the losses; variances of momenta, second moments and p. Sizes are
    ``clip(log(1e-8 + |x|), -5, 5)``.

    Args:
        p: parameters before the step, float32.
        g: clipped gradient.
        momenta: five first moments, updated with ``g``.
        second_moments: five second moments, updated with ``g``.
        losses: (2,) normalised losses.

    Returns:
        (18,) features.
    """
    moments = [_mean_and_variance(x) for x in (momenta, second_moments, [p])]
    means, variances = ([pair[i] for pair in moments] for i in range(2))
    norms = [jnp.sqrt(jnp.sum(jnp.square(x))) for x in (g, p)]
    sizes = log_magnitude(jnp.stack([norms[0], *means, norms[1], *variances]))
    signs = jnp.sign(jnp.stack(means))
    is_scalar = jnp.float32(1.0 if p.ndim == 0 else -1.0)
    shape = np.log(np.asarray([*p.shape, *[1] * SHAPE_FEATURES][:SHAPE_FEATURES], np.float32)) - 1.0
    means_and_signs = [x for i in range(3) for x in (sizes[1 + i], signs[i])]
    scalars = jnp.stack([sizes[0], is_scalar, *means_and_signs, sizes[4]])
    return jnp.concatenate([scalars, jnp.asarray(shape, jnp.float32), losses, sizes[5:]])


def parameter_features(
    p: Array, g: Array, momenta: Sequence[Array], second_moments: Sequence[Array]
) -> list[Array]:
    """23 features of each parameter, not normalised: ``g; p; log|p|; m_k; v_k; m_k r_k; r_k``.

    With ``r_k = rsqrt(v_k + 1e-6)`` and k over five decays.
    """
    roots = [jax.lax.rsqrt(v + EPSILON_ROOT) for v in second_moments]
    scaled = [m * r for m, r in zip(momenta, roots, strict=True)]
    return [g, p, jnp.log(jnp.abs(p) + EPSILON_LOG), *momenta, *second_moments, *scaled, *roots]


def apply_mlp(theta: mlp.Weights, inputs: list[Array], context: Array) -> tuple[Array, Array]:
    """Step of one tensor and what its MLP tells the LSTM.

    Args:
        theta: weights of the MLP, 54 -> 32 -> 32 -> 18.
        inputs: as of `parameter_features`.
        context: (31,) the inputs that are the same at every parameter.

    Returns:
        The step and (16,) the mean over the tensor of the last 16 outputs.
    """
    conditioned = mlp_context.condition(theta, context)
    body = {name: conditioned[name] for name in ("w0", "b0", "w1", "b1")}
    hidden = jax.nn.relu(wide_mlp.apply(body, inputs, mlp.inverse_rms(inputs)))
    direction, magnitude = mlp.linear(theta["w2"][:, :2], theta["b2"][:2], list(hidden))
    # The last layer is linear: the mean of its outputs is its output at the mean.
    mean = jnp.mean(hidden, axis=tuple(range(1, hidden.ndim)))
    told = jnp.matmul(mean, theta["w2"][:, 2:], precision="highest") + theta["b2"][2:]
    return STEP_MULTIPLIER * direction * jnp.exp(MAGNITUDE_MULTIPLIER * magnitude), told


@dataclasses.dataclass(frozen=True)
class RnnMlp:
    """An LSTM per tensor whose word to the MLP of its parameters is 17 numbers, and whose answer is 16.

    ``p <- p - 0.001 d exp(0.001 m)``, the two first outputs of the MLP. LSTMs hear of each other through the
    mean over tensors of 18 numbers. Gradients are clipped to ten times their recent size. It reads the loss,
    not the horizon.
    """

    def init(self, key: Array) -> dict[str, PyTree]:
        """Random meta-parameters, float32, about 36,000 numbers."""
        keys = jax.random.split(key, 6)
        return {
            "mlp": mlp.init(keys[0], MLP_SIZES),
            "lstm": lstm.init(keys[1], NUM_LSTM_INPUTS, HIDDEN),
            "initial": lstm.zero_state(HIDDEN)._asdict(),
            "to_mlp": dense.init(keys[2], HIDDEN, TO_MLP),
            "to_lstm": dense.init(keys[3], HIDDEN, FROM_LSTM),
            "from_mlp": mlp.truncated_normal(keys[4], (FROM_MLP,), FROM_MLP),
            "from_lstm": mlp.truncated_normal(keys[5], (FROM_LSTM,), FROM_LSTM),
        }

    def trainable(self, theta: dict[str, PyTree], stage: int) -> PyTree:
        """Either stage trains all of theta: LSTM and MLP mean nothing without each other."""
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
            An optax transformation whose ``update`` takes the scalar training loss as ``value=``.

        Raises:
            ValueError: if theta does not fit or num_steps is below 1; by ``update``, if the parameters or the
                loss are missing.
        """
        base.check_theta(self, theta)
        base.check_num_steps(num_steps)

        def init(params: PyTree) -> PyTree:
            zeros, tensors = base.float32_zeros(params), len(jax.tree.leaves(params))
            return RnnMlpState(
                count=jnp.zeros((), jnp.int32),
                momenta=(zeros,) * len(DECAYS),
                second_moments=(zeros,) * len(DECAYS),
                lstm=tensor_summary.initial_state(theta["initial"], tensors),
                from_mlp=jnp.tile(theta["from_mlp"][None, :], (tensors, 1)),
                from_lstm=theta["from_lstm"],
                loss=loss_normaliser.init(),
                gradient_size=dynamic_clipping.init(),
            )

        def step(grads: PyTree, state: RnnMlpState, params: PyTree, loss: Any) -> tuple[PyTree, RnnMlpState]:
            return _step(theta, grads, state, params, loss)

        return transformation(init, step)


def _step(
    theta: dict[str, PyTree], grads: PyTree, state: RnnMlpState, params: PyTree, loss: Any
) -> tuple[PyTree, RnnMlpState]:
    """One step of all tensors: their averages and features, then the LSTMs, then the MLPs."""
    k, structure = len(DECAYS), jax.tree.structure(params)
    grads, size = dynamic_clipping.clip(state.gradient_size, state.count, jax.tree.map(base.bounded, grads))
    spread = loss_normaliser.update(state.loss, loss)
    # The second is the validation loss, which no training loop gives: the reference then takes it as 0.
    losses = jnp.stack([loss_normaliser.normalise(spread, state.count + 1, x) for x in (loss, 0.0)])

    def observe(p: Array, g: Array, *moments: Array) -> tuple[Array, ...]:
        p = jnp.asarray(p, jnp.float32)
        m = [accumulators.average(x, g, d) for x, d in zip(moments[:k], DECAYS, strict=True)]
        v = [accumulators.average(x, jnp.square(g), d) for x, d in zip(moments[k:], DECAYS, strict=True)]
        return (*m, *v, tensor_features(p, g, m, v, losses))

    old = (*state.momenta, *state.second_moments)
    *moments, seen = base.map_tensors(2 * k + 1, observe, params, grads, *old)
    rows = tensor_summary.stack(jax.tree.leaves(seen), NUM_TENSOR_FEATURES)
    shared = jnp.tile(state.from_lstm[None, :], (rows.shape[0], 1))
    memory = lstm.step(theta["lstm"], jnp.concatenate([shared, state.from_mlp, rows], axis=1), state.lstm)
    words = structure.unflatten(list(dense.apply(theta["to_mlp"], memory.hidden)))
    across = jnp.mean(dense.apply(theta["to_lstm"], memory.hidden), axis=0) if len(rows) else state.from_lstm
    steps, told = base.map_tensors(
        2, _mlp_rule(theta["mlp"], state.count, len(rows)), params, grads, words, *moments
    )
    from_mlp = tensor_summary.stack(jax.tree.leaves(told), FROM_MLP)
    return steps, RnnMlpState(
        state.count + 1, tuple(moments[:k]), tuple(moments[k:]), memory, from_mlp, across, spread, size
    )


def _mlp_rule(theta: mlp.Weights, count: Array, tensors: int) -> Callable[..., tuple[Array, ...]]:
    """The step of one tensor and its word to its LSTM, from the LSTM's word and the moments."""
    time = time_features.sin_features(count)

    def rule(p: Array, g: Array, word: Array, *moments: Array) -> tuple[Array, ...]:
        p, k = jnp.asarray(p, jnp.float32), len(DECAYS)
        norm = jnp.log(jnp.sqrt(jnp.sum(jnp.square(p))) + EPSILON_LOG)
        sizes = jnp.stack([jnp.float32(math.log(tensors) - 1.0), norm, jnp.float32(math.log(p.size))])
        inputs = parameter_features(p, g, moments[:k], moments[k:])
        return apply_mlp(theta, inputs, jnp.concatenate([time, sizes, word]))

    return rule
