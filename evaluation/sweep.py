"""What is requested: the trainings of every optimizer on every task, each with the key of its row."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax

from celo._core.names import unknown_name
from celo.evaluation.grids import GRIDS
from celo.evaluation.makers import source_digest
from celo.evaluation.optimizers import Optimizer, parse
from celo.evaluation.plan import EvaluatedTraining
from celo.evaluation.requested import Meaning, Pair, Requested, check_folder
from celo.evaluation.results import PROTOCOL, ROWS
from celo.meta.data.cache import cache_folder
from celo.meta.data.catalog import TEXT_DATASETS
from celo.meta.data.errors import DatasetNotFoundError
from celo.meta.data.source import data_folder
from celo.meta.runs.fingerprint import fingerprint
from celo.meta.runs.provenance import provenance
from celo.meta.tasks import check_name, make
from celo.meta.tasks.base import Task

_LIMITS = {
    "steps": (1, 10**7),
    "seeds": (1, 10**4),
    "seed": (0, 2**32 - 1),
    "eval_every": (1, 10**7),
    "eval_batches": (1, 10**4),
    "batch": (0, 10**5),
}


@dataclasses.dataclass(frozen=True)
class Request:
    """An evaluation in names and numbers: the only form a request has. It can be sent to another machine.

    Attributes:
        folder: folder of results; created when the first training starts, after everything is checked.
        tasks: names of tasks, or ``module:object`` for a user's own task.
        optimizers: texts, see `celo.evaluation.optimizers.parse`.
        steps: steps of every training, 1 to 10,000,000.
        seeds: trainings of each setting. Equal seeds mean equal initial parameters and batches for all
            optimizers; the first seeds do not depend on how many there are.
        seed: seed of the random keys and of random search.
        eval_every: steps from one evaluation to the next.
        eval_batches: batches of each split per evaluation.
        grid: learning rates of hand-designed optimizers, a key of `celo.evaluation.grids.GRIDS`.
        batch: trainings per device call; 0 = one on a CPU, elsewhere as many as fit the memory.
        data_dir: folder of datasets; None = the variable CELO_DATA, then the hub.
        lm_corpus: corpus of the language models on documents; None = each task's own.
        lm_tokenizer: tokenizer of those on sub-words, a repository on the hub or a file tokenizer.json;
            None = one trained on the corpus.
        skip_missing_data: whether to skip tasks whose data are missing.
        reuse: folders of results whose rows may be taken over.
        share: folder that gets a copy of the rows of hand-designed optimizers; None = none.
        new_labels: whether a label may stand for another optimizer than in the folder's last request.

    Raises:
        TypeError, ValueError: a number is not whole or out of range, or a name is unknown.
        FileNotFoundError: no such tokenizer, folder of datasets or folder to reuse.
    """

    folder: Path
    tasks: tuple[str, ...]
    optimizers: tuple[str, ...]
    steps: int = 2000
    seeds: int = 3
    seed: int = 0
    eval_every: int = 10
    eval_batches: int = 5
    grid: str = "half_powers"
    batch: int = 0
    data_dir: Path | None = None
    lm_corpus: str | None = None
    lm_tokenizer: str | None = None
    skip_missing_data: bool = False
    reuse: tuple[Path, ...] = ()
    share: Path | None = None
    new_labels: bool = False

    def __post_init__(self) -> None:
        """Checks everything that needs no data and no checkpoint."""
        for name, (least, most) in _LIMITS.items():
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
                kind = ValueError if isinstance(value, int) and not isinstance(value, bool) else TypeError
                raise kind(f"{name} is {value!r}; expected a whole number from {least:,} to {most:,}")
        if self.grid not in GRIDS:
            raise unknown_name("grid of learning rates", self.grid, GRIDS)
        if not self.tasks or not self.optimizers:
            found = f"{len(self.tasks)} and {len(self.optimizers)}"
            raise ValueError(f"an evaluation needs a task and an optimizer, got {found}")
        for name in self.tasks:
            check_name(name)
        if self.lm_corpus is not None and self.lm_corpus not in TEXT_DATASETS:
            raise unknown_name("corpus", self.lm_corpus, TEXT_DATASETS)
        tokenizer = self.lm_tokenizer or ""
        if tokenizer.endswith(".json") and not Path(tokenizer).is_file():
            raise FileNotFoundError(f"there is no file {tokenizer} of a tokenizer")
        for folder in self.reuse:
            if not (folder / ROWS).is_dir():
                raise FileNotFoundError(f"{folder} holds no rows to reuse; expected a folder of results")
        data_folder(self.data_dir)  # a mistyped folder is an error, not a task whose data are missing

    @property
    def plan(self) -> EvaluatedTraining:
        """The plan of every training."""
        return EvaluatedTraining(self.steps, self.eval_every, self.eval_batches)

    @property
    def settings(self) -> dict[str, Any]:
        """What all trainings share, as evaluation.json keeps it."""
        names = ("steps", "seeds", "seed", "eval_every", "eval_batches", "grid")
        return {name: getattr(self, name) for name in names}


class Wanted(NamedTuple):
    """One requested training: these columns of `celo.evaluation.results.Training`."""

    key: str
    task: str
    optimizer: str
    setting: Mapping[str, float]
    seed: int


@dataclasses.dataclass(frozen=True, eq=False)
class Sweep:
    """A request with its optimizers loaded and its tasks digested.

    Attributes:
        request: the request.
        optimizers: by label.
        digests: digest of each task, by name.
        left_out: tasks that are skipped as their data are missing, each with the reason.
        device: kind of device that trains.
    """

    request: Request
    optimizers: Mapping[str, Optimizer]
    digests: Mapping[str, str]
    left_out: Mapping[str, str]
    device: str

    @functools.cached_property
    def trainings(self) -> tuple[Wanted, ...]:
        """Every requested training; those of one optimizer on one task stand together."""
        return tuple(
            Wanted(self._key(task, one, setting, seed), task, one.label, setting, seed)
            for task in self.digests
            for one in self.optimizers.values()
            for setting in one.settings
            for seed in range(self.request.seeds)
        )

    def missing(self, keys: Collection[tuple[str, str]]) -> tuple[Wanted, ...]:
        """The trainings whose pair of key and label is not among those given."""
        return tuple(one for one in self.trainings if (one.key, one.optimizer) not in keys)

    @property
    def requested(self) -> Requested:
        """The request as evaluation.json keeps it."""
        optimizers = {
            label: Meaning(one.spec, one.digest, one.learned, tuple(map(dict, one.settings)))
            for label, one in self.optimizers.items()
        }
        names = [*self.digests, *self.left_out]
        pairs = tuple(Pair(task, label, self.digests.get(task, "")) for task in names for label in optimizers)
        return Requested(self.request.settings, optimizers, pairs, provenance())

    def _key(self, task: str, optimizer: Optimizer, setting: Mapping[str, float], seed: int) -> str:
        """SHA-256 of what decides the numbers of a training."""
        request = self.request
        decides = {
            "protocol": PROTOCOL,
            "task": self.digests[task],
            "optimizer": optimizer.digest,
            "setting": sorted(setting.items()),
            "seed": [request.seed, seed],
            "steps": request.steps,
            "evaluations": [min(request.eval_every, request.steps), request.eval_batches],
            "device": self.device,
            "numerics": numerics(),
        }
        return hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()


def sweep(request: Request, tasks: Tasks | None = None, device: str | None = None) -> Sweep:
    """Load the optimizers of a request and digest the data of its tasks.

    ``tasks`` are the request's, to load them once; ``device`` is the kind that trains, None = this process's.

    Raises:
        ValueError: an unknown optimizer, equal or refused labels, a damaged checkpoint; or as `check_folder`.
        FileNotFoundError: no such checkpoint.
        DatasetNotFoundError: data are missing; with ``skip_missing_data``, only where no task is left.
    """
    optimizers = [parse(text, request.grid, request.seed) for text in request.optimizers]
    by_label = {one.label: one for one in optimizers}
    if len({label.casefold() for label in by_label}) < len(optimizers):  # a label may become a file's name
        labels = ", ".join(one.label for one in optimizers)
        raise ValueError(f"the optimizers of an evaluation need different labels, got {labels}")
    kind = device or jax.local_devices()[0].device_kind
    # Before the data are read, which takes long.
    asked = Sweep(request, by_label, {}, {}, kind).requested
    check_folder(request.folder, asked, new_labels=request.new_labels)
    tasks = tasks or Tasks(request)
    digests: dict[str, str] = {}
    absent: dict[str, str] = {}
    for name in dict.fromkeys(request.tasks):
        try:
            digests[name] = task_digest(tasks.load(name))
        except DatasetNotFoundError as error:
            absent[name] = str(error)
    if absent and not (digests and request.skip_missing_data):
        advice = "" if request.skip_missing_data else "\nPass skip_missing_data to skip these tasks."
        raise DatasetNotFoundError(f"{missing_data(absent)}{advice}")
    return Sweep(request, by_label, digests, absent, kind)


class Tasks:
    """Loads the tasks of a request and keeps the last ones, so that not all data are in memory at once."""

    def __init__(self, request: Request):
        texts = {"lm_corpus": request.lm_corpus, "lm_tokenizer": request.lm_tokenizer}
        load = functools.partial(make, data_dir=request.data_dir, **texts)
        self._load = functools.lru_cache(jax.local_device_count())(load)
        self._lock = threading.Lock()

    def load(self, name: str) -> Task:
        """The task of that name."""
        with self._lock:
            return self._load(name)


def task_digest(task: Task) -> str:
    """Digest of a task: its configuration, its data and, if it is a user's own, the source of its module."""
    return fingerprint(task=task, source=source_digest(type(task)))


def missing_data(absent: Mapping[str, str]) -> str:
    """The tasks whose data are missing, those of one reason on one line."""
    lines = [f"  {', '.join(tasks)}: {reason}" for reason, tasks in by_value(absent).items()]
    return "\n".join([f"Missing data for {len(absent)} requested task(s):", *lines])


def by_value(reasons: Mapping[str, str]) -> dict[str, list[str]]:
    """The names that share each reason."""
    found: dict[str, list[str]] = {}
    for name, reason in reasons.items():
        found.setdefault(reason, []).append(name)
    return found


def numerics() -> str:
    """JAX settings that change numbers and differ from the defaults, such as "jax_enable_x64=True"."""
    defaults = {
        "jax_enable_x64": False,
        "jax_default_matmul_precision": None,
        "jax_default_prng_impl": "threefry2x32",
        "jax_threefry_partitionable": True,
    }
    values = {name: getattr(jax.config, name) for name in defaults}
    return ",".join(f"{name}={value}" for name, value in values.items() if value != defaults[name])


def default_share() -> Path:
    """Where rows of hand-designed optimizers are shared: below CELO_CACHE, else ~/.cache/celo."""
    return cache_folder(None) / "rows"
