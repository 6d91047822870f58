"""Files a run writes: values come back from standard JSON, and a write that fails changes nothing."""

import json
import os
import threading
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

    monkeypatch.setattr("celo._core.files.os.fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_an_atomic_write_follows_no_link(tmp_path: Path) -> None:
    """Neither at the name itself nor at the temporary one, which somebody may guess."""
    (tmp_path / "victim").write_bytes(b"mine")
    temporary = f".file.{os.getpid()}-{threading.get_ident()}.tmp"
    for name in ("file", temporary):
        (tmp_path / name).symlink_to(tmp_path / "victim")
    files.write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "victim").read_bytes() == b"mine"
    assert (tmp_path / "file").read_bytes() == b"new"
    assert not (tmp_path / "file").is_symlink()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[" * 100_000, "here is not readable: its JSON is nested too deep"),
        (b'{"a":' * 100_000, "here is not readable: its JSON is nested too deep"),
        (b"", "here is not readable: Expecting value"),
        (b"\xff\xfe\x00", "here is not readable: "),
        (b'{"a": ' + b"9" * 5000 + b"}", "here is not readable: .*digits"),
    ],
)
def test_json_that_cannot_be_parsed_names_its_source(text: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        files.parse_json(text, "here")


@pytest.mark.parametrize(
    ("relative", "error", "message"),
    [
        ("file", NotADirectoryError, "^folder [^ ]*file is a file; expected a folder"),
        ("file/run/deep", NotADirectoryError, "cannot be created: .*file is a file"),
        ("/".join("d" * 300), ValueError, "levels; expected at most 100"),
        ("x" * 300, OSError, "File name too long"),
        ("a\0b", ValueError, "contains a null byte"),
    ],
)
def test_folders_that_cannot_be(tmp_path: Path, relative: str, error: type, message: str) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(error, match=message):
        files.check_folder(tmp_path / relative)
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_a_folder_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda place, mode: False)  # the superuser may write anywhere
    with pytest.raises(PermissionError, match="no permission for"):
        files.check_folder(tmp_path / "new" / "run")


def test_logs_and_hidden_files_are_not_foreign(tmp_path: Path) -> None:
    for name in ("a.log", "b.out", "c.err", ".hidden", "mine", "theirs", "d.txt"):
        (tmp_path / name).touch()
    (tmp_path / "folder.log").mkdir()
    assert files.foreign(tmp_path, own=("mine",)) == ["d.txt", "folder.log", "theirs"]
