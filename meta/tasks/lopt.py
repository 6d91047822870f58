"""Training learned optimizers as tasks: through the whole inner training, and by truncated PES."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.flatten_util import ravel_pytree

from celo.learned import LearnedOptimizer, learned_optimizer
from celo.meta.estimators import PES
from celo.meta.estimators.augmentation import Augmentation
from celo.meta.estimators.horizons import Horizon
from celo.meta.estimators.partition import Parts
from celo.meta.estimators.problem import Draws
from celo.meta.estimators.summary import summarise
from celo.meta.estimators.terms import Terms
from celo.meta.estimators.unroll import InnerTraining
from celo.meta.tasks.base import Batch, Loss, ModelState, Params, Task, pytree, static
from celo.meta.tasks.convnet import CONV_TASKS
from celo.meta.tasks.entry import CompositeEntry, Entry
from celo.meta.tasks.es_wrapped import ESWrapped, with_gradient
from celo.meta.tasks.image_mlp import IMAGE_MLP_TASKS
from celo.meta.tasks.layers import check_positive
from celo.meta.tasks.wrapped import inner_label


@pytree
class LearnedOptimizerTraining(Task):
    """Train an inner task for n steps by an optimizer with weights theta; differentiate through all steps.

    `L(theta) = 1/n sum_t normalizer(l_t)`, with l_t the inner training loss before step t. Every evaluation
    starts from fresh inner parameters, drawn from the key of the loss. Steps are recomputed in the backward
    pass, so that memory holds one state per step.

    Source: the `LOpt_*` tasks of learned_optimization (Metz et al. 2022, arXiv 2203.11860).

    Attributes:
        task: the inner task.
        learned: configuration of the learned optimizer.
        steps: number n of inner steps.

    Example:
        >>> from celo.learned import learned_optimizer
        >>> from celo.meta.tasks import Quadratic
        >>> inner = Quadratic.of([1.0, 2.0])
        >>> task = LearnedOptimizerTraining.of(inner, learned_optimizer("learnable_adam"), steps=5)
        >>> len(task.init(jax.random.key(0))[0])
        4
    """

    task: Any
    learned: LearnedOptimizer = static()
    steps: int = static()

    loss_unit = "normalised inner loss"
    examples_first = False

    def __post_init__(self):
        check_positive("steps", self.steps)

    @classmethod
    def of(
        cls, task: Task, learned: LearnedOptimizer, steps: int, name: str | None = None
    ) -> "LearnedOptimizerTraining":
        """Build the task on an inner task."""
        made = f"LOpt_{type(learned).__name__}_{task.name}_{steps}"
        return cls(task, learned, steps, label=inner_label(task, name or made))

    def init(self, key: jax.Array) -> tuple[Params, tuple[()]]:
        """Draw the weights of the learned optimizer; there is no model state."""
        return self.learned.init(key), ()

    def sample(self, key: jax.Array, split: str) -> Any:
        """Draw what decides the batches of all inner steps, leading axis steps."""
        return jax.vmap(lambda k: self.task.sample(k, split))(jax.random.split(key, self.steps))

    def gather(self, split: str, sample: Any) -> Batch:
        """Make the batches of all inner steps, leading axis steps."""
        return jax.vmap(lambda s: self.task.gather(split, s))(sample)

    def loss(self, params: Params, model_state: tuple[()], key: jax.Array, batch: Batch) -> Loss:
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


@pytree
class PESTraining(Task):
    """Train a learned optimizer on N inner problems of T steps by PES with truncations of K steps.

    The loss is the mean normalised loss over the K steps, both signs of the perturbation and the N problems;
    its gradient is the estimate of `celo.meta.estimators.PES`. The inner problems, half trained, and the
    accumulated perturbations are the model state, so the gradients of successive steps are correlated.

    Source: Vicol et al. 2021 (arXiv 2112.13835); the `LOptPES_*` tasks of learned_optimization (Metz et al.
    2022, arXiv 2203.11860).

    Attributes:
        task: the inner task.
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
    learned: LearnedOptimizer = static()
    problems: int = static()
    horizon: int = static()
    length: int = static()
    sigma: float = static(default=0.01)

    loss_unit = "normalised inner loss"
    examples_first = False

    def __post_init__(self):
        for name in ("problems", "horizon", "length"):
            check_positive(name, getattr(self, name))

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
        return cls(task, learned, problems, horizon, length, label=inner_label(task, name or made))

    @property
    def _estimator(self) -> PES:
        inner = InnerTraining(self.learned, Augmentation(level="none"), Horizon(self.horizon, self.horizon))
        return PES(inner, self.problems, self.length, self.sigma)

    def init(self, key: jax.Array) -> tuple[Params, ModelState]:
        """Draw the weights of the learned optimizer, and the inner problems."""
        key_theta, key_problems = jax.random.split(key)
        theta = self.learned.init(key_theta)
        size, estimator = ravel_pytree(theta)[0].size, self._estimator
        zeros = jnp.zeros(size, jnp.float32)
        thetas = estimator.thetas(_all_trained(theta), Terms(zeros, zeros))

        def begin(key: jax.Array) -> Any:
            return estimator.inner.begin(thetas, self.task, key, _START, offset=True)

        problems = jax.vmap(begin)(jax.random.split(key_problems, self.problems))
        return theta, {"problems": problems, "accumulators": jnp.zeros((self.problems, size), jnp.float32)}

    def sample(self, key: jax.Array, split: str) -> Any:
        """Draw what decides the inner batches, leading axes problems and steps."""
        keys = jax.random.split(key, (self.problems, self.length))
        return jax.vmap(jax.vmap(lambda k: self.task.sample(k, split)))(keys)

    def gather(self, split: str, sample: Any) -> Batch:
        """Make the inner batches, leading axes problems and steps."""
        return jax.vmap(jax.vmap(lambda s: self.task.gather(split, s)))(sample)

    def loss(self, params: Params, model_state: ModelState, key: jax.Array, batch: Batch) -> Loss:
        """Train the inner problems for K more steps; aux is empty."""
        theta, estimator = jax.lax.stop_gradient(params), self._estimator
        inner = estimator.inner

        def one(problem: Any, xi: jax.Array, key: jax.Array, batches: Batch) -> tuple:
            key_noise, key_start, key_loss = jax.random.split(key, 3)
            e = estimator.sigma * jax.random.normal(key_noise, xi.shape, xi.dtype)
            starts = inner.starts(self.task, key_start, self.length, _START)
            keys = jax.random.split(key_loss, self.length)
            vectors = Terms(xi, e)
            thetas = estimator.thetas(_all_trained(theta), vectors)
            problem, steps = inner.unroll(thetas, _Given(self.task), problem, Draws(starts, batches, keys))
            weights = estimator.weigh(steps, estimator.differences(steps))
            gradient = weights.past * xi + weights.new * e
            new_state = {"problems": problem, "accumulators": estimator.remember(vectors, steps)}
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


def _all_trained(theta: Params) -> Parts:
    """Return the parts of theta where all is trained."""
    return Parts(theta, jax.tree.map(lambda _: None, theta))


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


# "Fahion" in the names is the published spelling.
_INNER: dict[str, Entry] = {**IMAGE_MLP_TASKS, **CONV_TASKS}
_FASHION, _CIFAR = "ImageMLP_FashionMnist8_Relu32", "ImageMLP_Cifar10BW8_Relu32"
_CONV8, _CONV16 = "Conv_Cifar10_8_16x32", "Conv_Cifar10_16_32x64x64"


def _composite(
    build: Callable[..., Task], optimizer: str, inner: str, family: str = "lopt", **config: int
) -> CompositeEntry:
    learned = learned_optimizer(optimizer)
    return CompositeEntry.on(family, inner, _INNER[inner], build, learned=learned, **config)


def _by_es(name: str) -> CompositeEntry:
    return CompositeEntry.on("lopt", name, _UNROLLED[name], ESWrapped.of, pairs=4)


_UNROLLED = {
    name: _composite(LearnedOptimizerTraining.of, optimizer, inner, steps=int(name.rpartition("_")[2]))
    for name, optimizer, inner in (
        ("LOpt_MLPLOpt_FahionMnist_10", "mlp_lopt", _FASHION),
        ("LOpt_MLPLOpt_FahionMnist_50", "mlp_lopt", _FASHION),
        ("LOpt_MLPLOpt_FahionMnist_100", "mlp_lopt", _FASHION),
        ("LOpt_MLPLOpt_Cifar10_16_10", "mlp_lopt", _CONV16),
        ("LOpt_MLPLOpt_Cifar10_8_50", "mlp_lopt", _CONV8),
        ("LOpt_AdafacMLPLOpt_Cifar10_8_10", "adafac_mlp", _CONV8),
        ("LOpt_AdafacMLPLOpt_FashionMnist_20", "adafac_mlp", _FASHION),
        ("LOpt_AdafacMLPLOpt_FashionMnist_50", "adafac_mlp", _FASHION),
        ("LOpt_LearnableAdam_Cifar10_8_50", "learnable_adam", _CONV8),
        ("LOpt_LearnableAdam_Cifar10_8_200", "learnable_adam", _CONV8),
    )
}

LOPT_TASKS: dict[str, Entry] = {
    **_UNROLLED,
    "LOpt_ES4_AdafacMLPLOpt_FashionMnist_20": _by_es("LOpt_AdafacMLPLOpt_FashionMnist_20"),
    "LOpt_ES4_LOpt_MLPLOpt_FahionMnist_50": _by_es("LOpt_MLPLOpt_FahionMnist_50"),
    "LOpt_ES4_LOpt_MLPLOpt_Cifar10_16_10": _by_es("LOpt_MLPLOpt_Cifar10_16_10"),
}

# Problems, horizon and truncation of each of the two inner tasks.
_TRUNCATED = ((16, 50, 10), (16, 200, 10), (8, 50, 5), (4, 50, 10), (4, 50, 5))

LOPT_PES_TASKS: dict[str, Entry] = {
    f"LOptPES_Adafac_{data}_OuterBS{n}_Length{horizon}_Trunc{length}": _composite(
        PESTraining.of, "adafac_mlp", inner, "lopt_pes", problems=n, horizon=horizon, length=length
    )
    for data, inner in (("Fashion", _FASHION), ("Cifar", _CIFAR))
    for n, horizon, length in _TRUNCATED
}
