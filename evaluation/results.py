"""Stored trainings: one row per training in Parquet files, and what was requested in evaluation.json.

A folder of results holds ``evaluation.json`` (settings, optimizers, requested pairs), ``rows/*.parquet`` (the
finished trainings of one batch per file) and ``locks/``. Its rows are the union of all files. Any Parquet
reader opens them: ``pandas.read_parquet("results/rows")``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from celo._core.files import write_atomically
from celo.meta.runs.files import foreign, json_bytes, json_ready
from celo.meta.runs.lock import FileLock

PROTOCOL = 1
"""Raise by hand when the arithmetic of a training changes: it is part of every row's key."""

REQUEST_FILE, ROWS, LOCKS = "evaluation.json", "rows", "locks"
SPLITS = ("train", "outer_valid", "test")
EVALUATIONS = tuple(f"{split}_{name}" for name in ("loss", "accuracy") for split in SPLITS)


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
    """One training: one optimizer at one setting on one task from one seed; T steps, E evaluations.

    Attributes:
        key: digest of everything that decides the numbers; the label does not count.
        task, optimizer: name of the task, label of the optimizer.
        spec, learned: text the optimizer was made from; whether it is learned, hence not tuned on the task.
        setting: hyperparameters, such as ``{"learning_rate": 1e-3}``; empty where there are none.
        seed: number of the seed; equal seeds mean equal initial parameters and batches for all optimizers.
        steps: T.
        loss: (T,) float32 training loss of each step's batch, before that step.
        eta: (T,) float32 step size a learned scheduler set; None where there is none.
        final_loss: mean training loss of ten batches after the last step.
        evaluation_steps: (E,) int64 steps taken before each evaluation.
        evaluations: (E,) float32 by name, among `EVALUATIONS`; accuracies where the task has one.
        evaluation_batches: batches of each split per evaluation.
        random_seed: seed of the random keys that the number of the seed is folded into.
        loss_unit: unit of the task's loss, such as nats.
        corpus, vocabulary: text dataset the task reads, and how text became tokens; "" without text.
        task_digest: digest of the task, its configuration and data.
        optimizer_digest: digest of the optimizer, its options and theta.
        parameters, state_bytes: size of the model, and of the optimizer's state.
        step_seconds: wall-clock seconds of a step, without compilation and evaluations, divided by the
            number of trainings in the batch.
        seconds: wall-clock seconds of the training with its evaluations, divided likewise.
        compile_seconds: seconds the program took to compile.
        trainings_at_once: number of trainings in the batch.
        device: kind of device.
        numerics: JAX settings that differ from the defaults, such as "jax_enable_x64=True"; else "".
        versions: of Python, JAX and the other libraries.
        revision: git revision of the code, with "+" after it where files were changed; "" if not known.
        written: when, UTC, ISO 8601.
    """

    key: str
    task: str
    optimizer: str
    spec: str
    learned: bool
    setting: Mapping[str, float]
    seed: int
    steps: int
    loss: np.ndarray
    eta: np.ndarray | None
    final_loss: float
    evaluation_steps: np.ndarray
    evaluations: Mapping[str, np.ndarray]
    evaluation_batches: int = 0
    random_seed: int = 0
    loss_unit: str = "loss"
    corpus: str = ""
    vocabulary: str = ""
    task_digest: str = ""
    optimizer_digest: str = ""
    parameters: int = 0
    state_bytes: int = 0
    step_seconds: float = float("nan")
    seconds: float = float("nan")
    compile_seconds: float = float("nan")
    trainings_at_once: int = 1
    device: str = ""
    numerics: str = ""
    versions: Mapping[str, str] = dataclasses.field(default_factory=dict)
    revision: str = ""
    written: str = ""

    @property
    def diverged(self) -> bool:
        """Whether a training loss along the way, or the final one, is not finite."""
        return not (np.isfinite(self.loss).all() and np.isfinite(self.final_loss))


_CURVE = pa.large_list(pa.float32())
_TYPES = {"str": pa.string(), "bool": pa.bool_(), "int": pa.int64(), "float": pa.float64()}
_SPECIAL = {
    "setting": pa.map_(pa.string(), pa.float64()),
    "versions": pa.map_(pa.string(), pa.string()),
    "loss": _CURVE,
    "eta": _CURVE,
    "evaluation_steps": pa.large_list(pa.int64()),
}
_FIELDS = tuple(field for field in dataclasses.fields(Training) if field.name != "evaluations")
SCHEMA = pa.schema(
    [(field.name, _SPECIAL.get(field.name) or _TYPES[str(field.type)]) for field in _FIELDS]
    + [(name, _CURVE) for name in EVALUATIONS]
)
"""Columns of every file; ``eta`` and the accuracies are null where there are none."""


def write(folder: Path, rows: Sequence[Training]) -> Path:
    """Write the finished trainings of a batch as one file: completely, or not at all.

    Args:
        folder: the folder of results.
        rows: one or more trainings of one optimizer on one task.

    Returns:
        The file; equal keys give an equal name.

    Raises:
        ValueError: no row, or an array of the wrong length.
        OSError: the disk is full or the folder cannot be written.
    """
    if not rows:
        raise ValueError("a file of results needs at least one row, got none")
    for row in rows:
        _check_lengths(row)
    columns = [[_plain(getattr(row, field.name)) for row in rows] for field in _FIELDS]
    columns += [[row.evaluations.get(name) for row in rows] for name in EVALUATIONS]
    arrays = [pa.array(column, kind.type) for column, kind in zip(columns, SCHEMA, strict=True)]
    buffer = io.BytesIO()
    pq.write_table(
        pa.table(arrays, schema=SCHEMA),
        buffer,
        compression="zstd",
        use_dictionary=False,  # keeps every bit of a NaN
        write_statistics=False,
        write_page_checksum=True,
    )
    keys = hashlib.sha256("".join(f"{row.key} {row.optimizer}\n" for row in rows).encode()).hexdigest()
    path = folder / ROWS / f"{_slug(rows[0].task)}--{_slug(rows[0].optimizer)}--{keys[:16]}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, buffer.getvalue())
    return path


def read(folder: Path, log: Callable[[str], None] = warnings.warn) -> list[Training]:
    """Read all finished trainings of a folder.

    Args:
        folder: the folder of results.
        log: gets a line that names every damaged or foreign file; these are skipped.

    Returns:
        The rows by order of file name. Of rows with the same key and label, the one written last.
    """
    found: dict[tuple[str, str], Training] = {}
    for path in files(folder):
        for row in read_file(path, log):
            kept = found.get((row.key, row.optimizer))
            if kept is None or kept.written <= row.written:
                found[row.key, row.optimizer] = row
    return list(found.values())


def files(folder: Path, tasks: Iterable[str] | None = None) -> list[Path]:
    """The files of rows in a folder, by name; only those of some tasks, if tasks are given."""
    found = sorted(path for path in (folder / ROWS).glob("*.parquet") if not path.name.startswith("."))
    if tasks is None:
        return found
    starts = tuple(f"{_slug(task)}--" for task in tasks)
    return [path for path in found if path.name.startswith(starts)]


def read_file(path: Path, log: Callable[[str], None] = warnings.warn) -> list[Training]:
    """Read the rows of one file; none, with a line to ``log``, if it is damaged or foreign."""
    # A damaged file makes the parsers of Parquet raise almost anything.
    try:
        data = path.read_bytes()
        # Without Arrow's threads: a process that ends while they start may abort (arrow #34314).
        with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False, page_checksum_verification=True) as file:
            table = file.read(use_threads=False)
        if absent := sorted({*SCHEMA.names} - {*table.column_names}):
            raise ValueError(f"it has no columns {', '.join(absent)}")
        rows = list(_rows(table.select(SCHEMA.names).cast(SCHEMA)))
        for row in rows:
            _check_lengths(row)
    except Exception as error:
        log(f"{path} holds no rows of an evaluation and is skipped ({type(error).__name__}: {error})")
        return []
    return rows


def _rows(table: pa.Table) -> Iterator[Training]:
    """The trainings in a table of `SCHEMA`."""
    curves = {name for name in SCHEMA.names if pa.types.is_large_list(SCHEMA.field(name).type)}
    for record in range(table.num_rows):
        values: dict[str, Any] = {}
        for name in SCHEMA.names:
            scalar = table.column(name)[record]
            if not scalar.is_valid:
                values[name] = None
            elif name in curves:
                values[name] = scalar.values.to_numpy(zero_copy_only=False)
            elif name in ("setting", "versions"):
                values[name] = dict(scalar.as_py())
            else:
                values[name] = scalar.as_py()
        evaluations = {name: values.pop(name) for name in EVALUATIONS}
        kept = {name: curve for name, curve in evaluations.items() if curve is not None}
        if absent := [name for name, value in values.items() if value is None and name != "eta"]:
            raise ValueError(f"row {record} has no {', '.join(absent)}")
        yield Training(evaluations=kept, **values)


def _check_lengths(row: Training) -> None:
    expected = {"loss": (row.loss, row.steps), "eta": (row.eta, row.steps)}
    for name, curve in row.evaluations.items():
        if name not in EVALUATIONS:
            raise ValueError(f"evaluations hold {name!r}; expected names among {', '.join(EVALUATIONS)}")
        expected[name] = (curve, len(row.evaluation_steps))
    for name, (curve, length) in expected.items():
        if curve is not None and np.shape(curve) != (length,):
            raise ValueError(f"{name} of a training has shape {np.shape(curve)}; expected ({length},)")


def _plain(value: Any) -> Any:
    return list(value.items()) if isinstance(value, Mapping) else value


def _slug(name: str) -> str:
    """The name as part of a file's name; the digest of the keys distinguishes equal slugs."""
    return re.sub(r"[^A-Za-z0-9_.@+-]+", "-", name)[:80]


class Pair(NamedTuple):
    """A requested task and optimizer.

    Attributes:
        task: name of the task.
        optimizer: label of the optimizer.
        task_digest: digest of the task; "" where its data were missing.
    """

    task: str
    optimizer: str
    task_digest: str

    @property
    def words(self) -> str:
        """The pair in a message."""
        return f"{self.optimizer} on {self.task}"


class Meaning(NamedTuple):
    """What a label stands for.

    Attributes:
        spec: the text of the optimizer.
        digest: digest of the optimizer, its options and theta.
        learned: whether it is a learned optimizer.
        settings: hyperparameters it is tried at, in order.
    """

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

    def rows_of(self, rows: Iterable[Training]) -> dict[tuple[str, str], list[Training]]:
        """The rows of every requested pair by task and label: settings in order, seeds in order within each.

        Rows of another optimizer under the same label, of other data or other settings are left out. A pair
        without rows has an empty list. Of rows of the same setting and seed, as on two kinds of device, the
        one written last counts.
        """
        found: dict[tuple[str, str], dict[tuple[int, int], Training]] = {pair[:2]: {} for pair in self.pairs}
        digests = {pair[:2]: pair.task_digest for pair in self.pairs}
        for row in rows:
            at = self._place(row, digests)
            if at is not None:
                kept = found[row.task, row.optimizer].get(at)
                if kept is None or kept.written <= row.written:
                    found[row.task, row.optimizer][at] = row
        return {pair: [own[at] for at in sorted(own)] for pair, own in found.items()}

    def missing(self, rows: Iterable[Training]) -> dict[tuple[str, str], int]:
        """Number of trainings that each requested pair lacks, of those that lack any."""
        found = self.rows_of(rows)
        lacking = {pair[:2]: self.count(pair.optimizer) - len(found[pair[:2]]) for pair in self.pairs}
        return {pair: count for pair, count in lacking.items() if count}

    def count(self, label: str) -> int:
        """Number of trainings of an optimizer on each task: settings times seeds."""
        return len(self.optimizers[label].settings) * self.settings["seeds"]

    def _place(self, row: Training, digests: Mapping[tuple[str, str], str]) -> tuple[int, int] | None:
        """Position of the row's setting, and its seed; None if the row was not requested."""
        meaning = self.optimizers.get(row.optimizer)
        fits = (
            meaning is not None
            and meaning.digest == row.optimizer_digest
            and digests.get((row.task, row.optimizer)) == row.task_digest
            and row.steps == self.settings["steps"]
            and row.random_seed == self.settings["seed"]
            and row.evaluation_batches == self.settings["eval_batches"]
            and row.seed < self.settings["seeds"]
            and dict(row.setting) in meaning.settings
        )
        return (meaning.settings.index(dict(row.setting)), row.seed) if fits and meaning else None


def read_requested(folder: Path) -> Requested:
    """Read what was requested of a folder.

    Raises:
        FileNotFoundError: the folder holds no evaluation.
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

    Args:
        folder: an existing folder of results, or a new one.
        asked: the request.
        new_labels: whether a label may stand for another optimizer than before.

    Returns:
        What was requested before; None in a new folder.

    Raises:
        FileExistsError: the folder is a file, or holds something else.
        ValueError: it holds results of other settings, or another optimizer under one of the labels.
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
    """Record a request in its folder, added to what was requested before.

    A pair that was requested before keeps its place and takes the new digest of the task, unless the data are
    missing now.

    Returns:
        Everything requested of the folder.

    Raises:
        FileExistsError, ValueError: as `check_folder`.
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
            write_atomically(folder / REQUEST_FILE, json_bytes(json_ready(content)))
    return merged


def lock(folder: Path, name: str, wait: bool = False) -> FileLock:
    """A lock among processes on a folder of results; it ends with the process that holds it.

    Raises:
        BlockingIOError: another process holds it, and ``wait`` is false.
    """
    (folder / LOCKS).mkdir(parents=True, exist_ok=True)
    return FileLock(folder / LOCKS / f"{name}.lock", wait)
