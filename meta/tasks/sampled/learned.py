"""The family of sampled trainings of learned optimizers, on sampled perceptrons."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import optax

from celo._core import mlp
from celo.learned import learned_optimizer
from celo.learned.base import Learned, LearnedOptimizer, Theta
from celo.meta.tasks.base import Batch, Loss, Params, Task, pytree, static
from celo.meta.tasks.entry import CompositeEntry
from celo.meta.tasks.layers import check_positive
from celo.meta.tasks.lopt import LearnedOptimizerTraining
from celo.meta.tasks.sampled.distributions import Choice, Configuration, LogFloat, LogInt
from celo.meta.tasks.sampled.family import Family
from celo.meta.tasks.sampled.graph import Dynamic
from celo.meta.tasks.sampled.images import ImageMLPFamily
from celo.meta.tasks.wrapped import inner_label

OPTIMIZERS = ("learnable_adam", "learnable_sgdm", "learnable_sgd", "mlp_lopt", "adafac_mlp")
_SIZED = ("mlp_lopt", "adafac_mlp")
_MULTIPLIER = 1e-3  # of both outputs in `celo.learned`


@dataclasses.dataclass(frozen=True)
class SizedMLP(Learned):
    """An optimizer whose rule is an MLP, with another size and other multipliers of the two outputs.

    The step is ``step_multiplier d exp(magnitude_multiplier m)`` instead of ``0.001 d exp(0.001 m)``.

    Attributes:
        kind: "mlp_lopt" or "adafac_mlp".
        width: units of each hidden layer.
        depth: hidden layers.
        step_multiplier: of the direction d.
        magnitude_multiplier: of the logarithm m of the magnitude.
    """

    kind: str = "mlp_lopt"
    width: int = 32
    depth: int = 2
    step_multiplier: float = _MULTIPLIER
    magnitude_multiplier: float = _MULTIPLIER

    def __post_init__(self) -> None:
        if self.kind not in _SIZED:
            raise ValueError(f"kind is {self.kind!r}; expected one of {', '.join(_SIZED)}")
        check_positive("width", self.width)
        check_positive("depth", self.depth)

    def init(self, key: jax.Array) -> Theta:
        """Draw the meta-parameters."""
        theta = learned_optimizer(self.kind).init(key)
        sizes = (theta["mlp"]["w0"].shape[0], *(self.width,) * self.depth, 2)
        return {**theta, "mlp": mlp.init(key, sizes)}

    def _transformation(self, theta: Theta, horizon: jax.Array) -> optax.GradientTransformationExtraArgs:
        # Multipliers are folded into the last layer, which is linear.
        factors = jnp.asarray([self.step_multiplier, self.magnitude_multiplier], jnp.float32) / _MULTIPLIER
        last = {f"w{self.depth}": factors[None], f"b{self.depth}": factors}
        scaled = {name: x * last[name] if name in last else x for name, x in theta["mlp"].items()}
        rule: Any = learned_optimizer(self.kind)
        return rule._transformation({**theta, "mlp": scaled}, horizon)


@pytree
class SampledLearnedOptimizerTraining(Task):
    """Train a learned optimizer through whole trainings of sampled inner tasks.

    The loss is the mean over a batch of trainings, see `LearnedOptimizerTraining`. Each has an activation and
    an initialiser of its own, drawn from the key of the loss.

    Source: VeLO (Metz et al. 2022, arXiv 2211.09760), appendix C; learned_optimization.

    Attributes:
        task: the inner task, a `SampledTask`.
        learned: configuration of the learned optimizer.
        drawn_by: family of the inner task, which draws what is chosen inside the graph.
        steps: inner steps of a training.
        trainings: trainings per evaluation of the loss.
    """

    task: Any
    learned: LearnedOptimizer = static()
    drawn_by: Family = static()
    steps: int = static()
    trainings: int = static()

    loss_unit = "normalised inner loss"
    examples_first = False

    def __post_init__(self):
        check_positive("steps", self.steps)
        check_positive("trainings", self.trainings)

    @classmethod
    def of(cls, task: Task, name: str, **config: Any) -> "SampledLearnedOptimizerTraining":
        """Build the task on an inner task."""
        return cls(task, label=inner_label(task, name), **config)

    def init(self, key: jax.Array) -> tuple[Params, tuple[()]]:
        """Draw the weights of the learned optimizer; there is no model state."""
        return self.learned.init(key), ()

    def sample(self, key: jax.Array, split: str) -> Any:
        """Draw what decides the inner batches, leading axes trainings and steps."""
        keys = jax.random.split(key, self.trainings)
        return jax.vmap(lambda k: self._training(self.task).sample(k, split))(keys)

    def gather(self, split: str, sample: Any) -> Batch:
        """Make the inner batches, leading axes trainings and steps."""
        return jax.vmap(lambda s: self._training(self.task).gather(split, s))(sample)

    def loss(self, params: Params, model_state: tuple[()], key: jax.Array, batch: Batch) -> Loss:
        """Compute the mean normalised inner loss; aux is empty."""

        def one(key: jax.Array, batch: Batch) -> jax.Array:
            key_dynamic, key_loss = jax.random.split(key)
            inner = dataclasses.replace(self.task, dynamic=self.drawn_by.draw(key_dynamic))
            return self._training(inner).loss(params, (), key_loss, batch)[0]

        losses = jax.vmap(one)(jax.random.split(key, self.trainings), batch)
        return jnp.mean(losses), model_state, {}

    def normalizer(self, loss: jax.Array) -> jax.Array:
        """Normalise as the inner task does."""
        return self.task.normalizer(loss)

    def _training(self, task: Task) -> LearnedOptimizerTraining:
        return LearnedOptimizerTraining(task, self.learned, self.steps)


@dataclasses.dataclass(frozen=True)
class LearnedFamily(Family):
    """Trainings of learned optimizers on sampled perceptrons."""

    optimizer: Choice = Choice(OPTIMIZERS)
    optimizer_width: LogInt = LogInt(2, 512)
    optimizer_depth: LogInt = LogInt(1, 4)
    exp_mult: LogFloat = LogFloat(1e-5, 1.0)
    step_mult: LogFloat = LogFloat(1e-5, 1.0)
    num_steps: LogInt = LogInt(1, 100)
    outer_batch_size: LogInt = LogInt(1, 8)

    inner: ClassVar[ImageMLPFamily]
    """The family of the inner tasks."""

    def configure(self, key: jax.Array) -> dict[str, Any]:
        """Draw a configuration, that of the inner task included."""
        return {**self.inner.configure(key), **super().configure(key)}

    def draw(self, key: jax.Array) -> Dynamic:
        """Draw the scalars of the inner task, of which the share of the training examples is used."""
        return self.inner.draw(key)

    def entry(self, configuration: Configuration, dynamic: Dynamic) -> CompositeEntry:
        """Make the entry of a task."""
        inner = self.inner.entry(configuration, dynamic)
        kind = configuration["optimizer"]
        learned: Any = learned_optimizer(kind)
        if kind in _SIZED:
            sizes = (configuration["optimizer_width"], configuration["optimizer_depth"])
            learned = SizedMLP(kind, *sizes, configuration["step_mult"], configuration["exp_mult"])
        config = {
            "learned": learned,
            "drawn_by": self.inner,
            "steps": configuration["num_steps"],
            "trainings": configuration["outer_batch_size"],
        }
        return CompositeEntry.on("sampled", "", inner, SampledLearnedOptimizerTraining.of, **config)


LearnedFamily.inner = ImageMLPFamily()
