"""Damaged checkpoints of a run are found, and a save that fails or is killed leaves the earlier ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celo.meta.runs.checkpoints import CheckpointError, Checkpoints, CheckpointWarning

LAST = "00000002.safetensors"


def _flip(path: Path, position: int | None = None) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2 if position is None else position] ^= 1
    path.write_bytes(bytes(content))


def _save_two(folder: Path) -> Checkpoints:
    checkpoints = Checkpoints(folder)
    for step in (1, 2):
        checkpoints.save(step, {"x": np.full(100, step, np.float32), "n": np.int32(step)})
    return checkpoints


def _restored(checkpoints: Checkpoints) -> int:
    found = checkpoints.restore_latest({"x": np.zeros(100, np.float32), "n": np.int32(0)})
    assert found is not None
    assert (found.state["x"] == found.step).all()
    return found.step


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "cut short": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "last byte missing": lambda path: path.write_bytes(path.read_bytes()[:-1]),
    "longer": lambda path: path.write_bytes(path.read_bytes() + b"x"),
    "emptied": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(b"\xff\x00" * 50),
    "a folder": lambda path: (path.unlink(), path.mkdir()),
    "deep": lambda path: path.write_bytes((10**5).to_bytes(8, "little") + b"[" * 10**5),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damage_is_found_and_the_checkpoint_before_is_used(tmp_path: Path, damage: str) -> None:
    checkpoints = _save_two(tmp_path)
    DAMAGES[damage](tmp_path / LAST)
    with pytest.warns(CheckpointWarning, match=r"step 2 .* damaged \(.*using the one before, at step 1"):
        assert _restored(checkpoints) == 1
    assert (tmp_path / f".damaged-{LAST}").exists()


def test_every_flipped_bit_is_found(tmp_path: Path) -> None:
    """One bit of each byte in turn, header and numbers alike."""
    checkpoints = _save_two(tmp_path)
    content = (tmp_path / LAST).read_bytes()
    for position in range(len(content)):
        (tmp_path / LAST).write_bytes(content)
        _flip(tmp_path / LAST, position)
        with pytest.warns(CheckpointWarning, match="step 2"):
            assert checkpoints.latest_notes() == {"step": 1}
    (tmp_path / LAST).write_bytes(content)
    assert _restored(checkpoints) == 2


def test_a_renamed_checkpoint_is_not_taken_for_another_step(tmp_path: Path) -> None:
    checkpoints = _save_two(tmp_path)
    (tmp_path / LAST).rename(tmp_path / "00000007.safetensors")
    with pytest.warns(CheckpointWarning, match=r"step 7 .* damaged \(it was saved at step 2\)"):
        assert _restored(checkpoints) == 1


def test_after_falling_back_the_step_is_saved_anew(tmp_path: Path) -> None:
    checkpoints = _save_two(tmp_path)
    _flip(tmp_path / LAST)
    with pytest.warns(CheckpointWarning, match="step 2"):
        assert _restored(checkpoints) == 1
    assert checkpoints.steps() == [1]
    checkpoints.save(2, {"x": np.full(100, 2, np.float32), "n": np.int32(2)})
    assert _restored(checkpoints) == 2
    assert checkpoints.steps() == [1, 2]


def test_all_damaged_is_an_error_that_changes_nothing(tmp_path: Path) -> None:
    checkpoints = _save_two(tmp_path)
    for step in checkpoints.steps():
        _flip(tmp_path / f"{step:08d}.safetensors")
    with pytest.raises(CheckpointError, match=r"every checkpoint .*\n  step 2: .*\n  step 1: "):
        checkpoints.restore_latest({"x": np.zeros(100, np.float32), "n": np.int32(0)})
    assert checkpoints.steps() == [1, 2]


def test_leftovers_of_killed_saves_are_removed_and_never_read(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, np.int32(1))
    (tmp_path / f".{LAST}.17-99.tmp").write_bytes(b"half")
    found = checkpoints.restore_latest(np.int32(0))
    assert found is not None
    assert found[:2] == (1, 1)
    checkpoints.save(2, np.int32(2))
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["00000001.safetensors", LAST]


def test_a_failed_rename_leaves_no_trace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The commit itself can fail too: the last moment of a save, after everything was written."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, np.int32(1))

    def refuse(_source: Path, _target: Path) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("celo._core.files.os.replace", refuse)
    with pytest.raises(CheckpointError, match=r"Input/output error\. Earlier .* intact \(step 1\)"):
        checkpoints.save(2, np.int32(2))
    assert [entry.name for entry in tmp_path.iterdir()] == ["00000001.safetensors"]
