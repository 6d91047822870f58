"""What was requested of a folder of results so far, kept in its evaluation.json."""

from __future__ import annotations

import dataclasses
import functools
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from celo.evaluation.results import PROTOCOL, ROWS, Training, latest
from celo.evaluation.sharing import LOCKS, lock
from celo.meta.runs.files import foreign, write_json

REQUEST_FILE = "evaluation.json"


class Pair(NamedTuple):
    """Name of a requested task, label of an optimizer, and digest of the task, "" where data were missing."""

    task: str
    optimizer: str
    task_digest: str

    @property
    def words(self) -> str:
        """The pair in a message."""
        return f"{self.optimizer} on {self.task}"


class Meaning(NamedTuple):
    """What a label stands for: fields of `celo.evaluation.optimizers.Optimizer`."""

    spec: str
    digest: str
    learned: bool
    settings: tuple[Mapping[str, float], ...]


@dataclasses.dataclass(frozen=True)
class Requested:
    """What was requested of a folder so far.

    Attributes:
        settings: what all trainings share: ``steps``, ``seeds``, ``seed``, ``eval_every``, ``eval_batches``,
            ``grid``.
        optimizers: by label.
        pairs: in the order of the requests.
        provenance: versions, revision and devices of the first command, as
            `celo.meta.runs.provenance.provenance` gives them.
    """

    settings: Mapping[str, Any]
    optimizers: Mapping[str, Meaning]
    pairs: tuple[Pair, ...]
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @functools.cached_property
    def digests(self) -> dict[tuple[str, str], str]:
        """Digest of the task by task and label."""
        return {pair[:2]: pair.task_digest for pair in self.pairs}

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks, each once."""
        return tuple(dict.fromkeys(pair.task for pair in self.pairs))

    def mixed(self) -> dict[str, str]:
        """Tasks whose digest differs among the optimizers, with the optimizers in groups of equal digests."""
        groups: dict[str, dict[str, list[str]]] = {}
        for pair in self.pairs:
            if pair.task_digest:
                groups.setdefault(pair.task, {}).setdefault(pair.task_digest, []).append(pair.optimizer)
        words = {task: " than for ".join(map(", ".join, own.values())) for task, own in groups.items()}
        return {task: own for task, own in words.items() if len(groups[task]) > 1}

    def rows_of(self, rows: Iterable[Training]) -> dict[tuple[str, str], list[Training]]:
        """The rows of every requested pair by task and label: settings in order, seeds in order within each.

        Rows of another optimizer under the same label, of other data or other settings are left out. A pair
        without rows has an empty list. Of rows of the same setting and seed, as on two kinds of device, the
        one written last counts.
        """
        kept = latest((at, row) for row in rows if (at := self._place(row)) is not None)
        found: dict[tuple[str, str], list[Training]] = {pair[:2]: [] for pair in self.pairs}
        for at in sorted(kept):
            found[at[:2]].append(kept[at])
        return found

    def missing(self, rows: Iterable[Training]) -> dict[tuple[str, str], int]:
        """Number of trainings that each requested pair lacks, of those that lack any."""
        found = self.rows_of(rows)
        lacking = {pair[:2]: self.count(pair.optimizer) - len(found[pair[:2]]) for pair in self.pairs}
        return {pair: count for pair, count in lacking.items() if count}

    def count(self, label: str) -> int:
        """Number of trainings of an optimizer on each task: settings times seeds."""
        return len(self.optimizers[label].settings) * self.settings["seeds"]

    def _place(self, row: Training) -> tuple[str, str, int, int] | None:
        """Task, label, position of the setting, and seed; None if the row was not requested."""
        meaning = self.optimizers.get(row.optimizer)
        if (
            meaning is None
            or meaning.digest != row.optimizer_digest
            or self.digests.get((row.task, row.optimizer)) != row.task_digest
            or row.steps != self.settings["steps"]
            or row.random_seed != self.settings["seed"]
            or row.evaluation_batches != self.settings["eval_batches"]
            or row.seed >= self.settings["seeds"]
            or dict(row.setting) not in meaning.settings
        ):
            return None
        return row.task, row.optimizer, meaning.settings.index(dict(row.setting)), row.seed


def requested_by(rows: Sequence[Training]) -> Requested:
    """What the rows themselves say was requested, for rows without an evaluation.json.

    ValueError if there is no row, or rows differ in steps, random seed or batches of evaluations.
    """
    if not rows:
        raise ValueError("there is no finished training to report on")
    for name in ("steps", "random_seed", "evaluation_batches"):
        values = sorted({getattr(row, name) for row in rows})
        if len(values) > 1:
            raise ValueError(f"rows differ in {name}: {', '.join(map(str, values))}; expected one value")
    settings: dict[str, list[Mapping[str, float]]] = {}
    for row in rows:
        own = settings.setdefault(row.optimizer, [])
        if dict(row.setting) not in own:
            own.append(dict(row.setting))
    optimizers = {
        row.optimizer: Meaning(row.spec, row.optimizer_digest, row.learned, tuple(settings[row.optimizer]))
        for row in rows
    }
    shared = {
        "steps": rows[0].steps,
        "seeds": 1 + max(row.seed for row in rows),
        "seed": rows[0].random_seed,
        "eval_batches": rows[0].evaluation_batches,
    }
    pairs = dict.fromkeys(Pair(row.task, row.optimizer, row.task_digest) for row in rows)
    return Requested(shared, optimizers, tuple(pairs))


def read_requested(folder: Path) -> Requested:
    """Read what was requested of a folder.

    Raises:
        FileNotFoundError: the folder holds no evaluation.
        NotADirectoryError: it is a file.
        ValueError: its evaluation.json is damaged or foreign.
    """
    path = folder / REQUEST_FILE
    try:
        content = json.loads(path.read_bytes())
        optimizers = {
            label: Meaning(one["spec"], one["digest"], one["learned"], tuple(one["settings"]))
            for label, one in content["optimizers"].items()
        }
        pairs = tuple(Pair(one["task"], one["optimizer"], one["task_digest"]) for one in content["requested"])
        return Requested(content["settings"], optimizers, pairs, content["provenance"])
    except NotADirectoryError:
        raise NotADirectoryError(f"{folder} is a file; expected a folder of results") from None
    except FileNotFoundError:
        raise FileNotFoundError(
            f"{folder} holds no evaluation: there is no {REQUEST_FILE} in it; `celo evaluate` writes one"
        ) from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(
            f"{path} does not describe an evaluation ({type(error).__name__}: {error}); use another folder"
        ) from error


def check_folder(folder: Path, asked: Requested, *, new_labels: bool = False) -> Requested | None:
    """Refuse a request that the folder cannot take; write nothing.

    Returns:
        What was requested before; None in a new folder.

    Raises:
        FileExistsError: the folder is a file, or holds something else.
        ValueError: it holds results of other settings; or another optimizer under one of the labels, and
            ``new_labels`` is false.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; expected a folder of results, or a new one")
    if not folder.is_dir() or not (folder / REQUEST_FILE).exists():
        others = foreign(folder, own=(ROWS, LOCKS)) if folder.is_dir() else []
        if others:
            raise FileExistsError(
                f"{folder} holds no evaluation but {', '.join(others[:5])}; use a new folder"
            )
        return None
    found = read_requested(folder)
    names = sorted({*found.settings, *asked.settings})
    different = [
        f"{name} {found.settings.get(name)!r} instead of {asked.settings.get(name)!r}"
        for name in names
        if found.settings.get(name) != asked.settings.get(name)
    ]
    if different:
        raise ValueError(
            f"{folder} holds results of other settings: {', '.join(different)}; use the same settings, or "
            "another folder with --reuse for the rows that fit"
        )
    for label, meaning in asked.optimizers.items():
        before = found.optimizers.get(label)
        if before is not None and before.digest != meaning.digest and not new_labels:
            raise ValueError(
                f"the label {label} means another optimizer in {folder}: {before.spec} (digest "
                f"{before.digest[:12]}) instead of {meaning.spec} (digest {meaning.digest[:12]}); give this "
                "one another label, or use another folder"
            )
    return found


def declare(folder: Path, asked: Requested, *, new_labels: bool = False) -> Requested:
    """Record a request in its folder, added to what was requested before; errors as `check_folder`.

    A pair that was requested before keeps its place and takes the new digest of the task, unless the data are
    missing now. Returns everything requested of the folder.
    """
    check_folder(folder, asked, new_labels=new_labels)  # before the lock, which is a file in the folder
    with lock(folder, REQUEST_FILE, wait=True):
        found = check_folder(folder, asked, new_labels=new_labels)
        pairs = {pair[:2]: pair for pair in (found.pairs if found else ())}
        for pair in asked.pairs:
            if pair.task_digest or pair[:2] not in pairs:
                pairs[pair[:2]] = pair
        merged = Requested(
            asked.settings,
            {**(found.optimizers if found else {}), **asked.optimizers},
            tuple(pairs.values()),
            found.provenance if found else asked.provenance,
        )
        if merged != found:
            content = {
                "protocol": PROTOCOL,
                "settings": merged.settings,
                "optimizers": {label: one._asdict() for label, one in merged.optimizers.items()},
                "requested": [pair._asdict() for pair in merged.pairs],
                "provenance": merged.provenance,
            }
            write_json(folder / REQUEST_FILE, content)
    return merged
