"""An evaluation in words: names and numbers, which can be sent to another machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

from celo.names import unknown_name
from evaluation.contestants import contestant
from evaluation.plan import Evaluation
from evaluation.resources import Resources
from evaluation.settings import Settings
from meta.datasets.cache import cache_folder
from meta.datasets.catalog import TEXT_DATASETS
from meta.tasks.base import Task
from meta.tasks.families.language import DocumentTask
from meta.tasks.registry import find


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        folder: of the results.
        tasks: names of tasks.
        optimizers: texts, see `evaluation.contestants.contestant`.
        settings: what all cells share.
        resources: what the work may take.
        data_dir: folder of datasets; None = the variable CELO_DATA, then the hub.
        lm_corpus: corpus of the language models on documents; None = each task's own.
        baselines: where cells of hand-designed optimizers are kept for all evaluations; None = nowhere.
    """

    folder: Path
    tasks: tuple[str, ...]
    optimizers: tuple[str, ...]
    settings: Settings = dataclasses.field(default_factory=Settings)
    resources: Resources = dataclasses.field(default_factory=Resources)
    data_dir: Path | None = None
    lm_corpus: str | None = None
    baselines: Path | None = None

    def __post_init__(self) -> None:
        """Checks the names of the tasks and of the corpus."""
        for name in self.tasks:
            find(name)
        if self.lm_corpus is not None and self.lm_corpus not in TEXT_DATASETS:
            raise unknown_name("corpus", self.lm_corpus, TEXT_DATASETS)

    def evaluation(self, log: Callable[[str], None] = lambda line: None) -> Evaluation:
        """The evaluation; checkpoints are read, data are not.

        Raises:
            ValueError: an unknown optimizer, labels given twice, a damaged checkpoint.
            FileNotFoundError: a checkpoint that is not there.
        """
        contestants = [contestant(spec, self.settings.grid, self.settings.seed) for spec in self.optimizers]
        tasks = {name: partial(load_task, name, self.data_dir, self.lm_corpus) for name in self.tasks}
        return Evaluation(contestants, tasks, self.settings, self.folder, self.baselines, log)

    def only(self, task: str, optimizer: str) -> Request:
        """The request of one of its cells; the optimizer is given by its text."""
        return dataclasses.replace(self, tasks=(task,), optimizers=(optimizer,))


def default_baselines() -> Path:
    """Where baselines are kept: in the cache folder, that is CELO_CACHE or else ~/.cache/celo."""
    return cache_folder(None) / "baselines"


def load_task(name: str, data_dir: Path | None = None, lm_corpus: str | None = None) -> Task:
    """A task by name, its data read.

    Args:
        name: one of `meta.tasks.TASKS`.
        data_dir: folder of datasets.
        lm_corpus: corpus of a language model on documents instead of the task's own; other tasks take no
            notice of it.

    Raises:
        ValueError: an unknown name.
        DatasetNotFoundError: the data are nowhere to be had.
    """
    entry = find(name)
    if lm_corpus is not None and isinstance(entry, DocumentTask):
        entry = entry.reading(corpus=lm_corpus)
    return entry.make(name, {"data_dir": data_dir, "cache_dir": None})
