"""Meta-training of a learned optimizer by persistent evolution strategies, as a task."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree

from celo.learned import LearnedOptimizer
from celo.meta.estimators import PES
from celo.meta.estimators.antithetic import summarise
from celo.meta.estimators.augmentation import Augmentation
from celo.meta.estimators.horizons import Horizon
from celo.meta.estimators.unroll import InnerTraining
from celo.meta.tasks.base import Aux, Batch, Label, ModelState, Params, Task, pytree, static
from celo.meta.tasks.gradients import with_gradient
from celo.meta.tasks.layers import check_positive


@pytree
class PESTraining:
    """Train a learned optimizer on N inner problems of T steps by PES with truncations of K steps.

    The loss is the mean normalised loss over the K steps, both signs of the perturbation and the N problems;
    its gradient is the estimate of `celo.meta.estimators.PES`. The inner problems, half trained, and the
    accumulated perturbations are the model state, so the gradients of successive steps are correlated.

    Source: Vicol et al. 2021 (arXiv 2112.13835); the `LOptPES_*` tasks of learned_optimization (Metz et al.
    2022, arXiv 2203.11860).

    Attributes:
        task: the inner task.
        label: holds the name.
        learned: configuration of the learned optimizer; all of its weights are trained.
        problems: number N of inner problems.
        horizon: number T of steps of an inner training; they start at random points of it.
        length: number K of inner steps per evaluation.
        sigma: standard deviation of the perturbations.

    Example:
        >>> from celo.learned import learned_optimizer
        >>> from celo.meta.tasks import Quadratic
        >>> inner, learned = Quadratic.of([1.0, 2.0]), learned_optimizer("learnable_adam")
        >>> task = PESTraining.of(inner, learned, problems=4, horizon=20, length=5)
        >>> task.init(jax.random.key(0))[1]["accumulators"].shape
        (4, 4)
    """

    task: Any
    label: Label = static()
    learned: LearnedOptimizer = static()
    problems: int = static()
    horizon: int = static()
    length: int = static()
    sigma: float = static(default=0.01)

    def __post_init__(self):
        check_positive("problems", self.problems)
        check_positive("horizon", self.horizon)
        check_positive("length", self.length)

    @classmethod
    def of(
        cls,
        task: Task,
        learned: LearnedOptimizer,
        problems: int,
        horizon: int,
        length: int,
        name: str | None = None,
    ) -> "PESTraining":
        """Build the task on an inner task."""
        made = f"LOptPES_{type(learned).__name__}_{task.name}_OuterBS{problems}_Length{horizon}_Trunc{length}"
        return cls(task, Label(name or made), learned, problems, horizon, length)

    @property
    def name(self) -> str:
        """Name of the task."""
        return self.label.text

    @property
    def _estimator(self) -> PES:
        inner = InnerTraining(self.learned, Augmentation(level="none"), Horizon(self.horizon, self.horizon))
        return PES(inner, self.problems, self.length, self.sigma)

    def init(self, key: jax.Array) -> tuple[Params, ModelState]:
        """Draw the weights of the learned optimizer, and the inner problems."""
        key_theta, key_problems = jax.random.split(key)
        theta = self.learned.init(key_theta)
        size = ravel_pytree(theta)[0].size
        estimator = self._estimator
        pair = estimator.pair(theta, jnp.zeros(size, jnp.float32))

        def begin(key: jax.Array) -> Any:
            return estimator.inner.begin(pair, _nothing(theta), self.task, key, _START, offset=True)

        problems = jax.vmap(begin)(jax.random.split(key_problems, self.problems))
        return theta, {"problems": problems, "accumulators": jnp.zeros((self.problems, size), jnp.float32)}

    def sample(self, key: jax.Array, split: str) -> Any:
        """Draw what decides the inner batches, leading axes problems and steps."""
        keys = jax.random.split(key, (self.problems, self.length))
        return jax.vmap(jax.vmap(lambda k: self.task.sample(k, split)))(keys)

    def gather(self, split: str, sample: Any) -> Batch:
        """Make the inner batches, leading axes problems and steps."""
        return jax.vmap(jax.vmap(lambda s: self.task.gather(split, s)))(sample)

    def batch(self, key: jax.Array, split: str) -> Batch:
        """Draw a batch, see `gather`."""
        return self.gather(split, self.sample(key, split))

    def loss(
        self, params: Params, model_state: ModelState, key: jax.Array, batch: Batch
    ) -> tuple[jax.Array, ModelState, Aux]:
        """Go on with the inner problems for K steps; aux is empty."""
        theta = jax.lax.stop_gradient(params)
        estimator = self._estimator
        inner = estimator.inner

        def one(problem: Any, xi: jax.Array, key: jax.Array, batches: Batch) -> tuple:
            key_noise, key_start, key_loss = jax.random.split(key, 3)
            e = estimator.sigma * jax.random.normal(key_noise, xi.shape, xi.dtype)
            starts = inner.starts(self.task, key_start, self.length, _START)
            keys = jax.random.split(key_loss, self.length)
            pair, given = estimator.pair(theta, e), _Given(self.task)
            problem, steps = inner.unroll_samples(
                pair, _nothing(theta), given, problem, starts, batches, keys
            )
            weights = estimator.weigh(steps)
            gradient = weights.past * xi + weights.new * e
            new_state = {"problems": problem, "accumulators": estimator.accumulate(weights, e, xi)}
            return gradient, summarise(steps).loss, new_state

        keys = jax.random.split(key, self.problems)
        state = (model_state["problems"], model_state["accumulators"])
        gradients, losses, new_state = jax.vmap(one)(*state, keys, batch)
        gradient = ravel_pytree(theta)[1](jnp.mean(gradients, axis=0))
        return with_gradient(jnp.mean(losses), params, gradient), new_state, {}

    def normalizer(self, loss: jax.Array) -> jax.Array:
        """Leave the loss as it is: a mean of normalised losses."""
        return loss


_START: Any = np.zeros((), np.int32)  # a constant horizon does not depend on the meta-iteration


def _nothing(theta: Params) -> Any:
    """Return the frozen part of theta where all is trained, see `celo.meta.estimators.partition`."""
    return jax.tree.map(lambda _: None, theta)


@dataclasses.dataclass(frozen=True)
class _Given:
    """An inner task whose samples are the batches themselves."""

    task: Any

    def gather(self, split: str, sample: Batch) -> Batch:
        del split
        return sample

    def loss(self, *args: Any) -> Any:
        return self.task.loss(*args)

    def normalizer(self, loss: jax.Array) -> jax.Array:
        return self.task.normalizer(loss)
