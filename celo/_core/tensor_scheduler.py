"""VeLO's scheduler: one LSTM for every tensor, which sees its tensor, the loss and the progress of training.

Celo's scheduler (`celo._core.scheduler`) is what is left of it without the features of tensors: all tensors see
the same there, and one evaluation serves them. Source: VeLO, arXiv 2211.09760, appendix B.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from celo._core import dense, loss_features, lstm, scheduler, tensor_summary
from celo._core.gradient_statistics import TensorStatistics
from celo._core.scheduler import SchedulerState

RANKS = 5
NUM_MOMENTA = 3
NUM_TENSOR_FEATURES = 1 + RANKS + 2 * NUM_MOMENTA
NUM_INPUTS = scheduler.NUM_INPUTS + NUM_TENSOR_FEATURES
EPSILON_SCALE = 1e-9
LOG_SCALE = 10.0


def init(key: Array, hidden: int) -> dict[str, Any]:
    """Meta-parameters, named as `celo._core.scheduler.init` names them, for an LSTM of this size."""
    return scheduler.init(key, NUM_INPUTS, hidden)


def init_state(theta: dict[str, Any], tensors: int, num_steps: Array) -> SchedulerState:
    """State before the first step, its LSTM vectors (tensors, hidden)."""
    return SchedulerState(
        tensor_summary.initial_state(theta["initial"], tensors), loss_features.init(num_steps)
    )


def tensor_features(p: Array, momenta: Sequence[Array], v: Array) -> Array:
    """Twelve features of a tensor: size of v, one-hot of the rank, variances of the momenta and of v.

    Everything is measured in units of the parameters: p, m and v are multiplied by ``rsqrt(max(1e-9, mean
    p^2))`` first. A feature x enters as ``0.5 clip(log(1e-8 + |10 x|), -5, 5)``. The "variance" of v is
    ``mean((v - mean m_k)^2)``, as published weights expect. The rank counts axes longer than 1, and above 4
    no entry of its one-hot is set.

    Args:
        p: parameters, float32.
        momenta: three first moments, before this step's gradient.
        v: second moment, before this step's gradient.

    Returns:
        (12,) features.
    """
    scale = jax.lax.rsqrt(jnp.maximum(EPSILON_SCALE, jnp.mean(jnp.square(p))))
    momenta, v = [m * scale for m in momenta], v * scale
    variances = [tensor_summary.variance(m) for m in momenta]
    variances += [tensor_summary.variance(v, around=jnp.mean(m)) for m in momenta]
    sizes = 0.5 * tensor_summary.log_magnitude(LOG_SCALE * jnp.stack([jnp.mean(v), *variances]))
    rank = jnp.asarray(np.arange(RANKS) == sum(n > 1 for n in p.shape), jnp.float32)
    return jnp.concatenate([sizes[:1], rank, sizes[1:]])


def all_features(params: Any, statistics: TensorStatistics) -> Array:
    """`tensor_features` of every tensor of a pytree, (tensors, 12)."""
    leaves, structure = jax.tree.flatten(params)
    momenta = [structure.flatten_up_to(m) for m in statistics.momenta]
    rows = zip(leaves, structure.flatten_up_to(statistics.v), *momenta, strict=True)
    vectors = [tensor_features(jnp.asarray(p, jnp.float32), m, v) for p, v, *m in rows]
    return tensor_summary.stack(vectors, NUM_TENSOR_FEATURES)


def step(
    theta: dict[str, Any],
    state: SchedulerState,
    tensors: Array,
    loss: Array,
    count: Array,
    num_steps: Array,
) -> tuple[Array, SchedulerState]:
    """One step of the LSTM of every tensor.

    With the 30 inputs z of a tensor: ``x = W3 z + b3 + max over tensors of relu(W2 z + b2)``,
    ``h, c = LSTM(x, h, c)``.

    Args:
        theta: meta-parameters as made by `init`.
        state: state before the step.
        tensors: (tensors, 12) features as of `all_features`.
        loss: () raw loss of this step.
        count: () steps done before this one.
        num_steps: () horizon in steps.

    Returns:
        (tensors, hidden) outputs, for the heads of the optimizer, and the state after the step.
    """
    loss_state = loss_features.update(state.loss, loss)
    shared = scheduler.inputs(loss_state, count, num_steps)
    z = jnp.concatenate([jnp.tile(shared[None, :], (tensors.shape[0], 1)), tensors], axis=1)
    # The rectified values are not negative, so the initial value changes nothing where there is a tensor.
    mixed = jnp.max(jax.nn.relu(dense.apply(theta["mix_relu"], z)), axis=0, keepdims=True, initial=0.0)
    memory = lstm.step(theta["lstm"], dense.apply(theta["mix_linear"], z) + mixed, state.lstm)
    return memory.hidden, SchedulerState(memory, loss_state)
