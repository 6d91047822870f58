"""Sampled tasks by how long a step takes: a predictor fitted to measured configurations, and time budgets.

Source: VeLO (Metz et al. 2022, arXiv 2211.09760), appendix C; the published predictor is a deep set, this one
gradient-boosted trees.
"""

import dataclasses
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np

from celo._core.names import lookup
from celo.meta.compile import jit
from celo.meta.tasks.base import Task
from celo.meta.tasks.sampled.distributions import Configuration
from celo.meta.tasks.sampled.names import FAMILIES, PREFIX, configuration_of

TRIES = 512
"""Configurations drawn before a budget is given up."""

_NUMBERS = 10**9  # a name has at most nine digits
_ALWAYS = ("image_mlp", "image_conv", "image_mlp_ae", "image_mlp_vae", "vit")
_SLOWER = ("lm_rnn", "lm_transformer", "image_resnet", "lopt")
_SLOWER_FROM = 1e-4


@dataclasses.dataclass(frozen=True)
class Budgets:
    """Largest seconds per inner step and task, each drawn with its weight; weights need not sum to 1.

    Example:
        >>> PHASE_ONE.probabilities().round(3).tolist()
        [0.591, 0.273, 0.091, 0.045]
    """

    seconds: tuple[float, ...]
    weights: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.seconds) != len(self.weights) or min(self.seconds + self.weights, default=0) <= 0:
            raise ValueError(f"budgets need as many positive seconds as weights, got {self}")

    def probabilities(self) -> np.ndarray:
        """The weights divided by their sum."""
        return np.asarray(self.weights) / sum(self.weights)


PHASE_ONE = Budgets((2e-5, 1e-4, 4e-4, 1e-3), (0.65, 0.3, 0.1, 0.05))
PHASE_TWO = Budgets((1e-4, 4e-4, 1e-3, 3e-3), (0.4, 0.2, 0.2, 0.2))


@dataclasses.dataclass(frozen=True)
class RuntimePredictor:
    """Predicts the seconds of an inner step from a configuration of one family.

    Gradient-boosted trees on the logarithm of the time; numbers enter by their logarithms.
    """

    vectorizer: Any
    trees: Any

    @classmethod
    def fit(cls, configurations: Sequence[Configuration], seconds: Sequence[float]) -> Self:
        """Fit to measured configurations; ValueError unless there are two or more, with positive times."""
        from sklearn.ensemble import GradientBoostingRegressor
        from sklearn.feature_extraction import DictVectorizer

        times = np.asarray(seconds, np.float64)
        if (
            len(times) != len(configurations)
            or len(times) < 2
            or not np.all(np.isfinite(times) & (times > 0))
        ):
            raise ValueError(f"expected two or more positive times, one per configuration; got {times}")
        vectorizer = DictVectorizer(sparse=False)
        inputs = vectorizer.fit_transform([features(each) for each in configurations])
        trees = GradientBoostingRegressor(n_estimators=300, learning_rate=0.05, max_depth=3, random_state=0)
        return cls(vectorizer, trees.fit(inputs, np.log(times)))

    def predict(self, configurations: Sequence[Configuration]) -> np.ndarray:
        """(n,) predicted seconds per inner step and task."""
        inputs = self.vectorizer.transform([features(each) for each in configurations])
        return np.exp(self.trees.predict(inputs))

    def log_error(self, configurations: Sequence[Configuration], seconds: Sequence[float]) -> float:
        """Mean squared error of the logarithm of the time, the published measure."""
        return float(np.mean(np.square(np.log(self.predict(configurations)) - np.log(np.asarray(seconds)))))


def features(configuration: Configuration) -> dict[str, float | str]:
    """A configuration as numbers and words; a tuple gives its length and ``ln(1 + its sum)``."""
    found: dict[str, float | str] = {}
    for name, value in configuration.items():
        if isinstance(value, tuple):
            found |= {name: math.log1p(sum(value)), f"{name}_length": float(len(value))}
        else:
            found[name] = value if isinstance(value, str) else math.log(value + 1e-6)
    return found


def measure_seconds(task: Task, key: jax.Array, tasks: int = 8, steps: int = 10, repeats: int = 5) -> float:
    """Seconds per step and task of training by gradient descent, ``tasks`` at once; the median of repeats.

    The published times are those of 8 tasks and 10 steps, on a TPU v4.
    """

    def step(carry: tuple, key: jax.Array) -> tuple[tuple, jax.Array]:
        params, state = carry

        def objective(params: Any) -> tuple[jax.Array, Any]:
            loss, new_state, _ = task.loss(params, state, key, task.batch(key, "train"))
            return loss, new_state

        (loss, state), slope = jax.value_and_grad(objective, has_aux=True)(params)
        return (jax.tree.map(lambda p, g: p - 1e-3 * g, params, slope), state), loss

    def train(start: tuple, key: jax.Array) -> jax.Array:
        return jnp.mean(jax.lax.scan(step, start, jax.random.split(key, steps))[1])

    keys = jax.random.split(key, tasks)
    starts = jax.block_until_ready(jit(jax.vmap(task.init))(keys))
    run = jit(jax.vmap(train))
    jax.block_until_ready(run(starts, keys))
    elapsed = []
    for _ in range(repeats):
        begin = time.perf_counter()
        jax.block_until_ready(run(starts, keys))
        elapsed.append(time.perf_counter() - begin)
    return float(np.median(elapsed)) / (steps * tasks)


def name_within(
    family: str, key: jax.Array, max_seconds: float, predictor: RuntimePredictor, dataset: str = ""
) -> str:
    """Draw the name of a task whose step is predicted to take less than some seconds.

    ``dataset`` is as in the name. ValueError for an unknown family, or if none of 512 tasks is fast enough.
    """
    lookup("family of sampled tasks", family, FAMILIES)
    suffix = f"@{dataset}" if dataset else ""
    numbers = jax.random.randint(key, (TRIES,), 0, _NUMBERS, jnp.int32).tolist()
    for number in numbers:
        name = f"{PREFIX}{family}/{number}{suffix}"
        if predictor.predict([configuration_of(name)])[0] < max_seconds:
            return name
    raise ValueError(f"none of {TRIES} tasks of {family!r} is predicted to take less than {max_seconds} s")


def draw_name(
    key: jax.Array, budgets: Budgets, predictors: Mapping[str, RuntimePredictor], dataset: str = ""
) -> str:
    """Draw the name of a task: a budget by its weight, a family of it, and a task within the budget.

    Families with a predictor are equally likely; language models, residual networks and learned optimizers
    take part in budgets of 1e-4 s or more. ValueError if none has a predictor.
    """
    key_budget, key_family, key_task = jax.random.split(key, 3)
    weights = jnp.asarray(budgets.probabilities(), jnp.float32)
    budget = budgets.seconds[int(jax.random.choice(key_budget, len(weights), p=weights))]
    names = [*_ALWAYS, *(_SLOWER if budget >= _SLOWER_FROM else ())]
    known = [name for name in names if name in predictors]
    if not known:
        raise ValueError(f"no predictor for any of {', '.join(names)}; got {', '.join(predictors) or 'none'}")
    family = known[int(jax.random.randint(key_family, (), 0, len(known), jnp.int32))]
    return name_within(family, key_task, budget, predictors[family], dataset)
