"""An evaluation in words: names and numbers, which can be sent to another machine."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path

from celo._core.names import unknown_name
from celo.evaluation.contestants import contestant
from celo.evaluation.plan import Evaluation
from celo.evaluation.resources import Resources
from celo.evaluation.settings import Settings
from celo.meta.data.cache import cache_folder
from celo.meta.data.catalog import TEXT_DATASETS
from celo.meta.data.source import data_folder
from celo.meta.tasks.registry import find, make


@dataclasses.dataclass(frozen=True)
class Request:
    """What is asked for.

    Attributes:
        folder: of the results.
        tasks: names of tasks.
        optimizers: texts, see `celo.evaluation.contestants.contestant`.
        settings: what all cells share.
        resources: what the work may take.
        data_dir: folder of datasets; None = the variable CELO_DATA, then the hub.
        lm_corpus: corpus of the language models on documents; None = each task's own.
        baselines: where cells of hand-designed optimizers are kept for all evaluations; None = nowhere.
        lm_tokenizer: tokenizer of those on sub-words, a repository on the hub or a file tokenizer.json;
            None = one trained on the corpus.
        skip_missing_data: whether to leave out tasks whose data are not to be had.
    """

    folder: Path
    tasks: tuple[str, ...]
    optimizers: tuple[str, ...]
    settings: Settings = dataclasses.field(default_factory=Settings)
    resources: Resources = dataclasses.field(default_factory=Resources)
    data_dir: Path | None = None
    lm_corpus: str | None = None
    baselines: Path | None = None
    lm_tokenizer: str | None = None
    skip_missing_data: bool = False

    def __post_init__(self) -> None:
        """Checks the names of the tasks, of the corpus, of a tokenizer's file and of the folder of data."""
        for name in self.tasks:
            find(name)
        if self.lm_corpus is not None and self.lm_corpus not in TEXT_DATASETS:
            raise unknown_name("corpus", self.lm_corpus, TEXT_DATASETS)
        tokenizer = self.lm_tokenizer or ""
        if tokenizer.endswith(".json") and not Path(tokenizer).is_file():
            raise FileNotFoundError(f"there is no file {tokenizer} of a tokenizer")
        # Or else a mistyped folder would be data that every task misses, and these may be left out.
        data_folder(self.data_dir)

    def evaluation(self, log: Callable[[str], None] = lambda line: None) -> Evaluation:
        """The evaluation; checkpoints are read, data are not.

        Raises:
            ValueError: an unknown optimizer, labels given twice, a damaged checkpoint.
            FileNotFoundError: a checkpoint that is not there.
        """
        contestants = [contestant(spec, self.settings.grid, self.settings.seed) for spec in self.optimizers]
        # A cache_dir of None is the one that CELO_CACHE names wherever the task is loaded.
        texts = {"lm_corpus": self.lm_corpus, "lm_tokenizer": self.lm_tokenizer}
        tasks = {name: partial(make, name, self.data_dir, None, **texts) for name in self.tasks}
        return Evaluation(
            contestants,
            tasks,
            self.settings,
            self.folder,
            self.baselines,
            log,
            skip_missing_data=self.skip_missing_data,
        )

    def only(self, task: str, optimizer: str) -> Request:
        """The request of one of its cells; the optimizer is given by its text."""
        return dataclasses.replace(self, tasks=(task,), optimizers=(optimizer,))


def default_baselines() -> Path:
    """Where baselines are kept: in the cache folder, that is CELO_CACHE or else ~/.cache/celo."""
    return cache_folder(None) / "baselines"
