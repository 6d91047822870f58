"""Files a run writes: values come back from standard JSON, and a write that fails changes nothing."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from celo.meta.runs import files


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3), st.lists, max_leaves=5
    )
)
def test_json_ready_values_are_standard_json(value: Any) -> None:
    ready = files.json_ready(value)
    assert json.loads(files.json_bytes(ready), parse_constant=pytest.fail) == ready


@given(st.floats())
def test_floats_come_back_from_json(value: float) -> None:
    back = files.number_from_json(json.loads(json.dumps(files.json_ready(value), allow_nan=False)))
    assert isinstance(back, float)
    assert np.array_equal(back, value, equal_nan=True)


def test_an_atomic_write_that_fails_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write_atomically(tmp_path / "file", b"old")

    def refuse(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("celo.meta.runs.files.os.fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_folder_still_written_to_is_removed_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is written between the look into a folder and its removal makes the removal fail."""
    folder, remove, late = tmp_path / "folder", shutil.rmtree, [3]

    def rmtree(path: Path, ignore_errors: bool) -> None:
        remove(path, ignore_errors=ignore_errors)
        if late[0]:
            late[0] -= 1
            (folder / "deep").mkdir(parents=True)

    folder.mkdir()
    monkeypatch.setattr("celo.meta.runs.files.shutil.rmtree", rmtree)
    assert files.remove_while_written(folder)
    assert late == [0]
    assert not folder.exists()


def test_a_folder_that_cannot_be_removed_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("celo.meta.runs.files.shutil.rmtree", lambda path, ignore_errors: None)
    assert not files.remove_while_written(tmp_path, patience=0.05)


def test_logs_and_hidden_files_are_not_foreign(tmp_path: Path) -> None:
    for name in ("a.log", "b.out", "c.err", ".hidden", "mine", "theirs", "d.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.log").mkdir()
    assert files.foreign(tmp_path, own=("mine",)) == ["d.txt", "folder.log", "theirs"]
