"""What a meta-training is, as data: stages, task families, estimator, outer optimizer; and the presets."""

from __future__ import annotations

import dataclasses
import itertools
import math
from typing import Any

import jax
import optax

from celo._core import names
from celo._core.names import unknown_name
from celo.learned import LEARNED, learned_optimizer
from celo.learned.base import LearnedOptimizer
from celo.meta.estimators import ESTIMATORS, Antithetic
from celo.meta.estimators.augmentation import Augmentation
from celo.meta.estimators.horizons import Constant, Curriculum, Horizon, LogUniform
from celo.meta.estimators.unroll import InnerTraining
from celo.meta.tasks import META_TRAINING, TASKS

# SVHN is not among the local datasets of a small machine; these three are.
LOCAL_FAMILIES = tuple(name for name in META_TRAINING if "Svhn" not in name)
HORIZONS = ("log_uniform", "constant", "curriculum")


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of meta-training.

    Attributes:
        part: which part of theta it trains: 1 = the update rule, 2 = the scheduler, 3 = both at once.
        tasks: names of its task families; () = those of the recipe.
        init: checkpoint it starts from, a path or a name for `celo.load`; "" = the stage before.
        iterations: meta-iterations.
        learning_rate: of AdamW on theta.
        weight_decay: of AdamW, decoupled.
        clip_norm: largest global norm of the meta-gradient; 0 = no clipping.
        schedule: "constant" or "cosine" (to zero over the stage).
        estimator: "pes", "truncated_es" or "full_es".
        problems: inner problems per task family (N).
        truncation: inner steps per meta-iteration (K); full_es unrolls whole trainings instead.
        sigma: standard deviation of the perturbations of theta.
        horizon: "log_uniform" (horizon_low to horizon_high), "constant" (horizon_high) or "curriculum"
            (log-uniform to a bound that grows from 2 horizon_low to horizon_high over the first half of the
            stage).
        horizon_low: shortest inner training, in steps.
        horizon_high: longest inner training, in steps.
        augmentation: level of the task augmentation, see `celo.meta.estimators.augmentation`.
        augmentation_low: smallest tau.
        augmentation_high: largest tau.
    """

    part: int = 1
    tasks: tuple[str, ...] = ()
    init: str = ""
    iterations: int = 100_000
    learning_rate: float = 3e-4
    weight_decay: float = 1e-4
    clip_norm: float = 0.0
    schedule: str = "constant"
    estimator: str = "pes"
    problems: int = 8
    truncation: int = 50
    sigma: float = 0.01
    horizon: str = "log_uniform"
    horizon_low: int = 100
    horizon_high: int = 2000
    augmentation: str = "global"
    augmentation_low: float = 1e-3
    augmentation_high: float = 1e3

    def __post_init__(self) -> None:
        """Checks every field, by building what it describes."""
        if self.part not in (1, 2, 3):
            raise ValueError(f"part is {self.part!r}; expected 1 (update rule), 2 (scheduler) or 3 (both)")
        if self.iterations < 1:
            raise ValueError(f"iterations is {self.iterations}; expected at least 1")
        for name in ("problems", "truncation"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        for name in ("learning_rate", "sigma"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a positive number")
        for name in ("weight_decay", "clip_norm"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; expected 0 or a positive number")
        if self.schedule not in ("constant", "cosine"):
            raise unknown_name("schedule", self.schedule, ("constant", "cosine"))
        if self.estimator not in ESTIMATORS:
            raise unknown_name("estimator", self.estimator, ESTIMATORS)
        self.horizons()
        Augmentation(self.augmentation, self.augmentation_low, self.augmentation_high)

    def horizons(self) -> Horizon:
        """The distribution of horizons."""
        if self.horizon == "log_uniform":
            return LogUniform(self.horizon_low, self.horizon_high)
        if self.horizon == "constant":
            return Constant(self.horizon_high)
        if self.horizon == "curriculum":
            start = min(2 * self.horizon_low, self.horizon_high)
            return Curriculum(self.horizon_low, start, self.horizon_high, max(1, self.iterations // 2))
        raise unknown_name("horizon", self.horizon, HORIZONS)

    def trainable(self, learned: LearnedOptimizer, theta: Any) -> Any:
        """What the stage trains: bools shaped like ``theta``."""
        return jax.tree.map(lambda _: True, theta) if self.part == 3 else learned.trainable(theta, self.part)

    def gradient_estimator(self, learned: LearnedOptimizer, axis: str | None) -> Antithetic:
        """The estimator of the meta-gradient.

        Args:
            learned: the learned optimizer.
            axis: mesh axis the problems are sharded over, None on one device.
        """
        augmentation = Augmentation(self.augmentation, self.augmentation_low, self.augmentation_high)
        inner = InnerTraining(learned, augmentation, self.horizons())
        return ESTIMATORS[self.estimator](inner, self.problems, self.truncation, self.sigma, axis)

    def outer_optimizer(self) -> optax.GradientTransformation:
        """AdamW on theta (0.9, 0.999, eps 1e-8), with the clipping and the schedule of the stage."""
        rate = self.learning_rate
        schedule = optax.cosine_decay_schedule(rate, self.iterations) if self.schedule == "cosine" else rate
        adamw = optax.adamw(schedule, weight_decay=self.weight_decay)
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), adamw) if self.clip_norm else adamw


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A whole meta-training.

    Attributes:
        optimizer: name of the learned optimizer, see `celo.LEARNED`.
        options: its configuration as NAME=VALUE, for example form=linear.
        tasks: names of the task families, see `celo.meta.tasks.TASKS`.
        stage1: the first stage.
        stage2: the second stage.
        stages: how many stages to run, 1 or 2.
        init: checkpoint to start from (a path or a name for `celo.load`); "" = random meta-parameters.
        seed: of everything random.
        validate_every: meta-iterations between meta-validations; 0 = never.
        validation_tasks: names of the validation tasks; () = the task families themselves.
        validation_steps: length of a validation training.
        validation_seeds: validation trainings per task.
        iterations_per_call: meta-iterations in one compiled call.
    """

    optimizer: str = "celo"
    options: tuple[str, ...] = ()
    tasks: tuple[str, ...] = META_TRAINING
    stage1: Stage = Stage(part=1)
    stage2: Stage = Stage(part=2)
    stages: int = 2
    init: str = ""
    seed: int = 0
    validate_every: int = 1000
    validation_tasks: tuple[str, ...] = ()
    validation_steps: int = 1000
    validation_seeds: int = 2
    iterations_per_call: int = 20

    def __post_init__(self) -> None:
        """Checks names and numbers; what they name is checked when it is built."""
        if self.optimizer not in LEARNED:
            raise unknown_name("optimizer", self.optimizer, LEARNED)
        self.learned(self.stage1.part)
        for name in self.task_names():
            if name not in TASKS:
                raise unknown_name("task", name, TASKS)
        if not self.tasks:
            raise ValueError("a recipe needs at least one task family, got none")
        for group in (self.tasks, self.stage1.tasks, self.stage2.tasks, self.validation_tasks):
            if len(set(group)) < len(group):
                raise ValueError(f"a task is named twice: {', '.join(group)}")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed is {self.seed}; expected 0 to 2**32 - 1")
        if self.stages not in (1, 2):
            raise ValueError(f"stages is {self.stages}; expected 1 or 2")
        for name, low in (("validation_steps", 1), ("validation_seeds", 1), ("iterations_per_call", 1)):
            if getattr(self, name) < low:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least {low}")
        if self.validate_every < 0:
            raise ValueError(f"validate_every is {self.validate_every}; expected 0 (never) or more")

    def plan(self) -> tuple[Stage, ...]:
        """The stages to run, in order."""
        return (self.stage1, self.stage2)[: self.stages]

    def ends(self) -> tuple[int, ...]:
        """Meta-iterations of the whole run done at the end of each stage."""
        return tuple(itertools.accumulate(stage.iterations for stage in self.plan()))

    def stage_at(self, step: int) -> int:
        """Number of the stage of a state after so many meta-iterations: at a border, the one that begins."""
        ends = self.ends()
        return next((number for number, end in enumerate(ends) if step < end), len(ends) - 1)

    def learned(self, part: int) -> LearnedOptimizer:
        """The learned optimizer as a stage trains it: without its scheduler in part 1, if it has one.

        Args:
            part: part of theta that the stage trains.

        Raises:
            ValueError: if an option is not of the form NAME=VALUE, or its value is not possible.
            TypeError: if the optimizer has no such option.
        """
        config = dict(map(names.parse_option, self.options))
        if "stage" in config:
            raise ValueError("option 'stage' of the optimizer follows from the part that a stage trains")
        if "stage" in names.options(LEARNED[self.optimizer]):
            config["stage"] = min(part, 2)
        return learned_optimizer(self.optimizer, **config)

    def families(self, number: int) -> tuple[str, ...]:
        """Names of the task families of a stage, counted from 0."""
        return self.plan()[number].tasks or self.tasks

    def checkpoint(self, number: int) -> str:
        """The checkpoint a stage starts from; "" = random for the first, the stage before for the second."""
        return self.plan()[number].init or (self.init if number == 0 else "")

    def task_names(self) -> tuple[str, ...]:
        """Names of all tasks of the recipe."""
        return (*self.tasks, *self.stage1.tasks, *self.stage2.tasks, *self.validation_tasks)

    def config(self) -> dict[str, Any]:
        """The recipe as nested JSON-able dictionaries."""
        return dataclasses.asdict(self)


PRESETS: dict[str, Recipe] = {
    "quick": Recipe(
        tasks=("ImageMLP_Digits8_Relu32_bs64",),
        stage1=Stage(
            1, iterations=1000, learning_rate=1e-3, schedule="cosine", horizon_high=500, problems=16
        ),
        stage2=Stage(2, iterations=500, learning_rate=1e-3, schedule="cosine", horizon_high=500, problems=16),
        validate_every=250,
        validation_steps=500,
    ),
    "cpu": Recipe(
        tasks=LOCAL_FAMILIES,
        stage1=Stage(1, iterations=5000, learning_rate=1e-3, schedule="cosine"),
        stage2=Stage(2, iterations=2500, learning_rate=1e-3, schedule="cosine"),
        validate_every=500,
    ),
    "paper": Recipe(),
}


def preset(name: str) -> Recipe:
    """The recipe of a preset.

    Args:
        name: "quick" (embedded digits, minutes on two cores), "cpu" (three real datasets, hours on two cores)
            or "paper" (the Celo paper: four datasets, 100,000 + 100,000 meta-iterations).

    Raises:
        ValueError: for another name.
    """
    if name not in PRESETS:
        raise unknown_name("preset", name, PRESETS)
    return PRESETS[name]
