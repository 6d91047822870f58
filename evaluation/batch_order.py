"""Does it matter how batches are drawn? One task trained with batches in several orders.

Here batches are drawn with replacement. The published curves pass through the data, shuffled anew for every
pass, and their evaluations on training data take the next batches of the same passes: a batch that is judged
was not trained on since the pass before.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from celo.hand_designed import eval_params, hand_designed
from meta.compile import jit
from meta.full_training import begin, take_step
from meta.tasks.base import Task

PyTree = Any
Order = Literal["replacement", "passes", "one_stream"]
ORDERS: tuple[Order, ...] = get_args(Order)


class Schedule(NamedTuple):
    """How long a training is, and how often it is judged.

    Attributes:
        steps: of the training, a multiple of ``every``.
        every: steps from one evaluation to the next.
        batches: of an evaluation.
    """

    steps: int = 2000
    every: int = 10
    batches: int = 5


class Rows(NamedTuple):
    """Row numbers of the training data; E = steps / every + 1.

    Attributes:
        trained: (E - 1, every, batch) of the steps.
        judged: (E, batches, batch) of the evaluations.
    """

    trained: np.ndarray
    judged: np.ndarray


def rows(
    order: Order, size: int, batch_size: int, schedule: Schedule, generator: np.random.Generator
) -> Rows:
    """The rows of every batch of a training.

    Args:
        order: "replacement", every row drawn from all; "passes", steps pass through shuffled data and
            evaluations draw with replacement; "one_stream", both take the next batches of the same passes,
            an evaluation before the steps that follow it.
        size: number of rows there are.
        batch_size: rows of a batch; what is left of a pass that gives no whole batch is not used.
        schedule: of the training.
        generator: of the random numbers.

    Raises:
        ValueError: an unknown order, a batch larger than the data, or steps that are no multiple of every.
    """
    steps, every, batches = schedule
    if order not in ORDERS:
        raise ValueError(f"order is {order!r}; expected one of {', '.join(ORDERS)}")
    if not 1 <= batch_size <= size:
        raise ValueError(f"batch_size is {batch_size}; expected between 1 and the {size} rows there are")
    if every < 1 or batches < 1 or steps < every or steps % every:
        raise ValueError(f"{schedule} is not possible; expected steps that are a multiple of every")
    blocks = steps // every
    stream = _passes(size, batch_size, generator)

    def taken(count: int, from_stream: bool) -> np.ndarray:
        if from_stream:
            return np.stack([next(stream) for _ in range(count)])
        return generator.integers(size, size=(count, batch_size))

    trained, judged = [], []
    for block in range(blocks + 1):
        judged.append(taken(batches, order == "one_stream"))
        if block < blocks:
            trained.append(taken(every, order != "replacement"))
    return Rows(np.stack(trained).astype(np.int32), np.stack(judged).astype(np.int32))


def _passes(size: int, batch_size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    while True:
        order = generator.permutation(size)
        yield from order[: size // batch_size * batch_size].reshape(-1, batch_size)


def judged_losses(task: Task, optimizer: optax.GradientTransformation, key: Array, drawn: Rows) -> Array:
    """Trains a task on given rows; its mean training loss at every evaluation.

    Args:
        task: whose samples are row numbers, as those on images are.
        optimizer: an optax optimizer.
        key: of the initial parameters, and of the losses.
        drawn: the rows.

    Returns:
        (E,) float32.
    """
    key_init, key_loss = jax.random.split(key)

    def judge(position: Any, rows: Array, key: Array) -> Array:
        params = eval_params(position.opt_state, position.params)

        def loss(row: Array) -> Array:
            return task.loss(params, position.model_state, key, task.gather("train", row))[0]

        return jnp.mean(jax.lax.map(loss, rows))

    def block(position: Any, given: Any) -> tuple[Any, Array]:
        judged, trained, key = given
        found = judge(position, judged, key)

        def step(position: Any, row: Array) -> tuple[Any, None]:
            return take_step(task, optimizer, position, row, key)[0], None

        return jax.lax.scan(step, position, trained)[0], found

    keys = jax.random.split(key_loss, len(drawn.judged))
    start = begin(task, optimizer, key_init)
    position, losses = jax.lax.scan(block, start, (drawn.judged[:-1], drawn.trained, keys[:-1]))
    return jnp.append(losses, judge(position, drawn.judged[-1], keys[-1]))


def adam_losses(
    task: Task, size: int, batch_size: int, rates: list[float], seeds: int, schedule: Schedule, order: Order
) -> np.ndarray:
    """Adam's training losses at every evaluation.

    Seeds mean equal initial parameters in every order.

    Args:
        task: what to train.
        size: number of rows of its training data.
        batch_size: of its batches.
        rates: learning rates.
        seeds: trainings of each.
        schedule: of the trainings.
        order: of the batches.

    Returns:
        (rates, seeds, E) float32.
    """

    def trained(task: Task, rate: Array, key: Array, drawn: Rows) -> Array:
        return judged_losses(task, hand_designed("adam", rate), key, drawn)

    program, found = jit(trained), np.empty((len(rates), seeds, schedule.steps // schedule.every + 1))
    for seed in range(seeds):
        drawn = rows(order, size, batch_size, schedule, np.random.default_rng(seed))
        for i, rate in enumerate(rates):
            found[i, seed] = program(task, np.float32(rate), jax.random.key(seed), drawn)
    return found
