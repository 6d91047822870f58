"""Does the order of batches matter? `python -m scripts.studies.batch_order --tasks NAME --envelope NPZ`.

Trains tasks on images with Adam and batches in three orders, and compares the smoothed training loss with
the published envelope. A seed means the same initial parameters in every order. Here batches are drawn with
replacement. The published curves pass through the data, shuffled anew for every pass, and their evaluations
on training data take the next batches of the same passes: no step trained on a judged batch since the pass
before.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from celo.baselines import eval_params, hand_designed
from celo.evaluation.envelope import read_envelopes
from celo.meta.compile import jit
from celo.meta.full_training import Position, begin, evaluate_on, take_step
from celo.meta.tasks import make
from celo.meta.tasks.base import Task
from celo.meta.tasks.image_data import ImageBatches
from celo.scripts import checks
from celo.scripts.devices import Devices, set_up
from celo.scripts.studies.agreement import Curves, agreement, table

Order = Literal["replacement", "passes", "one_stream"]
ORDERS: dict[Order, str] = {
    "replacement": "with replacement",
    "passes": "passes, judged with replacement",
    "one_stream": "passes, judged on the next batches",
}
EVERY, BATCHES = 10, 5


class Rows(NamedTuple):
    """Row numbers: (E - 1, every, batch) of the steps, (E, batches, batch) of the evaluations."""

    trained: np.ndarray
    judged: np.ndarray


def rows(
    order: Order,
    size: int,
    batch_size: int,
    steps: int,
    generator: np.random.Generator,
    every: int = EVERY,
    batches: int = BATCHES,
) -> Rows:
    """The rows of every batch of a training; the rest of a pass that fills no batch is not used.

    There are ``batches`` batches of an evaluation every ``every`` steps, which divide the steps. The order is
    "replacement", every row drawn from all; "passes", steps pass through shuffled data and evaluations draw
    with replacement; or "one_stream", both take the next batches of the same passes, an evaluation before the
    steps that follow it. ValueError if a batch is larger than the data, or ``every`` does not divide steps.
    """
    if not 1 <= batch_size <= size:
        raise ValueError(f"batch_size is {batch_size}; expected 1 to {size}, the number of rows")
    check_steps(steps, every)
    stream = _passes(size, batch_size, generator)

    def taken(count: int, from_stream: bool) -> np.ndarray:
        if from_stream:
            return np.stack(list(itertools.islice(stream, count)))
        return generator.integers(size, size=(count, batch_size))

    trained, judged = [], [taken(batches, order == "one_stream")]
    for _ in range(steps // every):
        trained.append(taken(every, order != "replacement"))
        judged.append(taken(batches, order == "one_stream"))
    return Rows(np.stack(trained).astype(np.int32), np.stack(judged).astype(np.int32))


def check_steps(steps: int, every: int = EVERY) -> None:
    """Raises ValueError unless evaluations divide the steps."""
    if steps < every or steps % every:
        raise ValueError(f"steps is {steps}; expected a multiple of {every}, the steps between evaluations")


def _passes(size: int, batch_size: int, generator: np.random.Generator) -> Iterator[np.ndarray]:
    while True:
        order = generator.permutation(size)
        yield from order[: size // batch_size * batch_size].reshape(-1, batch_size)


def losses_on(task: Task, optimizer: optax.GradientTransformation, key: Array, drawn: Rows) -> Array:
    """The mean loss (E,) of each evaluation of a training on given rows.

    The samples of the task must be row numbers, as of those on images. The key decides the initial parameters
    and the keys of the losses.
    """
    key_init, key_steps, key_judged = jax.random.split(key, 3)
    key_steps = jax.random.split(key_steps, drawn.trained.shape[:2])
    key_judged = jax.random.split(key_judged, drawn.judged.shape[:2])

    def judge(position: Position, rows: Array, keys: Array) -> Array:
        params = eval_params(position.opt_state, position.params)
        return evaluate_on(task, params, position.model_state, "train", rows, keys)[0]

    def step(position: Position, given: Any) -> tuple[Position, Any]:
        return take_step(task, optimizer, position, *given)

    def block(position: Position, given: Any) -> tuple[Position, Array]:
        trained, judged = given
        return jax.lax.scan(step, position, trained)[0], judge(position, *judged)

    given = ((drawn.trained, key_steps), (drawn.judged[:-1], key_judged[:-1]))
    position, found = jax.lax.scan(block, begin(task, optimizer, key_init), given)
    return jnp.append(found, judge(position, jnp.asarray(drawn.judged[-1]), key_judged[-1]))


def adam_curves(task: Task, rates: Sequence[float], seeds: int, steps: int, order: Order) -> Curves:
    """Trains a task on images with Adam at some learning rates and seeds; ValueError for another task."""
    if not isinstance(task, ImageBatches):
        raise ValueError(f"{task.name} is not on images, so its rows have no other order")

    @jit
    def program(task: Task, rate: Array, key: Array, drawn: Rows) -> Array:
        return losses_on(task, hand_designed("adam", rate), key, drawn)

    size, found = int(task.data.splits["train"].size), []
    for seed in range(seeds):
        drawn = rows(order, size, task.batch_size, steps, np.random.default_rng(seed))
        key = jax.random.key(seed)
        found.append([jax.device_get(program(task, np.float32(rate), key, drawn)) for rate in rates])
    return Curves(task.name, rates, np.arange(0, steps + 1, EVERY), np.swapaxes(np.array(found), 0, 1))


@dataclasses.dataclass(frozen=True)
class Command:
    """Train with Adam and batches in three orders.

    Attributes:
        tasks: names of tasks on images.
        envelope: NPZ file of published envelopes: names (k,), steps (k, n), loss (k, n).
        learning_rates: learning rates of Adam; the table shows the best by the smoothed loss at the end.
        steps: steps of every training.
        seeds: trainings of each rate and order.
        data_dir: folder of datasets; default the variable CELO_DATA, then the hub.
    """

    tasks: tuple[str, ...]
    envelope: Path
    learning_rates: tuple[float, ...] = (1e-3, 3e-3)
    steps: int = 2000
    seeds: int = 12
    data_dir: Path | None = None

    def check(self) -> None:
        """Checks what other commands do not share."""
        check_steps(self.steps)
        if not self.learning_rates or not all(rate > 0 for rate in self.learning_rates):
            raise ValueError(f"learning_rates is {self.learning_rates}; expected positive numbers")

    def run(self) -> None:
        """Trains everything and prints the table."""
        set_up(Devices(host_devices=1))
        envelopes = read_envelopes(self.envelope)
        if unknown := [name for name in self.tasks if name not in envelopes]:
            raise ValueError(f"there is no published envelope of {', '.join(unknown)}")
        found, words = [], []
        for name in self.tasks:
            task = make(name, self.data_dir)
            for order in ORDERS:
                curves = adam_curves(task, self.learning_rates, self.seeds, self.steps, order)
                found.append(agreement(curves, envelopes[name], self.steps))
                words.append(ORDERS[order])
                print(f"{name}, {words[-1]}: {found[-1].ratio:.3f}", file=sys.stderr, flush=True)
        print(table(found, words))


main = checks.program(Command, "batch_order", __doc__)

if __name__ == "__main__":
    sys.exit(main())
