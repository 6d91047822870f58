"""A cell as a Parquet file that any reader of Parquet opens: one row per training, curves as lists."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from celo.evaluation.cell import CellResult
from celo.meta.runs.files import json_ready

FORMAT = 2
_READABLE = (1, FORMAT)  # the first has no digests of the task and of the code

_METADATA, _DIGEST = b"celo.cell", b"celo.sha256"
_HYPERPARAMETER, _EVALUATION = "hyperparameter.", "evaluation."
_FIXED = ("loss", "final_loss", "eta")


def encode(cell: CellResult) -> bytes:
    """A cell as the content of a Parquet file.

    Its columns are ``configuration`` (number), ``seed``, ``hyperparameter.NAME``, ``loss``, ``final_loss``,
    ``eta`` (where there is one) and ``celo.evaluation.NAME``; all else is JSON in the schema's metadata, beside a
    digest of everything.

    Raises:
        ValueError: an array does not have the shape that `CellResult` says.
        TypeError: ``info`` is not ready for JSON.
    """
    _check_shapes(cell)
    count, seeds = cell.final_loss.shape
    columns: dict[str, Any] = {
        "configuration": pa.array(np.repeat(np.arange(count, dtype=np.int32), seeds)),
        "seed": pa.array(np.tile(np.asarray(cell.seeds, np.int64), count)),
    }
    for name in sorted({name for mapping in cell.configurations for name in mapping}):
        values = [mapping.get(name) for mapping in cell.configurations for _ in cell.seeds]
        columns[_HYPERPARAMETER + name] = pa.array(values, pa.float64())
    columns |= {name: _column(array) for name, array in _arrays(cell).items()}
    metadata = json.dumps(_metadata(cell), allow_nan=False)
    table = pa.table(columns).replace_schema_metadata({_METADATA: metadata, _DIGEST: _digest(cell)})
    buffer = io.BytesIO()
    # Without a dictionary every bit of a number is kept, those of NaN too.
    pq.write_table(table, buffer, compression="zstd", use_dictionary=False, write_statistics=False)
    return buffer.getvalue()


def decode(data: bytes) -> CellResult:
    """The cell in the content of a file.

    Raises:
        Exception: of whatever kind the parser stumbles with, if the content is damaged; ValueError if it can
            be read but is not what was written, or is of another format.
    """
    table = _table(data)
    stored = table.schema.metadata or {}
    meta = json.loads(stored[_METADATA])
    if meta["format"] not in _READABLE:
        raise ValueError(f"a cell of format {meta['format']}; expected one of {_READABLE}")
    configurations = _configurations(table, meta["configurations"], len(meta["seeds"]))
    arrays = _arrays_of(table, (meta["configurations"], len(meta["seeds"])))
    cell = CellResult(
        task=meta["task"],
        optimizer=meta["optimizer"],
        key=meta["key"],
        learned=meta["learned"],
        configurations=configurations,
        seeds=tuple(meta["seeds"]),
        num_steps=meta["num_steps"],
        loss_unit=meta["loss_unit"],
        loss=arrays["loss"],
        final_loss=arrays["final_loss"],
        evaluation_steps=np.asarray(meta["evaluation_steps"], np.int64),
        evaluations={
            name.removeprefix(_EVALUATION): array
            for name, array in arrays.items()
            if name.startswith(_EVALUATION)
        },
        eta=arrays.get("eta"),
        info=meta["info"],
        task_digest=meta.get("task_digest"),
        code_digest=meta.get("code_digest"),
    )
    if _digest(cell) != stored[_DIGEST].decode():
        raise ValueError("the content does not have the digest it was written with")
    return cell


def _table(data: bytes) -> pa.Table:
    # Without Arrow's threads: a process that ends while they start is now and then aborted (arrow #34314).
    with pq.ParquetFile(pa.BufferReader(data), pre_buffer=False) as file:
        return file.read(use_threads=False)


def _metadata(cell: CellResult) -> dict[str, Any]:
    digests = {"task_digest": cell.task_digest, "code_digest": cell.code_digest}
    # The digest of everything is of these words: a cell without digests keeps those of the first format.
    known = any(digests.values())
    return {
        "format": FORMAT if known else 1,
        **(digests if known else {}),
        "task": cell.task,
        "optimizer": cell.optimizer,
        "key": cell.key,
        "learned": bool(cell.learned),
        "configurations": len(cell.configurations),
        "seeds": [int(seed) for seed in cell.seeds],
        "num_steps": int(cell.num_steps),
        "loss_unit": cell.loss_unit,
        "evaluation_steps": np.asarray(cell.evaluation_steps).tolist(),
        "info": json_ready(cell.info, "info"),
    }


def _arrays(cell: CellResult) -> dict[str, np.ndarray]:
    """All arrays with leading axes (C, S), by name of their column."""
    arrays = {"loss": cell.loss, "final_loss": cell.final_loss}
    if cell.eta is not None:
        arrays["eta"] = cell.eta
    arrays |= {_EVALUATION + name: array for name, array in cell.evaluations.items()}
    return {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}


def _digest(cell: CellResult) -> str:
    total = hashlib.sha256(json.dumps(_metadata(cell), sort_keys=True).encode())
    total.update(json.dumps([dict(mapping) for mapping in cell.configurations], sort_keys=True).encode())
    for name, array in sorted(_arrays(cell).items()):
        total.update(f"\n{name}{array.shape}".encode() + array.tobytes())
    return total.hexdigest()


def _check_shapes(cell: CellResult) -> None:
    lead = (len(cell.configurations), len(cell.seeds))
    expected: Mapping[str, tuple[int, ...]] = {
        "loss": (*lead, cell.num_steps),
        "final_loss": lead,
        "eta": (*lead, cell.num_steps),
    }
    for name, array in _arrays(cell).items():
        shape = expected.get(name, (*lead, len(cell.evaluation_steps)))
        if array.shape != shape:
            raise ValueError(f"{name} of the cell has shape {array.shape}; expected {shape}")


def _column(array: np.ndarray) -> pa.Array:
    """A row for each training: a number, or a list of numbers."""
    values = pa.array(array.reshape(-1))
    if array.ndim == 2:
        return values
    rows, length = array.shape[0] * array.shape[1], array.shape[2]
    offsets = pa.array(np.arange(rows + 1, dtype=np.int64) * length)
    return pa.LargeListArray.from_arrays(offsets, values)


def _arrays_of(table: pa.Table, lead: tuple[int, int]) -> dict[str, np.ndarray]:
    """What `_arrays` made the columns of."""
    return {
        name: _array(table.column(name), lead)
        for name in table.column_names
        if name in _FIXED or name.startswith(_EVALUATION)
    }


def _array(column: pa.ChunkedArray, lead: tuple[int, int]) -> np.ndarray:
    values = column.combine_chunks()
    if pa.types.is_large_list(values.type) or pa.types.is_list(values.type):
        return values.flatten().to_numpy(zero_copy_only=False).reshape(*lead, -1)
    return values.to_numpy(zero_copy_only=False).reshape(lead)


def _configurations(table: pa.Table, count: int, seeds: int) -> tuple[dict[str, float], ...]:
    """The hyperparameters of each configuration, from its first row."""
    configurations: tuple[dict[str, float], ...] = tuple({} for _ in range(count))
    for name in table.column_names:
        if name.startswith(_HYPERPARAMETER):
            values = table.column(name).to_pylist()[::seeds]
            for mapping, value in zip(configurations, values, strict=True):
                if value is not None:
                    mapping[name.removeprefix(_HYPERPARAMETER)] = value
    return configurations
