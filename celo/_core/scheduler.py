"""Schedulers: LSTMs that set step sizes from the loss and the progress of training.

`SharedScheduler` is Celo's: one step size for all tensors. `TensorScheduler` is VeLO's: an LSTM per tensor,
which sees features of its tensor too. Source: VeLO, arXiv 2211.09760, appendix B, and Celo, arXiv 2501.12670.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple, Protocol

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from celo._core import features, losses, lstm
from celo._core.averages import PyTree, TensorStatistics

HIDDEN = 64
NUM_SHARED = len(losses.PROGRESS_POINTS) + losses.NUM_LOSS_FEATURES
FORMS = ("exp", "linear", "linear_clip")
SCALE = 0.1

RANKS = 5
NUM_TENSOR_FEATURES = 1 + RANKS + 2 * 3
EPSILON_SCALE = 1e-9
LOG_SCALE = 10.0

Theta = dict[str, Any]


class SchedulerState(NamedTuple):
    """LSTM vectors, of shape (hidden,) or (tensors, hidden), and the averages of the loss."""

    lstm: lstm.LSTMState
    loss: losses.LossState


class Observation(NamedTuple):
    """What a scheduler may look at in a step, everything from before the step but the loss.

    Attributes:
        loss: () raw loss of this step.
        count: () steps done before this one.
        num_steps: () horizon in steps.
        params: the parameters.
        statistics: running averages of the gradient; None for a scheduler that does not look at tensors.
    """

    loss: Array
    count: Array
    num_steps: Array
    params: PyTree = None
    statistics: TensorStatistics | None = None


class Scheduler(Protocol):
    """What an update rule knows of its scheduler."""

    def init(self, key: Array) -> Theta:
        """Draws meta-parameters."""
        ...

    def start(self, theta: Theta, params: PyTree, num_steps: Array) -> tuple[SchedulerState | None, Array]:
        """State before the first step, and the step size to show there, () or (tensors,)."""
        ...

    def step(self, theta: Theta, state: Any, seen: Observation) -> tuple[Array, SchedulerState | None]:
        """Step size of this step, () or (tensors,), and the state after it."""
        ...

    def scale(self, eta: Array, steps: PyTree) -> PyTree:
        """The steps of all tensors times their step size."""
        ...


def init(key: Array, inputs: int = NUM_SHARED, hidden: int = HIDDEN) -> Theta:
    """Meta-parameters: two input layers, the LSTM cell, its learned initial state and the step-size head.

    Args:
        key: random key.
        inputs: number of inputs.
        hidden: size of the LSTM.

    Returns:
        A dictionary of float32 arrays; biases and the initial state are zero.
    """
    keys = jax.random.split(key, 4)
    return {
        "mix_relu": lstm.init_dense(keys[0], inputs, hidden),
        "mix_linear": lstm.init_dense(keys[1], inputs, hidden),
        "lstm": lstm.init(keys[2], hidden, hidden),
        "initial": lstm.zero_state(hidden)._asdict(),
        "step_size": lstm.init_dense(keys[3], hidden, 1),
    }


def shared_inputs(state: losses.LossState, count: Array, num_steps: Array) -> Array:
    """The 18 inputs that do not depend on the tensor: nine of progress, nine of the loss."""
    return jnp.concatenate([losses.progress(count, num_steps), losses.features(state)])


def step_size(head: dict[str, Array], hidden: Array, form: str) -> Array:
    """Step size from the LSTM's output ``x = w h + b``.

    Args:
        head: weights of the last layer.
        hidden: (..., hidden) output of the LSTM.
        form: "exp": ``0.1 exp(x)``; "linear": ``0.1 x``; "linear_clip": ``0.1 max(x, 0)``.

    Returns:
        (...) step size.
    """
    x = lstm.dense(head, hidden)[..., 0]
    if form == "exp":
        return SCALE * jnp.exp(x)
    return SCALE * (x if form == "linear" else jnp.maximum(x, 0.0))


class NoScheduler:
    """The step size 1, always: a rule on its own. Its meta-parameters are those of the shared scheduler."""

    def __init__(self, trained: Scheduler):
        self.init = trained.init

    def start(self, theta: Theta, params: PyTree, num_steps: Array) -> tuple[None, Array]:
        """No state, and the step size 1."""
        del theta, params, num_steps
        return None, jnp.ones((), jnp.float32)

    def step(self, theta: Theta, state: Any, seen: Observation) -> tuple[Array, None]:
        """The step size 1."""
        del theta, state, seen
        return jnp.ones((), jnp.float32), None

    def scale(self, eta: Array, steps: PyTree) -> PyTree:
        """The steps as they are."""
        del eta
        return steps


@dataclasses.dataclass(frozen=True)
class SharedScheduler:
    """One LSTM for all tensors.

    With the 18 inputs z: ``x = W3 z + b3 + relu(W2 z + b2)``, ``h, c = LSTM(x, h, c)``, and eta from h as
    `step_size` says.
    """

    form: str = "exp"

    def init(self, key: Array) -> Theta:
        """Meta-parameters, see `init`."""
        return init(key)

    def start(self, theta: Theta, params: PyTree, num_steps: Array) -> tuple[SchedulerState, Array]:
        """The learned initial state and the step size 1."""
        del params
        state = SchedulerState(lstm.LSTMState(**theta["initial"]), losses.init(num_steps))
        return state, jnp.ones((), jnp.float32)

    def step(self, theta: Theta, state: Any, seen: Observation) -> tuple[Array, SchedulerState]:
        """() step size of this step and the state after it."""
        loss = losses.update(state.loss, seen.loss)
        z = shared_inputs(loss, seen.count, seen.num_steps)
        x = lstm.dense(theta["mix_linear"], z) + jax.nn.relu(lstm.dense(theta["mix_relu"], z))
        memory = lstm.step(theta["lstm"], x, state.lstm)
        return step_size(theta["step_size"], memory.hidden, self.form), SchedulerState(memory, loss)

    def scale(self, eta: Array, steps: PyTree) -> PyTree:
        """All steps times eta."""
        return jax.tree.map(lambda s: eta * s, steps)


@dataclasses.dataclass(frozen=True)
class TensorScheduler:
    """One LSTM for every tensor.

    With the 30 inputs z of a tensor: ``x = W3 z + b3 + max over tensors of relu(W2 z + b2)``,
    ``h, c = LSTM(x, h, c)``, and the tensor's eta from h as `step_size` says.
    """

    form: str = "exp"
    hidden: int = HIDDEN

    NUM_INPUTS: ClassVar[int] = NUM_SHARED + NUM_TENSOR_FEATURES

    def init(self, key: Array) -> Theta:
        """Meta-parameters, see `init`."""
        return init(key, self.NUM_INPUTS, self.hidden)

    def start(self, theta: Theta, params: PyTree, num_steps: Array) -> tuple[SchedulerState, Array]:
        """The learned initial state for every tensor, and step sizes of 1."""
        tensors = len(jax.tree.leaves(params))
        state = SchedulerState(lstm.repeat_state(theta["initial"], tensors), losses.init(num_steps))
        return state, jnp.ones((tensors,), jnp.float32)

    def step(self, theta: Theta, state: Any, seen: Observation) -> tuple[Array, SchedulerState]:
        """(tensors,) step sizes of this step and the state after it."""
        hidden, state = self.outputs(theta, state, seen)
        return step_size(theta["step_size"], hidden, self.form), state

    def outputs(self, theta: Theta, state: Any, seen: Observation) -> tuple[Array, SchedulerState]:
        """(tensors, hidden) outputs of the LSTMs, for any heads, and the state after the step."""
        assert seen.statistics is not None
        loss = losses.update(state.loss, seen.loss)
        tensors = all_features(seen.params, seen.statistics)
        shared = shared_inputs(loss, seen.count, seen.num_steps)
        z = jnp.concatenate([jnp.tile(shared[None, :], (tensors.shape[0], 1)), tensors], axis=1)
        # The rectified values are not negative, so the initial value changes nothing where there is a tensor.
        mixed = jnp.max(jax.nn.relu(lstm.dense(theta["mix_relu"], z)), axis=0, keepdims=True, initial=0.0)
        memory = lstm.step(theta["lstm"], lstm.dense(theta["mix_linear"], z) + mixed, state.lstm)
        return memory.hidden, SchedulerState(memory, loss)

    def scale(self, eta: Array, steps: PyTree) -> PyTree:
        """The steps of each tensor times its own eta."""
        return jax.tree.map(jnp.multiply, jax.tree.structure(steps).unflatten(list(eta)), steps)


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
    variances = [features.variance(m) for m in momenta]
    variances += [features.variance(v, around=jnp.mean(m)) for m in momenta]
    sizes = 0.5 * features.log_magnitude(LOG_SCALE * jnp.stack([jnp.mean(v), *variances]))
    rank = jnp.asarray(np.arange(RANKS) == sum(n > 1 for n in p.shape), jnp.float32)
    return jnp.concatenate([sizes[:1], rank, sizes[1:]])


def all_features(params: PyTree, statistics: TensorStatistics) -> Array:
    """`tensor_features` of every tensor of a pytree, (tensors, 12)."""
    leaves, structure = jax.tree.flatten(params)
    momenta = [structure.flatten_up_to(m) for m in statistics.momenta]
    rows = zip(leaves, structure.flatten_up_to(statistics.v), *momenta, strict=True)
    vectors = [tensor_features(jnp.asarray(p, jnp.float32), m, v) for p, v, *m in rows]
    return lstm.stack(vectors, NUM_TENSOR_FEATURES)
