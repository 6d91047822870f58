"""Training a task from its first step to its last, as a pure function of the optimizer and a random key.

It is one `jax.lax.scan`, so it works under `jax.vmap` over keys, learning rates and meta-parameters. For
truncated training with resets see `celo.meta.estimators.unroll`.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from celo.baselines import eval_params
from celo.meta.step_size import step_size
from celo.meta.tasks.base import Aux, Task

PyTree = Any

SMOOTHING = 0.9
FINAL_BATCHES = 10


class Position(NamedTuple):
    """State of a training: parameters as the optimizer trains them, of the model, and of the optimizer."""

    params: PyTree
    model_state: PyTree
    opt_state: PyTree


class Curve(NamedTuple):
    """One whole training.

    Attributes:
        loss: (num_steps,) float32 training loss of each step's batch, before that step.
        eta: (num_steps,) float32 step size at each step, see `celo.meta.step_size`.
        params: parameters after the last step, as the optimizer trains them; see `evaluate_end`.
        model_state: state of the model after the last step.
        opt_state: state of the optimizer after the last step.
    """

    loss: Array
    eta: Array
    params: PyTree
    model_state: PyTree
    opt_state: PyTree


def check_num_steps(num_steps: int) -> int:
    """Returns ``num_steps`` as an int: the length of a loop, so it cannot be traced.

    TypeError if it is not a whole number, ValueError if it is below 1.
    """
    if isinstance(num_steps, bool) or not isinstance(num_steps, int | np.integer):
        raise TypeError(f"num_steps is {num_steps!r}; expected a whole number of training steps")
    if num_steps < 1:
        raise ValueError(f"num_steps is {num_steps}; expected at least 1")
    return int(num_steps)


def train(task: Task, optimizer: optax.GradientTransformation, key: Array, num_steps: int) -> Curve:
    """Trains a task from fresh parameters.

    The key alone decides initial parameters and batches, so optimizers with equal keys train alike.

    Args:
        task: what to train, see `celo.meta.tasks.base`.
        optimizer: an optax optimizer; its ``update`` gets the loss as ``value=``.
        key: random key.
        num_steps: number of steps.

    Returns:
        Losses, step sizes and the state at the end.

    Raises:
        TypeError: if ``num_steps`` is not a whole number.
        ValueError: if ``num_steps`` is below 1.

    Example:
        >>> from celo.baselines import hand_designed
        >>> from celo.meta.tasks import Quadratic
        >>> curve = train(Quadratic.of([1.0]), hand_designed("sgd", 0.5), jax.random.key(0), num_steps=3)
        >>> (curve.loss / curve.loss[0]).tolist()
        [1.0, 0.25, 0.0625]
    """
    num_steps = check_num_steps(num_steps)
    key_init, key_batch, key_loss = jax.random.split(key, 3)

    def body(position: Position, drawn: tuple[PyTree, Array]) -> tuple[Position, tuple[Array, Array]]:
        return take_step(task, optimizer, position, *drawn)

    drawn = (draw_samples(task, key_batch, "train", num_steps), jax.random.split(key_loss, num_steps))
    position, (loss, eta) = jax.lax.scan(body, begin(task, optimizer, key_init), drawn)
    return Curve(loss, eta, *position)


def begin(task: Task, optimizer: optax.GradientTransformation, key: Array) -> Position:
    """The state before the first step: initial parameters of a random key, and the optimizer's state."""
    params, model_state = task.init(key)
    return Position(params, model_state, optimizer.init(params))


def take_step(
    task: Task, optimizer: optax.GradientTransformation, position: Position, sample: PyTree, key: Array
) -> tuple[Position, tuple[Array, Array]]:
    """One step of a training, on the batch of a `sample`.

    Returns the state after; and () float32 the loss of the batch before the step, and `step_size` after it.
    """
    params, model_state, opt_state = position

    def objective(params: PyTree) -> tuple[Array, PyTree]:
        loss, new_state, _ = task.loss(params, model_state, key, task.gather("train", sample))
        return loss, new_state

    (loss, model_state), grads = jax.value_and_grad(objective, has_aux=True)(params)
    update = optax.with_extra_args_support(optimizer).update
    updates, opt_state = update(grads, opt_state, params, value=loss)
    position = Position(optax.apply_updates(params, updates), model_state, opt_state)
    return position, (loss, step_size(opt_state))


def evaluate(
    task: Task,
    params: PyTree,
    model_state: PyTree,
    key: Array,
    split: str = "train",
    batches: int = FINAL_BATCHES,
) -> tuple[Array, Aux]:
    """Mean loss over some batches of a split, with parameters and model state held fixed.

    Parameters of schedule-free methods are those of `celo.baselines.eval_params`. Returns the () float32 mean
    loss, and the mean of each scalar in the task's aux.
    """
    if batches < 1:
        raise ValueError(f"batches is {batches}; expected at least 1")
    key_batch, key_loss = jax.random.split(key)
    samples = draw_samples(task, key_batch, split, batches)
    return evaluate_on(task, params, model_state, split, samples, jax.random.split(key_loss, batches))


def evaluate_on(
    task: Task, params: PyTree, model_state: PyTree, split: str, samples: PyTree, keys: Array
) -> tuple[Array, Aux]:
    """`evaluate` on given batches: their samples, leading axis batches, and (batches,) keys of the losses."""

    def one(drawn: tuple[PyTree, Array]) -> tuple[Array, Aux]:
        sample, key = drawn
        loss, _, aux = task.loss(params, model_state, key, task.gather(split, sample))
        return loss, aux

    return jax.tree.map(lambda x: jnp.mean(x, axis=0), jax.lax.map(one, (samples, keys)))


def evaluate_end(
    task: Task, curve: Curve, key: Array, split: str = "train", batches: int = FINAL_BATCHES
) -> tuple[Array, Aux]:
    """`evaluate` at the end of a training, at the parameters that its optimizer recommends for evaluation.

    The default is the final loss of the scores: the mean over 10 training batches after the last step.
    """
    params = eval_params(curve.opt_state, curve.params)
    return evaluate(task, params, curve.model_state, key, split, batches)


def draw_samples(task: Task, key: Array, split: str, count: int) -> PyTree:
    """Samples of ``count`` batches, drawn at once: the cost of random bits is mostly the number of calls."""
    return jax.vmap(lambda k: task.sample(k, split))(jax.random.split(key, count))


def smooth(losses: np.typing.ArrayLike, coefficient: float = SMOOTHING) -> np.ndarray:
    """Exponential moving average along the last axis: ``s_0 = L_0``, ``s_t = a s_{t-1} + (1 - a) L_t``.

    A loss that is not finite makes every later average not finite. Returns float64. ValueError if the
    coefficient a, the weight of the past, is outside [0, 1), or there is no step.

    Example:
        >>> smooth([1.0, 0.0, 0.0], 0.5).tolist()
        [1.0, 0.5, 0.25]
    """
    if not 0.0 <= coefficient < 1.0:
        raise ValueError(f"coefficient is {coefficient}; expected 0 <= coefficient < 1")
    averages = np.array(losses, np.float64)
    if averages.ndim == 0 or averages.shape[-1] == 0:
        raise ValueError(f"losses have shape {averages.shape}; expected at least one step in the last axis")
    for t in range(1, averages.shape[-1]):
        averages[..., t] = coefficient * averages[..., t - 1] + (1.0 - coefficient) * averages[..., t]
    return averages
