"""A meta-training as data: what it is, stage by stage, and how a run carries it out."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Annotated, Any, Literal

from celo._core import names
from celo._core.checks import check_fields, whole
from celo._core.names import unknown_name
from celo.learned import LEARNED, learned_optimizer
from celo.learned.base import LearnedOptimizer
from celo.meta.estimators.expert import expert_of
from celo.meta.runs.wandb_tracker import mode_of
from celo.meta.stage import MOST_STEPS, Count, Stage
from celo.meta.tasks import META_TRAINING, check_name


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
    validation_steps: Annotated[int, whole(1, MOST_STEPS)] = 1000
    validation_seeds: Annotated[int, whole(1, 10**4)] = 2
    iterations_per_call: Count = 20

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


@dataclasses.dataclass(frozen=True)
class Settings:
    """How a run is carried out; nothing here changes the result.

    Attributes:
        data_dir: folder of datasets, see `celo.meta.data`; None = $CELO_DATA, then the hub.
        tracker: "wandb", or "jsonl" for metrics.jsonl alone, which every run writes; "none" is another name
            for "jsonl".
        tracker_mode: of wandb: online, offline or disabled; default the variable WANDB_MODE, then online.
        project: wandb project.
        group: wandb group.
        checkpoint_every: meta-iterations between checkpoints; they are written between compiled calls.
        keep: checkpoints kept.
        progress: whether to show a progress bar.
        first_stage: run folder of a finished run of the recipe's first stage alone
            (`celo.meta.Recipe.first_stage`), to take its theta from instead of training that stage again.
    """

    data_dir: str | None = None
    tracker: Literal["jsonl", "wandb", "none"] = "jsonl"
    tracker_mode: Literal["online", "offline", "disabled"] | None = None
    project: str = "celo"
    group: str | None = None
    checkpoint_every: Annotated[int, whole(1, 10**9)] = 200
    keep: Annotated[int, whole(1, 10**6)] = 3
    progress: bool = True
    first_stage: str | None = None

    def __post_init__(self) -> None:
        check_fields(self)
        if self.tracker == "wandb":
            mode_of(self.tracker_mode)
