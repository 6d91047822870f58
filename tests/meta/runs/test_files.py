"""Files a run writes: values come back from standard JSON, and a write that fails changes nothing."""

import json
from pathlib import Path
from typing import Any

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


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"[" * 100_000, "nested too deep"),
        (b'{"a":' * 100_000, "nested too deep"),
        (b"", "Expecting value"),
        (b"\xff\xfe\x00", ""),
        (b'{"a": ' + b"9" * 5000 + b"}", "digits"),
    ],
)
def test_json_that_cannot_be_parsed_names_its_source(text: bytes, message: str) -> None:
    with pytest.raises(ValueError, match=f"here is not readable: .*{message}"):
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
