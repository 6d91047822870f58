"""Formats of a cell's file: digests are kept, files from before them are read, later ones refused."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from celo.evaluation import cell_file
from tests.conftest import ROOT
from tests.evaluation.cells import cell

DIGESTS: dict[str, Any] = {"task_digest": "t" * 64, "code_digest": "c" * 64}


def metadata(content):
    return json.loads(pq.read_schema(io.BytesIO(content)).metadata[b"celo.cell"])


def test_digests_of_task_and_code_are_kept():
    content = cell_file.encode(cell([1.0, 2.0], **DIGESTS))
    assert metadata(content)["format"] == 2
    found = cell_file.decode(content)
    assert (found.task_digest, found.code_digest) == ("t" * 64, "c" * 64)


def test_cells_from_before_digests_are_read_and_know_none():
    """Written as the first format had it, the content has the digest it had then."""
    content = cell_file.encode(cell([1.0, 2.0]))
    assert metadata(content)["format"] == 1
    assert DIGESTS.keys().isdisjoint(metadata(content))
    found = cell_file.decode(content)
    assert (found.task_digest, found.code_digest) == (None, None)
    np.testing.assert_array_equal(found.final_loss, [[1.0, 2.0]])


def test_a_digest_that_was_changed_is_damage():
    changed: dict[str, Any] = DIGESTS | {"code_digest": "d" * 64}
    other = cell_file.encode(cell([1.0, 2.0], **changed))
    schema = pq.read_schema(io.BytesIO(other))
    table = pq.read_table(io.BytesIO(cell_file.encode(cell([1.0, 2.0], **DIGESTS))))
    mixed = dict(table.schema.metadata) | {b"celo.cell": schema.metadata[b"celo.cell"]}
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(mixed), buffer)
    with pytest.raises(ValueError, match="does not have the digest it was written with"):
        cell_file.decode(buffer.getvalue())


def test_a_cell_of_a_later_format_is_refused(monkeypatch):
    monkeypatch.setattr(cell_file, "FORMAT", 3)
    later = cell_file.encode(cell([1.0, 2.0], **DIGESTS))
    with pytest.raises(ValueError, match=r"a cell of format 3; expected one of \(1, 2\)"):
        cell_file.decode(later)


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="threads are counted in /proc")
def test_reading_starts_no_thread(tmp_path):
    """Arrow's abort a process that ends too early; the count includes those that other libraries have."""
    path = tmp_path / "cell.parquet"
    path.write_bytes(cell_file.encode(cell([1.0, 2.0])))
    program = (
        "import os, pathlib, sys\n"
        "from evaluation.cell_file import decode\n"
        "from meta.data.source import _parquet_rows\n"
        "path, threads = pathlib.Path(sys.argv[1]), lambda: len(os.listdir('/proc/self/task'))\n"
        "before = threads()\n"
        "decode(path.read_bytes())\n"
        "assert len(list(_parquet_rows(path, ('final_loss',)))) == 1\n"
        "print(threads() - before)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "0\n"
