"""What tasks made of another task share."""

from typing import Any

import jax

from celo.meta.tasks.base import Batch, Label, Loss, ModelState, Params, Task, pytree


def inner_label(task: Task, name: str) -> Label:
    """Label a task made of another one, whose text it reads."""
    return Label(name, task.corpus, task.vocabulary)


@pytree
class Wrapped(Task):
    """A task made of another one, which does what a subclass does not define.

    Attributes:
        task: the other task.
    """

    task: Any

    @property
    def loss_unit(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Unit of the loss of the other task."""
        return self.task.loss_unit

    @property
    def examples_first(self) -> bool:  # pyright: ignore[reportIncompatibleVariableOverride]
        """Whether batches of the other task are examples."""
        return self.task.examples_first

    def init(self, key: jax.Array) -> tuple[Params, ModelState]:
        """Draw the parameters and the model state of the other task."""
        return self.task.init(key)

    def sample(self, key: jax.Array, split: str) -> Any:
        """Draw what decides a batch of the other task."""
        return self.task.sample(key, split)

    def gather(self, split: str, sample: Any) -> Batch:
        """Make a batch of the other task."""
        return self.task.gather(split, sample)

    def loss(self, params: Params, model_state: ModelState, key: jax.Array, batch: Batch) -> Loss:
        """Compute the loss of the other task."""
        return self.task.loss(params, model_state, key, batch)

    def normalizer(self, loss: jax.Array) -> jax.Array:
        """Normalise as the other task does."""
        return self.task.normalizer(loss)
