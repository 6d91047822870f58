"""Damaged checkpoints of a run are found, and a save that fails or is killed leaves the earlier ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celo.meta.runs.checkpoints import CheckpointError, Checkpoints, CheckpointWarning


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "flipped bit": _flip,
    "cut short": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "emptied": lambda path: path.write_bytes(b""),
    "removed": Path.unlink,
    "garbage": lambda path: path.write_bytes(b"\xff\x00" * 50),
}


def _save_two(folder: Path) -> Checkpoints:
    checkpoints = Checkpoints(folder)
    for step in (1, 2):
        checkpoints.save(step, {"x": np.full(100, step, np.float32), "n": np.int32(step)})
    return checkpoints


def _expect_step_one(checkpoints: Checkpoints) -> None:
    found = checkpoints.restore_latest({"x": np.zeros(100, np.float32), "n": np.int32(0)})
    assert found is not None
    assert found[0] == 1
    assert (found[1]["x"] == 1).all()


@pytest.mark.parametrize("damage", DAMAGES)
def test_every_file_is_watched(tmp_path: Path, damage: str) -> None:
    """Damage each file of the last checkpoint in turn; orbax alone reads on through some of it."""
    checkpoints = _save_two(tmp_path)
    last = tmp_path / "00000002"
    names = [path.relative_to(last) for path in last.rglob("*") if path.is_file()]
    assert len(names) > 3
    for name in names:
        before = (last / name).read_bytes()
        if not before and damage in ("flipped bit", "cut short", "emptied"):
            continue
        DAMAGES[damage](last / name)
        with pytest.warns(
            CheckpointWarning, match=rf"step 2 .* damaged \({name}.*using the one before, at step 1"
        ):
            _expect_step_one(checkpoints)
        (tmp_path / ".damaged-00000002").rename(last)
        (last / name).write_bytes(before)
    found = checkpoints.restore_latest({"x": np.zeros(100, np.float32), "n": np.int32(0)})
    assert found is not None
    assert found[0] == 2


def test_a_renamed_checkpoint_is_not_taken_for_another_step(tmp_path: Path) -> None:
    checkpoints = _save_two(tmp_path)
    (tmp_path / "00000002").rename(tmp_path / "00000007")
    with pytest.warns(CheckpointWarning, match=r"step 7 .* damaged \(it was saved at step 2\)"):
        _expect_step_one(checkpoints)


def test_after_falling_back_the_step_is_saved_anew(tmp_path: Path) -> None:
    checkpoints = _save_two(tmp_path)
    _flip(tmp_path / "00000002" / "manifest.json")
    with pytest.warns(CheckpointWarning, match="step 2"):
        _expect_step_one(checkpoints)
    assert checkpoints.steps() == [1]
    checkpoints.save(2, {"x": np.full(100, 2, np.float32), "n": np.int32(2)})
    assert checkpoints.restore_latest({"x": np.zeros(100, np.float32), "n": np.int32(0)}) is not None
    assert checkpoints.steps() == [1, 2]


def test_all_damaged_is_an_error_that_changes_nothing(tmp_path: Path) -> None:
    checkpoints = _save_two(tmp_path)
    for step in checkpoints.steps():
        _flip(tmp_path / f"{step:08d}" / "manifest.json")
    with pytest.raises(
        CheckpointError, match=r"every checkpoint .*\n  step 2: .*\n  step 1: .*\nNothing was changed"
    ):
        checkpoints.restore_latest({"x": np.zeros(100, np.float32), "n": np.int32(0)})
    assert checkpoints.steps() == [1, 2]


def test_leftovers_of_killed_saves_are_removed_and_never_read(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, np.int32(1))
    for leftover in (".writing-00000002", ".removing-00000000"):
        (tmp_path / leftover).mkdir()
        (tmp_path / leftover / "part").write_bytes(b"half")
    assert checkpoints.restore_latest(np.int32(0)) == (1, 1)
    checkpoints.save(2, np.int32(2))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["00000001", "00000002"]


def test_a_failed_rename_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit itself can fail too: the last moment of a save, after everything was written."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, np.int32(1))

    def refuse(_source: Path, _target: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("celo.meta.runs.checkpoints.os.replace", refuse)
    with pytest.raises(
        CheckpointError, match=r"step 2 .*: Input/output error\. Earlier .* intact \(step 1\)"
    ):
        checkpoints.save(2, np.int32(2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["00000001"]
