"""Does it matter how batches are drawn? One task trained with batches in several orders.

Here batches are drawn with replacement. The published curves pass through the data, shuffled anew for every
pass, and their evaluations on training data take the next batches of the same passes: a batch that is judged
was not trained on since the pass before.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp
import numpy as np
import optax
from celo.evaluation.cell import CellResult
from celo.evaluation.loss_units import loss_unit
from jax import Array

from celo.baselines import eval_params, hand_designed
from celo.evaluation.scores import REFERENCE
from celo.meta.compile import jit
from celo.meta.full_training import Position, begin, evaluate_on, take_step
from celo.meta.tasks.base import Task
from celo.meta.tasks.image_data import ImageBatches

Order = Literal["replacement", "passes", "one_stream"]
ORDERS: tuple[Order, ...] = get_args(Order)


@dataclasses.dataclass(frozen=True)
class Schedule:
    """How long a training is, and how often it is judged.

    Attributes:
        steps: of the training, a multiple of ``every``.
        every: steps from one evaluation to the next.
        batches: of an evaluation.
    """

    steps: int = 2000
    every: int = 10
    batches: int = 5

    def __post_init__(self) -> None:
        """Checks the numbers."""
        if self.every < 1 or self.batches < 1 or self.steps < self.every or self.steps % self.every:
            raise ValueError(f"{self} is not possible; expected steps that are a multiple of every")

    @property
    def evaluations(self) -> int:
        """How many evaluations there are: E."""
        return self.steps // self.every + 1


class Rows(NamedTuple):
    """Row numbers of the training data, for E evaluations.

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
        ValueError: an unknown order, or a batch larger than the data.
    """
    if order not in ORDERS:
        raise ValueError(f"order is {order!r}; expected one of {', '.join(ORDERS)}")
    if not 1 <= batch_size <= size:
        raise ValueError(f"batch_size is {batch_size}; expected between 1 and the {size} rows there are")
    stream = _passes(size, batch_size, generator)

    def taken(count: int, from_stream: bool) -> np.ndarray:
        if from_stream:
            return np.stack([next(stream) for _ in range(count)])
        return generator.integers(size, size=(count, batch_size))

    trained, judged = [], [taken(schedule.batches, order == "one_stream")]
    for _ in range(schedule.evaluations - 1):
        trained.append(taken(schedule.every, order != "replacement"))
        judged.append(taken(schedule.batches, order == "one_stream"))
    return Rows(np.stack(trained).astype(np.int32), np.stack(judged).astype(np.int32))


def _passes(size: int, batch_size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    while True:
        order = generator.permutation(size)
        yield from order[: size // batch_size * batch_size].reshape(-1, batch_size)


class Losses(NamedTuple):
    """Losses of a training.

    Attributes:
        steps: (T,) float32 training loss of each step's batch, before that step.
        judged: (E,) float32 mean training loss at each evaluation.
    """

    steps: Array
    judged: Array


def losses_on(task: Task, optimizer: optax.GradientTransformation, key: Array, drawn: Rows) -> Losses:
    """Trains a task on given rows.

    Args:
        task: whose samples are row numbers, as those on images are.
        optimizer: an optax optimizer.
        key: of the initial parameters, and of the losses.
        drawn: the rows.
    """
    key_init, *keys = jax.random.split(key, 3)
    key_steps, key_judged = (
        jax.random.split(each, rows.shape[:2]) for each, rows in zip(keys, drawn, strict=True)
    )

    def judge(position: Position, rows: Array, keys: Array) -> Array:
        params = eval_params(position.opt_state, position.params)
        return evaluate_on(task, params, position.model_state, "train", rows, keys)[0]

    def step(position: Position, given: Any) -> tuple[Position, Array]:
        position, (loss, _) = take_step(task, optimizer, position, *given)
        return position, loss

    def block(position: Position, given: Any) -> tuple[Position, Losses]:
        trained, judged = given
        found = judge(position, *judged)
        position, losses = jax.lax.scan(step, position, trained)
        return position, Losses(losses, found)

    given = ((drawn.trained, key_steps), (drawn.judged[:-1], key_judged[:-1]))
    position, found = jax.lax.scan(block, begin(task, optimizer, key_init), given)
    last = judge(position, jnp.asarray(drawn.judged[-1]), key_judged[-1])
    return Losses(found.steps.reshape(-1), jnp.append(found.judged, last))


def adam_cell(task: Task, rates: Sequence[float], seeds: int, schedule: Schedule, order: Order) -> CellResult:
    """Trains a task with Adam; a seed means equal initial parameters in every order.

    Args:
        task: on images.
        rates: learning rates.
        seeds: trainings of each.
        schedule: of the trainings.
        order: of the batches.

    Returns:
        The trainings, with the last evaluation as the final loss.

    Raises:
        ValueError: the task is not on images, whose rows could be drawn in another order; or as `rows`.
    """
    if not isinstance(task, ImageBatches):
        raise ValueError(f"{task.name} is not on images, whose rows could be drawn in another order")

    @jit
    def program(task: Task, rate: Array, key: Array, drawn: Rows) -> Losses:
        return losses_on(task, hand_designed("adam", rate), key, drawn)

    size, found = int(task.data.splits["train"].size), []
    for seed in range(seeds):
        drawn = rows(order, size, task.batch_size, schedule, np.random.default_rng(seed))
        key = jax.random.key(seed)
        found.append([jax.device_get(program(task, np.float32(rate), key, drawn)) for rate in rates])
    steps, judged = (np.swapaxes([[run[i] for run in own] for own in found], 0, 1) for i in range(2))
    return CellResult(
        task=task.name,
        optimizer=REFERENCE,
        key="",
        learned=False,
        configurations=tuple({"learning_rate": float(rate)} for rate in rates),
        seeds=tuple(range(seeds)),
        num_steps=schedule.steps,
        loss_unit=loss_unit(task.name),
        loss=steps,
        final_loss=judged[..., -1],
        evaluation_steps=np.arange(schedule.evaluations) * schedule.every,
        evaluations={"train_loss": judged},
        eta=None,
        info={},
    )
