"""Training a learned optimizer as a task: the parameters are the optimizer's weights."""

from typing import Any

import jax
import jax.numpy as jnp
import optax

from celo.learned import LearnedOptimizer
from celo.meta.tasks.base import Aux, Batch, Label, Params, Task, pytree, static
from celo.meta.tasks.layers import check_positive


@pytree
class LearnedOptimizerTraining:
    """Train an inner task for n steps by an optimizer with weights theta; differentiate through all steps.

    `L(theta) = 1/n sum_t normalizer(l_t)`, with l_t the inner training loss before step t. Every evaluation
    starts from fresh inner parameters, drawn from the key of the loss. Steps are recomputed in the backward
    pass, so that memory holds one state per step.

    Source: the `LOpt_*` tasks of learned_optimization (Metz et al. 2022, arXiv 2203.11860).

    Attributes:
        task: the inner task.
        label: holds the name.
        learned: configuration of the learned optimizer.
        steps: number n of inner steps.

    Example:
        >>> from celo.learned import learned_optimizer
        >>> from celo.meta.tasks import Quadratic
        >>> inner = Quadratic.of([1.0, 2.0])
        >>> task = LearnedOptimizerTraining.of(inner, learned_optimizer("learnable_adam"), steps=5)
        >>> theta, _ = task.init(jax.random.key(0))
        >>> len(theta)
        4
    """

    task: Any
    label: Label = static()
    learned: LearnedOptimizer = static()
    steps: int = static()

    def __post_init__(self):
        check_positive("steps", self.steps)

    @classmethod
    def of(
        cls, task: Task, learned: LearnedOptimizer, steps: int, name: str | None = None
    ) -> "LearnedOptimizerTraining":
        """Build the task on an inner task."""
        made = f"LOpt_{type(learned).__name__}_{task.name}_{steps}"
        return cls(task, Label(name or made), learned, steps)

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.label.text

    def init(self, key: jax.Array) -> tuple[Params, tuple[()]]:
        """Draw the weights of the learned optimizer; there is no model state."""
        return self.learned.init(key), ()

    def sample(self, key: jax.Array, split: str) -> Any:
        """Draw what decides the batches of all inner steps, leading axis steps."""
        return jax.vmap(lambda k: self.task.sample(k, split))(jax.random.split(key, self.steps))

    def gather(self, split: str, sample: Any) -> Batch:
        """Make the batches of all inner steps, leading axis steps."""
        return jax.vmap(lambda s: self.task.gather(split, s))(sample)

    def batch(self, key: jax.Array, split: str) -> Batch:
        """Draw a batch, see `gather`."""
        return self.gather(split, self.sample(key, split))

    def loss(
        self, params: Params, model_state: tuple[()], key: jax.Array, batch: Batch
    ) -> tuple[jax.Array, tuple[()], Aux]:
        """Compute the mean normalised inner loss; aux is empty."""
        key_init, key_steps = jax.random.split(key)
        optimizer = self.learned.optimizer(params, self.steps)
        inner, inner_state = self.task.init(key_init)

        @jax.checkpoint
        def step(carry: tuple[Any, Any, Any], drawn: tuple[Batch, jax.Array]) -> tuple[Any, jax.Array]:
            inner, inner_state, opt_state = carry
            batch, key = drawn

            def objective(inner: Params) -> tuple[jax.Array, Any]:
                loss, new_state, _ = self.task.loss(inner, inner_state, key, batch)
                return loss, new_state

            (loss, inner_state), grads = jax.value_and_grad(objective, has_aux=True)(inner)
            updates, opt_state = optimizer.update(grads, opt_state, inner, value=loss)
            return (optax.apply_updates(inner, updates), inner_state, opt_state), loss

        start = (inner, inner_state, optimizer.init(inner))
        _, losses = jax.lax.scan(step, start, (batch, jax.random.split(key_steps, self.steps)))
        return jnp.mean(self.task.normalizer(losses)), model_state, {}

    def normalizer(self, loss: jax.Array) -> jax.Array:
        """Normalise as the inner task does."""
        return self.task.normalizer(loss)
