"""RNN-MLP (Metz et al. 2020, arXiv 2009.11243): an LSTM per tensor and an MLP per parameter that talk."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from celo._core import averages, features, losses, lstm, mlp, parameters, tensors
from celo._core.averages import PyTree
from celo._core.features import log_magnitude
from celo._core.losses import LossSpread
from celo._core.normalisers import inverse_rms
from celo.learned.base import Learned, Theta, transformation

# In float32, as the reference has them: 1 - 0.9999 is then 1.0002e-4, the weight of the newest gradient.
DECAYS = np.asarray((0.5, 0.9, 0.99, 0.999, 0.9999), np.float32)
HIDDEN = 64
FROM_MLP = 16
FROM_LSTM = 18
TO_MLP = 17
NUM_TENSOR_FEATURES = 18
NUM_LSTM_INPUTS = FROM_LSTM + FROM_MLP + NUM_TENSOR_FEATURES
NUM_PARAMETER_FEATURES = 3 + 4 * len(DECAYS)
NUM_CONTEXT = features.NUM_TIME_FEATURES + 3 + TO_MLP
MLP_SIZES = (NUM_PARAMETER_FEATURES + NUM_CONTEXT, 32, 32, 2 + FROM_MLP)
STEP_MULTIPLIER = 0.001
MAGNITUDE_MULTIPLIER = 0.001
EPSILON_ROOT = 1e-6
EPSILON_LOG = 1e-8
SHAPE_FEATURES = 4

CLIP_DECAY = 0.99
CLIP_MULTIPLE = 10.0
CLIP_EPSILON = 1e-8


class RnnMlpState(NamedTuple):
    """State: arrays only.

    Attributes:
        count: () int32, steps done.
        momenta: five trees of first moments, float32.
        second_moments: five trees of second moments, float32.
        lstm: one LSTM state per tensor.
        from_mlp: (tensors, 16) the last message of the MLP of each tensor to its LSTM.
        from_lstm: (18,) the last message of the LSTMs to each other.
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


def clip(size: Array, count: Array, grads: PyTree) -> tuple[PyTree, Array]:
    """Clips the gradients to ten times their recent size, and adds their size to the running size.

    With t gradients seen before and the bias-corrected size ``s = size / (1 - 0.99^(t + 1))``, every entry
    is clipped to ``+-10 s``; then ``size <- 0.99 size + 0.01 sqrt(1e-8 + mean over tensors of mean(g^2))``
    with the clipped gradients.

    Args:
        size: () running size; 0.01 before the first gradient.
        count: () gradients clipped before.
        grads: gradients, any pytree, float32.

    Returns:
        The clipped gradients and the new size.
    """
    limit = CLIP_MULTIPLE * size / (1.0 - CLIP_DECAY ** (count + 1).astype(jnp.float32))
    clipped = jax.tree.map(lambda g: jnp.clip(g, -limit, limit), grads)
    squares = [jnp.mean(jnp.square(g)) for g in jax.tree.leaves(clipped)]
    mean = sum(squares, jnp.zeros((), jnp.float32)) / max(1, len(squares))
    return clipped, CLIP_DECAY * size + (1.0 - CLIP_DECAY) * jnp.sqrt(CLIP_EPSILON + mean)


def _mean_and_variance(tensors: Sequence[Array]) -> tuple[Array, Array]:
    """Over all entries of arrays of one shape."""
    zero = jnp.zeros((), jnp.float32)
    mean = sum((jnp.mean(x) for x in tensors), zero) / len(tensors)
    return mean, sum((features.variance(x, mean) for x in tensors), zero) / len(tensors)


def tensor_features(
    p: Array, g: Array, momenta: Sequence[Array], second_moments: Sequence[Array], normal: Array
) -> Array:
    """The 18 features of a tensor that its LSTM sees besides the messages.

    Norm of g; scalar or not; mean and sign of the momenta, of the second moments and of p; norm of p; the
    first four sizes of its shape; the losses; variances of momenta, second moments and p. Sizes are
    ``clip(log(1e-8 + |x|), -5, 5)``.

    Args:
        p: parameters before the step, float32.
        g: clipped gradient.
        momenta: five first moments, updated with ``g``.
        second_moments: five second moments, updated with ``g``.
        normal: (2,) normalised losses.

    Returns:
        (18,) features.
    """
    moments = [_mean_and_variance(x) for x in (momenta, second_moments, [p])]
    means, variances = ([pair[i] for pair in moments] for i in range(2))
    norms = [features.norm(x) for x in (g, p)]
    sizes = log_magnitude(jnp.stack([norms[0], *means, norms[1], *variances]))
    signs = jnp.sign(jnp.stack(means))
    is_scalar = jnp.float32(1.0 if p.ndim == 0 else -1.0)
    shape = np.log(np.asarray([*p.shape, *[1] * SHAPE_FEATURES][:SHAPE_FEATURES], np.float32)) - 1.0
    means_and_signs = [x for i in range(3) for x in (sizes[1 + i], signs[i])]
    scalars = jnp.stack([sizes[0], is_scalar, *means_and_signs, sizes[4]])
    return jnp.concatenate([scalars, jnp.asarray(shape, jnp.float32), normal, sizes[5:]])


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
    """Step of one tensor and the message of its MLP to the LSTM.

    Args:
        theta: weights of the MLP, 54 -> 32 -> 32 -> 18.
        inputs: as of `parameter_features`.
        context: (31,) the inputs that are the same at every parameter.

    Returns:
        The step and (16,) the mean over the tensor of the last 16 outputs.
    """
    conditioned = mlp.condition(theta, context)
    body = {name: conditioned[name] for name in ("w0", "b0", "w1", "b1")}
    hidden = jax.nn.relu(mlp.apply_wide(body, inputs, inverse_rms(inputs)))
    direction, magnitude = mlp.linear(theta["w2"][:, :2], theta["b2"][:2], list(hidden))
    # The last layer is linear: the mean of its outputs is its output at the mean.
    mean = jnp.mean(hidden, axis=tuple(range(1, hidden.ndim)))
    message = jnp.matmul(mean, theta["w2"][:, 2:], precision="highest") + theta["b2"][2:]
    return STEP_MULTIPLIER * direction * jnp.exp(MAGNITUDE_MULTIPLIER * magnitude), message


@dataclasses.dataclass(frozen=True)
class RnnMlp(Learned):
    """An LSTM per tensor that sends 17 values to the MLP of its parameters and receives 16.

    ``p <- p - 0.001 d exp(0.001 m)``, the two first outputs of the MLP. LSTMs exchange the mean over tensors
    of 18 numbers. Gradients are clipped to ten times their recent size. It reads the loss, not the horizon.
    """

    reads_loss: ClassVar[bool] = True

    def init(self, key: Array) -> Theta:
        """Random meta-parameters, float32, about 36,000 numbers."""
        keys = jax.random.split(key, 6)
        return {
            "mlp": mlp.init(keys[0], MLP_SIZES),
            "lstm": lstm.init(keys[1], NUM_LSTM_INPUTS, HIDDEN),
            "initial": lstm.zero_state(HIDDEN)._asdict(),
            "to_mlp": lstm.init_dense(keys[2], HIDDEN, TO_MLP),
            "to_lstm": lstm.init_dense(keys[3], HIDDEN, FROM_LSTM),
            "from_mlp": mlp.truncated_normal(keys[4], (FROM_MLP,), FROM_MLP),
            "from_lstm": mlp.truncated_normal(keys[5], (FROM_LSTM,), FROM_LSTM),
        }

    def _transformation(self, theta: Theta, horizon: Array) -> optax.GradientTransformationExtraArgs:
        del horizon

        def init(params: PyTree) -> PyTree:
            zeros, tensors = averages.zeros_like(params), len(jax.tree.leaves(params))
            return RnnMlpState(
                count=jnp.zeros((), jnp.int32),
                momenta=(zeros,) * len(DECAYS),
                second_moments=(zeros,) * len(DECAYS),
                lstm=lstm.repeat_state(theta["initial"], tensors),
                from_mlp=jnp.tile(theta["from_mlp"][None, :], (tensors, 1)),
                from_lstm=theta["from_lstm"],
                loss=losses.init_spread(),
                gradient_size=jnp.asarray(1.0 - CLIP_DECAY, jnp.float32),
            )

        def step(grads: PyTree, state: RnnMlpState, params: PyTree, loss: Any) -> tuple[PyTree, RnnMlpState]:
            return _step(theta, grads, state, params, loss)

        return transformation(init, step, self.reads_loss)


def _step(
    theta: Theta, grads: PyTree, state: RnnMlpState, params: PyTree, loss: Any
) -> tuple[PyTree, RnnMlpState]:
    """One step of all tensors: their averages and features, then the LSTMs, then the MLPs."""
    k, structure = len(DECAYS), jax.tree.structure(params)
    grads, size = clip(state.gradient_size, state.count, jax.tree.map(parameters.bounded, grads))
    normal, spread = losses.normalise(state.loss, state.count + 1, loss)

    def observe(p: Array, g: Array, *moments: Array) -> tuple[Array, ...]:
        p = jnp.asarray(p, jnp.float32)
        m = [averages.average(x, g, d) for x, d in zip(moments[:k], DECAYS, strict=True)]
        v = [averages.average(x, jnp.square(g), d) for x, d in zip(moments[k:], DECAYS, strict=True)]
        return (*m, *v, tensor_features(p, g, m, v, normal))

    old = (*state.momenta, *state.second_moments)
    *moments, seen = tensors.map_tensors(2 * k + 1, observe, params, grads, *old)
    rows = lstm.stack(jax.tree.leaves(seen), NUM_TENSOR_FEATURES)
    shared = jnp.tile(state.from_lstm[None, :], (rows.shape[0], 1))
    memory = lstm.step(theta["lstm"], jnp.concatenate([shared, state.from_mlp, rows], axis=1), state.lstm)
    to_mlp = structure.unflatten(list(lstm.dense(theta["to_mlp"], memory.hidden)))
    across = jnp.mean(lstm.dense(theta["to_lstm"], memory.hidden), axis=0) if len(rows) else state.from_lstm
    steps, messages = tensors.map_tensors(
        2, _mlp_rule(theta["mlp"], state.count, len(rows)), params, grads, to_mlp, *moments
    )
    from_mlp = lstm.stack(jax.tree.leaves(messages), FROM_MLP)
    return steps, RnnMlpState(
        state.count + 1, tuple(moments[:k]), tuple(moments[k:]), memory, from_mlp, across, spread, size
    )


def _mlp_rule(theta: mlp.Weights, count: Array, tensors: int) -> Callable[..., tuple[Array, ...]]:
    """The step of one tensor and the message to its LSTM, from the LSTM's message and the moments."""
    time = features.sin_time(count)

    def rule(p: Array, g: Array, message: Array, *moments: Array) -> tuple[Array, ...]:
        p, k = jnp.asarray(p, jnp.float32), len(DECAYS)
        norm = jnp.log(features.norm(p) + EPSILON_LOG)
        sizes = jnp.stack([jnp.float32(math.log(tensors) - 1.0), norm, jnp.float32(math.log(p.size))])
        inputs = parameter_features(p, g, moments[:k], moments[k:])
        return apply_mlp(theta, inputs, jnp.concatenate([time, sizes, message]))

    return rule
