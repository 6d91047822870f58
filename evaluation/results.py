"""Stored trainings: one row per training, in Parquet files.

A folder of results holds ``rows/*.parquet`` (the finished trainings of one batch per file), ``locks/`` and
``evaluation.json``, see `celo.evaluation.requested`. Its rows are the union of all files. Any Parquet reader
opens them: ``pandas.read_parquet("results/rows")``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from celo._core.files import write_atomically

PROTOCOL = 1
"""Raise by hand when the arithmetic of a training changes: it is part of every row's key."""

ROWS = "rows"
SPLITS = ("train", "outer_valid", "test")
EVALUATIONS = tuple(f"{split}_{name}" for name in ("loss", "accuracy") for split in SPLITS)
_Place = TypeVar("_Place")


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


@dataclasses.dataclass(frozen=True, eq=False)
class Runs:
    """The trainings of one optimizer on one task at one setting; S seeds, T steps.

    Attributes:
        rows: in order of seeds.
    """

    rows: tuple[Training, ...]

    @property
    def setting(self) -> Mapping[str, float]:
        """The hyperparameters."""
        return self.rows[0].setting

    @property
    def steps(self) -> int:
        """T."""
        return self.rows[0].steps

    @property
    def loss(self) -> np.ndarray:
        """(S, T) training losses."""
        return np.stack([row.loss for row in self.rows])

    @property
    def eta(self) -> np.ndarray | None:
        """(S, T) step sizes of a learned scheduler; None where there is none."""
        return _stacked([row.eta for row in self.rows])

    @property
    def final_loss(self) -> np.ndarray:
        """(S,) float32 final losses."""
        return np.array([row.final_loss for row in self.rows], np.float32)

    @property
    def diverged(self) -> np.ndarray:
        """(S,) bool: which seeds diverged."""
        return np.array([row.diverged for row in self.rows])

    def evaluations(self, name: str) -> np.ndarray | None:
        """(S, E) evaluations of a name such as "test_loss"; None where there are none."""
        return _stacked([row.evaluations.get(name) for row in self.rows])

    @property
    def mean_final_loss(self) -> float:
        """Mean final loss over seeds; inf where any of them diverged."""
        final = np.where(self.diverged, np.float32(np.inf), self.final_loss)
        return float(final.mean(dtype=np.float64))

    @property
    def spread(self) -> float:
        """Sample standard deviation of the final loss over seeds that did not diverge; NaN below two."""
        finite = self.final_loss[~self.diverged].astype(np.float64)
        return float(np.std(finite, ddof=1)) if finite.size > 1 else float("nan")


def _stacked(curves: Sequence[np.ndarray | None]) -> np.ndarray | None:
    known = [curve for curve in curves if curve is not None]
    return np.stack(known) if len(known) == len(curves) else None


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
    """Write the trainings of a batch, of one optimizer on one task, as one file, whole or not at all.

    Returns the file; equal keys give an equal name. ValueError without a row, or for an array of the wrong
    length.
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
    """Read all finished trainings of a folder, by order of file name.

    Of rows with the same key and label, the one written last counts. ``log`` gets a line that names every
    damaged or foreign file; these are skipped.
    """
    rows = (row for path in files(folder) for row in read_file(path, log))
    return list(latest(((row.key, row.optimizer), row) for row in rows).values())


def latest(rows: Iterable[tuple[_Place, Training]]) -> dict[_Place, Training]:
    """Of the rows at each place the one that was written last."""
    found: dict[_Place, Training] = {}
    for place, row in rows:
        if place not in found or found[place].written <= row.written:
            found[place] = row
    return found


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
    needed = [field.name for field in _FIELDS if field.name != "eta"]
    if absent := [name for name in needed if table[name].null_count]:
        raise ValueError(f"a row has no {', '.join(absent)}")
    for values in table.to_pandas(maps_as_pydicts="strict", use_threads=False).to_dict("records"):
        evaluations = {name: values.pop(name) for name in EVALUATIONS}
        kept = {name: curve for name, curve in evaluations.items() if curve is not None}
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
    """The name as part of a file's name, which no dot hides; a digest of the keys tells equal ones apart."""
    return re.sub(r"^\.|[^A-Za-z0-9_.@+-]+", "-", name)[:80]
