"""What a meta-training is, as data: stages, task families, estimator, outer optimizer."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Annotated, Any, Literal

import jax
import optax

from celo._core import names
from celo._core.checks import Real, check_fields, whole
from celo._core.names import unknown_name
from celo.learned import LEARNED, learned_optimizer
from celo.learned.base import LearnedOptimizer
from celo.meta.estimators import ESTIMATORS, Antithetic
from celo.meta.estimators.augmentation import Augmentation
from celo.meta.estimators.expert import expert_of
from celo.meta.estimators.gradients import GradientAugmentation
from celo.meta.estimators.horizons import Horizon
from celo.meta.estimators.unroll import InnerTraining
from celo.meta.tasks import META_TRAINING, check_name

Trains = Literal["rule", "scheduler", "both"]
# A learned optimizer numbers what it trains: 1 is the update rule, 2 the scheduler.
_NUMBERS = {"rule": 1, "scheduler": 2}
_MOST_STEPS = 10**8
_LINEAR = 1000  # meta-iterations of the linear curriculum of horizons
_Count = Annotated[int, whole(1, 10**6)]
_Positive = Annotated[float, Real("a number above 0", lambda x: x > 0)]
_Probability = Annotated[float, Real("a number in [0, 1]", lambda x: 0 <= x <= 1)]
_NotNegative = Annotated[float, Real("a number of at least 0", lambda x: x >= 0)]


@dataclasses.dataclass(frozen=True)
class Stage:
    """One stage of meta-training.

    Attributes:
        trains: what it trains: "rule" (the update rule, without the scheduler), "scheduler" or "both".
        tasks: names of its task families; () = those of the recipe.
        init: checkpoint it starts from, a path or a name for `celo.load`; "" = the stage before.
        iterations: meta-iterations.
        learning_rate: of AdamW on theta.
        weight_decay: of AdamW, decoupled.
        clip_norm: largest global norm of the meta-gradient; 0 = no clipping.
        schedule: "constant" or "cosine" (to zero over the stage).
        warmup: meta-iterations over which the learning rate first rises linearly; 0 = none.
        average: share of the stage, at its end, over which theta is averaged: the mean is validated, written
            and passed on instead of the last; 0 = no averaging.
        outer: checkpoint of a learned optimizer that moves theta in place of AdamW, a path or a name for
            `celo.load`: its loss is the meta-loss, its horizon the meta-iterations of the stage. Learning
            rate, weight decay, schedule and warmup are AdamW's and not read then. "" = AdamW.
        estimator: "pes", "es_single", "truncated_es", "full_es", "backprop" or "schedule_es".
        objective: "mean" (of the losses over a training), "log" (of their logarithms) or "final" (its last
            loss; for full_es, backprop and schedule_es, the loss after the last step).
        normalize: whether the meta-gradient of each family has norm 1 in the mean over families, so that
            families whose losses differ in scale count alike; for backprop and schedule_es, that of each
            problem.
        problems: inner problems per task family (N).
        truncation: inner steps per meta-iteration (K). full_es, backprop and schedule_es unroll whole
            trainings instead: backprop keeps the state before every K steps, schedule_es changes its shifts.
        sigma: standard deviation of the perturbations of theta, or of the logarithm of step sizes for
            schedule_es; backprop has none.
        horizon: "log_uniform" (horizon_low to horizon_high), "constant" (horizon_high) or "curriculum"
            (log-uniform to a bound that grows from 2 horizon_low to horizon_high, log-linearly over the first
            half of the stage), "linear" (the bound grows linearly over the first 1,000 meta-iterations) or
            "piecewise" (in three straight pieces, over a third of the stage each, by the same factor).
        horizon_low: shortest inner training, in steps.
        horizon_high: longest inner training, in steps.
        expert: an optimizer whose steps are imitated and mixed in at first, see
            `celo.meta.estimators.expert`: "adam", "muon" or "none".
        resume_buffer: probability that a problem that is reset resumes the training stored for it, see
            `celo.meta.estimators.resume_buffer`; 0 = no buffer.
        augmentation: level of the task augmentation, see `celo.meta.estimators.augmentation`.
        augmentation_low: smallest tau.
        augmentation_high: largest tau.
        gradient_augmentation: "none", or "velo": some inner problems have worse gradients, see
            `celo.meta.estimators.gradients`.

    Raises:
        TypeError: a field has another type.
        ValueError: a field is out of range, or two of them contradict each other.
    """

    trains: Trains = "rule"
    tasks: tuple[str, ...] = ()
    init: str = ""
    iterations: Annotated[int, whole(1, 10**9)] = 100_000
    learning_rate: _Positive = 3e-4
    weight_decay: _NotNegative = 1e-4
    clip_norm: _NotNegative = 0.0
    schedule: Literal["constant", "cosine"] = "constant"
    warmup: Annotated[int, whole(0, 10**9)] = 0
    average: _Probability = 0.0
    outer: str = ""
    estimator: Literal["pes", "es_single", "truncated_es", "full_es", "backprop", "schedule_es"] = "pes"
    objective: Literal["mean", "log", "final"] = "mean"
    normalize: bool = False
    problems: Annotated[int, whole(1, 10**5)] = 8
    truncation: _Count = 50
    sigma: _Positive = 0.01
    horizon: Literal["log_uniform", "constant", "curriculum", "linear", "piecewise"] = "log_uniform"
    horizon_low: Annotated[int, whole(1, _MOST_STEPS)] = 100
    horizon_high: Annotated[int, whole(1, _MOST_STEPS)] = 2000
    expert: Literal["none", "adam", "muon"] = "none"
    resume_buffer: _Probability = 0.0
    augmentation: Literal["none", "global", "tensor", "parameter", "mixed"] = "global"
    augmentation_low: _Positive = 1e-3
    augmentation_high: _Positive = 1e3
    gradient_augmentation: Literal["none", "velo"] = "none"

    def __post_init__(self) -> None:
        check_fields(self)
        self.horizons()
        self.augmentations()
        if self.warmup >= self.iterations:
            raise ValueError(
                f"warmup is {self.warmup} and iterations {self.iterations}; expected a shorter warm-up"
            )
        if self.expert != "none" and self.objective != "mean":
            raise ValueError(
                f"expert is {self.expert!r} and objective {self.objective!r}; its meta-loss is a mean over "
                "steps, so choose objective mean or expert none"
            )
        if self.resume_buffer and self.whole_trainings:
            raise ValueError(
                f"resume_buffer is {self.resume_buffer} and estimator {self.estimator!r}, which starts fresh "
                "problems and resets none; choose another estimator or resume_buffer 0"
            )
        if self.expert != "none" and self.estimator in ("backprop", "schedule_es"):
            raise ValueError(
                f"expert is {self.expert!r} and estimator {self.estimator!r}, which imitates none; choose "
                "another estimator or expert none"
            )
        if self.estimator == "schedule_es" and self.trains != "scheduler":
            raise ValueError(
                f"trains is {self.trains!r} and estimator 'schedule_es', which trains schedulers; choose "
                "trains scheduler or another estimator"
            )

    @property
    def whole_trainings(self) -> bool:
        """Whether every meta-iteration trains fresh problems to their ends."""
        return self.estimator in ("full_es", "backprop", "schedule_es")

    def horizons(self) -> Horizon:
        """The distribution of horizons."""
        low, high = self.horizon_low, self.horizon_high
        if self.horizon == "constant":
            return Horizon(high, high)
        if self.horizon == "log_uniform":
            return Horizon(low, high)
        start, count = min(2 * low, high), self.iterations
        if self.horizon == "linear":
            return Horizon(low, high, knots=((0, start), (_LINEAR, high)))
        if self.horizon == "piecewise":
            bounds = [start, *(round(start * (high / start) ** (i / 3)) for i in (1, 2)), high]
            times = [max(i, round(i * count / 3)) for i in range(4)]
            return Horizon(low, high, knots=tuple(zip(times, bounds, strict=True)))
        return Horizon(low, high, start=start, over=max(1, count // 2))

    def augmentations(self) -> Augmentation:
        """The distribution of the scales of the task augmentation."""
        return Augmentation(self.augmentation, self.augmentation_low, self.augmentation_high)

    def trainable(self, learned: LearnedOptimizer, theta: Any) -> Any:
        """What the stage trains: bools shaped like ``theta``."""
        if self.trains == "both":
            return jax.tree.map(lambda _: True, theta)
        return learned.trainable(theta, _NUMBERS[self.trains])

    def gradient_estimator(self, learned: LearnedOptimizer, axis: str | None) -> Antithetic:
        """The estimator of the meta-gradient; ``axis`` is the problems' mesh axis, None on one device."""
        expert = None if self.expert == "none" else expert_of(self.expert, learned, self.iterations)
        gradients = None if self.gradient_augmentation == "none" else GradientAugmentation()
        inner = InnerTraining(learned, self.augmentations(), self.horizons(), expert, gradients)
        kind, settings = ESTIMATORS[self.estimator], (self.problems, self.truncation, self.sigma, axis)
        return kind(inner, *settings, self.objective, self.resume_buffer, self.normalize)

    def averaged_from(self) -> int:
        """Meta-iterations of the stage before those whose theta is averaged."""
        return self.iterations - max(1, round(self.average * self.iterations))

    def adamw(self) -> optax.GradientTransformation:
        """AdamW on theta (0.9, 0.999, eps 1e-8), with the clipping and the schedule of the stage.

        With w meta-iterations of warm-up, update i < w has ``(i + 1) / (w + 1)`` of the learning rate.
        """
        rate, after = self.learning_rate, self.iterations - self.warmup
        schedule = optax.cosine_decay_schedule(rate, after) if self.schedule == "cosine" else rate
        if self.warmup:
            rise = optax.linear_schedule(rate / (self.warmup + 1), rate, self.warmup)
            then = schedule if callable(schedule) else optax.constant_schedule(schedule)
            schedule = optax.join_schedules([rise, then], [self.warmup])
        adamw = optax.adamw(schedule, weight_decay=self.weight_decay)
        return optax.chain(optax.clip_by_global_norm(self.clip_norm), adamw) if self.clip_norm else adamw


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A whole meta-training.

    Attributes:
        optimizer: name of the learned optimizer, see `celo.LEARNED`.
        options: its configuration as NAME=VALUE, for example form=linear.
        tasks: names of the task families, see `celo.meta.tasks.TASKS`, or MODULE:OBJECT for a task of yours.
        stages: the stages, in order; each starts from the theta that the one before ends with.
        init: checkpoint to start from (a path or a name for `celo.load`); "" = random meta-parameters.
        seed: of everything random.
        validate_every: meta-iterations between meta-validations; 0 = never.
        validation_tasks: names of the validation tasks; () = the task families themselves.
        validation_steps: length of a validation training.
        validation_seeds: validation trainings per task.
        iterations_per_call: meta-iterations in one compiled call.

    Raises:
        TypeError: a field has another type.
        ValueError: a field is out of range, or names something that does not exist.

    Example:
        >>> recipe = Recipe(stages=(Stage("rule", iterations=200), Stage("scheduler", iterations=100)))
        >>> recipe.ends()
        (200, 300)
    """

    optimizer: str = "celo"
    options: tuple[str, ...] = ()
    tasks: tuple[str, ...] = META_TRAINING
    stages: tuple[Stage, ...] = (Stage("rule"), Stage("scheduler"))
    init: str = ""
    seed: Annotated[int, whole(0, 2**32 - 1)] = 0
    validate_every: Annotated[int, whole(0, 10**9)] = 1000
    validation_tasks: tuple[str, ...] = ()
    validation_steps: Annotated[int, whole(1, _MOST_STEPS)] = 1000
    validation_seeds: Annotated[int, whole(1, 10**4)] = 2
    iterations_per_call: _Count = 20

    def __post_init__(self) -> None:
        check_fields(self)
        if self.optimizer not in LEARNED:
            raise unknown_name("optimizer", self.optimizer, LEARNED)
        if not self.stages:
            raise ValueError("a recipe needs at least one stage, got none")
        if not self.tasks:
            raise ValueError("a recipe needs at least one task family, got none")
        for stage in self.stages:
            learned = self.learned(stage)
            if stage.expert != "none":
                expert_of(stage.expert, learned, stage.iterations)
        for name in self.task_names():
            check_name(name)
        for group in (self.tasks, self.validation_tasks, *(stage.tasks for stage in self.stages)):
            if len(set(group)) < len(group):
                raise ValueError(f"a task is named twice: {', '.join(group)}")
        if self.ends()[-1] >= 2**31:
            raise ValueError(f"the stages have {self.ends()[-1]} iterations; expected at most {2**31 - 1}")

    def ends(self) -> tuple[int, ...]:
        """Meta-iterations of the whole run done at the end of each stage."""
        return tuple(itertools.accumulate(stage.iterations for stage in self.stages))

    def stage_at(self, step: int) -> int:
        """Index of the stage of a state after some meta-iterations; at a border, of the later stage."""
        ends = self.ends()
        return next((number for number, end in enumerate(ends) if step < end), len(ends) - 1)

    def learned(self, stage: Stage) -> LearnedOptimizer:
        """The learned optimizer as a stage trains it: without its scheduler for the update rule alone.

        ValueError if an option is not of the form NAME=VALUE, or its value is not possible; TypeError for an
        option that the optimizer does not have.
        """
        config = dict(map(names.parse_option, self.options))
        if "stage" in config:
            raise ValueError("option 'stage' of the optimizer follows from what a stage trains")
        if "stage" in names.options(LEARNED[self.optimizer]):
            config["stage"] = 1 if stage.trains == "rule" else 2
        return learned_optimizer(self.optimizer, **config)

    def families(self, number: int) -> tuple[str, ...]:
        """Names of the task families of a stage, by its index."""
        return self.stages[number].tasks or self.tasks

    def checkpoint(self, number: int) -> str:
        """The checkpoint a stage starts from; "" = random for the first, the stage before for the others."""
        return self.stages[number].init or (self.init if number == 0 else "")

    def task_names(self) -> tuple[str, ...]:
        """Names of all tasks of the recipe, each once."""
        groups = (self.tasks, *(stage.tasks for stage in self.stages), self.validation_tasks)
        return tuple(dict.fromkeys(itertools.chain(*groups)))

    def first_stage(self) -> Recipe:
        """The recipe of the first stage alone, without options that it does not read.

        The rule that two recipes train is the same if these are equal, see `Settings.first_stage`.

        Example:
            >>> Recipe(options=("form=linear",)).first_stage() == Recipe().first_stage()
            True
        """
        first, options = self.stages[0], self.options
        if first.trains == "rule":
            unread = getattr(self.learned(first), "scheduler_fields", ())
            options = tuple(option for option in options if names.parse_option(option)[0] not in unread)
        return dataclasses.replace(self, stages=(first,), options=options)

    def change_stages(self, *changes: dict[str, Any]) -> Recipe:
        """The recipe with fields of its first stages changed, in order; a single change is for all stages."""
        each = changes * len(self.stages) if len(changes) == 1 else (*changes, *[{}] * len(self.stages))
        changed = tuple(
            dataclasses.replace(x, **fields) for x, fields in zip(self.stages, each, strict=False)
        )
        return dataclasses.replace(self, stages=changed)

    def config(self) -> dict[str, Any]:
        """The recipe as nested JSON-able dictionaries; stages under "stage1", "stage2" and so on."""
        config = dataclasses.asdict(self)
        # Left out where it is not used, so that runs from before there was an `outer` resume.
        stages = [{k: x for k, x in s.items() if (k, x) != ("outer", "")} for s in config.pop("stages")]
        return config | {"stages": len(stages)} | {f"stage{i}": stage for i, stage in enumerate(stages, 1)}
