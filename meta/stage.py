"""One stage of meta-training, as data: what it trains, estimator, horizons, outer optimizer."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any, Literal

import jax
import optax

from celo._core.checks import Real, check_fields, whole
from celo.learned.base import LearnedOptimizer
from celo.meta.estimators import ESTIMATORS, Antithetic
from celo.meta.estimators.augmentation import Augmentation
from celo.meta.estimators.expert import expert_of
from celo.meta.estimators.gradients import GradientAugmentation
from celo.meta.estimators.horizons import Horizon
from celo.meta.estimators.unroll import InnerTraining

Trains = Literal["rule", "scheduler", "both"]
# A learned optimizer numbers what it trains: 1 is the update rule, 2 the scheduler.
_NUMBERS = {"rule": 1, "scheduler": 2}
MOST_STEPS = 10**8
_LINEAR = 1000  # meta-iterations of the linear curriculum of horizons
Count = Annotated[int, whole(1, 10**6)]
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
    truncation: Count = 50
    sigma: _Positive = 0.01
    horizon: Literal["log_uniform", "constant", "curriculum", "linear", "piecewise"] = "log_uniform"
    horizon_low: Annotated[int, whole(1, MOST_STEPS)] = 100
    horizon_high: Annotated[int, whole(1, MOST_STEPS)] = 2000
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
