"""The plan of a training: its steps, and the evaluations along the way.

`celo.meta.full_training.train` is one call from the first step to the last. `EvaluatedTraining` takes the
same steps from one evaluation to the next, any number per call. The bounds of a call are traced: one program
serves all calls, settings and seeds.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array

from celo.baselines import eval_params
from celo.evaluation.results import SPLITS
from celo.meta.full_training import Position, begin, check_num_steps, draw_samples, evaluate, take_step
from celo.meta.tasks.base import Task

PyTree = Any


class Progress(NamedTuple):
    """The state of a training and what was measured so far; E evaluations, T steps.

    Attributes:
        position: parameters and states.
        loss: (T,) float32 training loss of each step's batch, before that step; 0 for steps not taken yet.
        eta: (T,) float32 step size, see `celo.meta.step_size.step_size`.
        evaluations: by ``{split}_loss``, and ``{split}_accuracy`` where the task has one, (E,) float32.
    """

    position: Position
    loss: Array
    eta: Array
    evaluations: dict[str, Array]


@dataclasses.dataclass(frozen=True)
class EvaluatedTraining:
    """The plan of a training: evaluations before step 0, every ``every`` steps, and after the last.

    The key of a training decides initial parameters, batches and the batches of evaluations; equal keys give
    every optimizer the same problem. Loss curve and final loss are those of `celo.meta.full_training.train`
    and `evaluate_end` with the two halves of that key.

    Attributes:
        num_steps: T, number of steps.
        every: steps from one evaluation to the next.
        batches: batches per evaluation and split.

    Example:
        >>> from celo.baselines import hand_designed
        >>> from celo.meta.tasks import Quadratic
        >>> plan, task, key = EvaluatedTraining(3, every=2), Quadratic.of([1.0]), jax.random.key(0)
        >>> sgd = hand_designed("sgd", 0.5)
        >>> progress = plan.begin(task, sgd, key)
        >>> progress = plan.advance(task, sgd, key, progress, 0, plan.evaluations)
        >>> (progress.loss / progress.loss[0]).tolist()
        [1.0, 0.25, 0.0625]
        >>> plan.steps.tolist()
        [0, 2, 3]
    """

    num_steps: int
    every: int = 10
    batches: int = 5

    def __post_init__(self) -> None:
        """Checks the numbers."""
        check_num_steps(self.num_steps)
        for name in ("every", "batches"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(f"{name} is {value!r}; expected a whole number of at least 1")
        object.__setattr__(self, "every", min(self.every, self.num_steps))

    @property
    def steps(self) -> np.ndarray:
        """(E,) int64 steps taken before each evaluation."""
        return np.append(np.arange(0, self.num_steps, self.every), self.num_steps)

    @property
    def evaluations(self) -> int:
        """E, the number of evaluations."""
        return len(self.steps)

    def begin(self, task: Task, optimizer: optax.GradientTransformation, key: Array) -> Progress:
        """The training of a key before its first step and evaluation."""
        key_init = jax.random.split(_keys(key)[0], 3)[0]
        position = begin(task, optimizer, key_init)
        names = jax.eval_shape(partial(self._evaluate, task), position, key)
        empty = {name: jnp.zeros(self.evaluations, jnp.float32) for name in names}
        zeros = jnp.zeros(self.num_steps, jnp.float32)
        return Progress(position, zeros, zeros, empty)

    def advance(
        self,
        task: Task,
        optimizer: optax.GradientTransformation,
        key: Array,
        progress: Progress,
        first: int | Array,
        last: int | Array,
    ) -> Progress:
        """Make evaluations ``first`` to ``last - 1``, each with the steps up to the next; both may be traced.

        ``progress`` is the training before evaluation ``first``; the result, before evaluation ``last``.
        """
        _, key_batch, key_loss = jax.random.split(_keys(key)[0], 3)
        batch_keys = jax.random.split(key_batch, self.num_steps)
        loss_keys = jax.random.split(key_loss, self.num_steps)

        def block(i: Array, progress: Progress) -> Progress:
            found = self._evaluate(task, progress.position, jax.random.fold_in(_keys(key)[2], i))
            kept = {name: values.at[i].set(found[name]) for name, values in progress.evaluations.items()}
            start = i * self.every
            # In one call for the block: random bits cost mostly their number of calls.
            steps = jnp.minimum(start + jnp.arange(self.every), self.num_steps - 1)
            samples = jax.vmap(lambda k: task.sample(k, "train"))(batch_keys[steps])

            def step(t: Array, at: Progress) -> Progress:
                sample = jax.tree.map(lambda x: x[t - start], samples)
                position, (loss, eta) = take_step(task, optimizer, at.position, sample, loss_keys[t])
                return Progress(position, at.loss.at[t].set(loss), at.eta.at[t].set(eta), at.evaluations)

            stop = jnp.minimum(start + self.every, self.num_steps)
            return jax.lax.fori_loop(start, stop, step, progress._replace(evaluations=kept))

        return jax.lax.fori_loop(jnp.asarray(first, jnp.int32), jnp.asarray(last, jnp.int32), block, progress)

    def final_loss(self, task: Task, key: Array, progress: Progress) -> Array:
        """() float32 mean training loss of ten batches after the last step."""
        params, model_state, opt_state = progress.position
        return evaluate(task, eval_params(opt_state, params), model_state, _keys(key)[1])[0]

    def _evaluate(self, task: Task, position: Position, key: Array) -> dict[str, Array]:
        """Mean loss and accuracy on each split, the model compiled once for all of them."""
        params = eval_params(position.opt_state, position.params)
        keys = map(jax.random.split, jax.random.split(key, len(SPLITS)))
        drawn = [
            (draw_samples(task, key_batch, split, self.batches), jax.random.split(key_loss, self.batches))
            for split, (key_batch, key_loss) in zip(SPLITS, keys, strict=True)
        ]
        gathers = [partial(task.gather, split) for split in SPLITS]

        def one(drawn: tuple[Array, tuple[PyTree, Array]]) -> dict[str, Array]:
            which, (sample, key) = drawn
            batch = jax.lax.switch(which, gathers, sample)
            loss, _, aux = task.loss(params, position.model_state, key, batch)
            return {"loss": loss} | {name: aux[name] for name in ("accuracy",) if name in aux}

        which = jnp.repeat(jnp.arange(len(SPLITS)), self.batches)
        found = jax.lax.map(one, (which, jax.tree.map(lambda *parts: jnp.concatenate(parts), *drawn)))
        return {
            f"{split}_{name}": jnp.mean(values[i * self.batches : (i + 1) * self.batches])
            for name, values in found.items()
            for i, split in enumerate(SPLITS)
        }


def _keys(key: Array) -> tuple[Array, Array, Array]:
    """Keys of the training, of its final loss, and of the evaluations along the way."""
    key_train, key_end = jax.random.split(key)
    return key_train, key_end, jax.random.fold_in(key, 2)
