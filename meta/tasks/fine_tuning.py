"""Fine-tuning: tasks whose initial parameters Adam has trained on other data."""

from __future__ import annotations

import dataclasses
from typing import Any, Self

import jax
import jax.numpy as jnp
import optax
from jax import Array

from celo.baselines import hand_designed
from celo.meta.tasks.base import ModelState, Params, Task, pytree, static
from celo.meta.tasks.entry import Entry, Folders
from celo.meta.tasks.image_mlp import IMAGE_MLP_TASKS
from celo.meta.tasks.layers import check_positive
from celo.meta.tasks.wrapped import Wrapped, inner_label


@pytree
class FineTuned(Wrapped):
    """A task that starts from parameters that Adam has trained on another one.

    ``init`` draws the parameters of the other task and trains them, so that seeds differ in their trained
    networks too and no file is needed.

    Attributes:
        task: the task, with parameters of the same shapes.
        source: what the parameters were trained on.
        steps: steps of Adam.
        rate: its constant learning rate.
    """

    source: Any
    steps: int = static(default=1000)
    rate: float = static(default=1e-3)

    def __post_init__(self) -> None:
        check_positive("steps", self.steps)
        if not 0 < self.rate < float("inf"):
            raise ValueError(f"rate must be a positive finite number, got {self.rate!r}")

    @classmethod
    def of(cls, task: Task, source: Task, name: str | None = None, **config: Any) -> Self:
        """Build the task; ValueError if the parameters of the two have different shapes."""
        shapes = [jax.eval_shape(t.init, jax.eval_shape(lambda: jax.random.key(0))) for t in (task, source)]
        if shapes[0] != shapes[1]:
            raise ValueError(f"{task.name} and {source.name} have different parameters: {shapes}")
        label = inner_label(task, name or f"FineTuned_{task.name}_from_{source.name}")
        return cls(task, source, **config, label=label)

    def init(self, key: Array) -> tuple[Params, ModelState]:
        """Draw the parameters and the model state of the source, and train them."""
        key_init, key_steps = jax.random.split(key)
        adam = hand_designed("adam", self.rate)

        def step(i: Array, carry: Any) -> Any:
            (params, model_state), state = carry
            key_batch, key_loss = jax.random.split(jax.random.fold_in(key_steps, i))
            batch = self.source.batch(key_batch, "train")

            def loss(params: Params) -> tuple[Array, ModelState]:
                value, new, _ = self.source.loss(params, model_state, key_loss, batch)
                return value, new

            grads, model_state = jax.grad(loss, has_aux=True)(params)
            updates, state = adam.update(grads, state, params)
            return (optax.apply_updates(params, updates), model_state), state

        start = self.source.init(key_init)
        return jax.lax.fori_loop(jnp.int32(0), jnp.int32(self.steps), step, (start, adam.init(start[0])))[0]


@dataclasses.dataclass(frozen=True)
class FineTuningEntry(Entry):
    """The row of a fine-tuning task, made of the rows of the task and of its source.

    Attributes:
        inner: names of the task and of its source.
    """

    inner: tuple[str, str]

    def _pair(self, build: Any) -> tuple[Task, ...]:
        return tuple(build(IMAGE_MLP_TASKS[name], name) for name in self.inner)

    def load(self, folders: Folders) -> tuple[Task, ...]:
        """Make both tasks."""
        return self._pair(lambda entry, name: entry.make(name, folders))

    def blank_data(self) -> tuple[Task, ...]:
        """Make both tasks on data without content."""
        return self._pair(lambda entry, name: entry.blank(name))


def _fine_tuned(target: str, source: str) -> FineTuningEntry:
    def build(pair: tuple[Task, ...], name: str, **config: Any) -> FineTuned:
        return FineTuned.of(*pair, name=name, **config)

    return FineTuningEntry("fine_tuning", IMAGE_MLP_TASKS[target].dataset, build, {}, (target, source))


FINE_TUNING_TASKS: dict[str, Entry] = {
    "FineTuned_ImageMLP_Mnist_Relu128x128_from_FashionMnist": _fine_tuned(
        "ImageMLP_Mnist_Relu128x128", "ImageMLP_FashionMnist_Relu128x128"
    )
}
