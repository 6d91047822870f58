"""A run folder: opened once and over nothing else; metrics go back with the checkpoints; the best state."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celo.meta.runs.checkpoints import CheckpointError, CheckpointWarning
from celo.meta.runs.config_file import read_config
from celo.meta.runs.metrics import read_metrics
from celo.meta.runs.run import RunFolder


def open_run(path: Path) -> RunFolder:
    return RunFolder.open(path, {"stage": 1})


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match=r"is not a run: it has no config\.json, but holds thesis\.tex"):
        open_run(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(NotADirectoryError, match=r"thesis\.tex is a file; expected a folder"):
        open_run(tmp_path / "thesis.tex")


def test_a_start_killed_before_its_configuration_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("process 1 on somewhere\n")
    (tmp_path / ".config.json.123.tmp").write_text("{")
    open_run(tmp_path).close()
    assert read_config(tmp_path)["config"]["stage"] == 1


def latest(run: RunFolder) -> tuple[int, Any]:
    found = run.restore_latest(np.int32(0))
    assert found is not None
    return found[:2]


def best(run: RunFolder) -> tuple[int, Any]:
    found = run.restore_best(np.int32(0))
    assert found is not None
    return found[:2]


def _train(run: RunFolder, first: int, last: int) -> None:
    """Log every step and save every fourth, as a trainer does."""
    for step in range(first, last + 1):
        run.metrics.log(step, {"loss": 1.0 / step, "eta": np.arange(step)})
        if step % 4 == 0:
            run.save(step, np.int32(step))


def _rows_without_time(path: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "time"} for row in read_metrics(path / "metrics.jsonl")]


def test_resumed_metrics_equal_uninterrupted_ones(tmp_path: Path) -> None:
    with open_run(tmp_path / "whole") as run:
        assert run.restore_latest(np.int32(0)) is None
        _train(run, 1, 12)
    with open_run(tmp_path / "parts") as run:
        _train(run, 1, 7)
    with open(tmp_path / "parts" / "metrics.jsonl", "a") as file:
        file.write('{"step": 8, "time": 1.0, "lo')  # killed while writing
    with open_run(tmp_path / "parts") as run:
        assert latest(run) == (4, 4)
        assert [row["step"] for row in read_metrics(tmp_path / "parts" / "metrics.jsonl")] == [1, 2, 3, 4]
        _train(run, 5, 12)
    assert _rows_without_time(tmp_path / "parts") == _rows_without_time(tmp_path / "whole")


@pytest.mark.parametrize("kept", [0, 3, None])
def test_metrics_shorter_than_the_checkpoint_are_refused(tmp_path: Path, kept: int | None) -> None:
    """Rows that were lost would make a resumed run look like one that never measured them."""
    with open_run(tmp_path / "run") as run:
        _train(run, 1, 4)
    path = tmp_path / "run" / "metrics.jsonl"
    whole = path.read_bytes()
    path.unlink()
    if kept is not None:
        path.write_bytes(b"".join(whole.splitlines(keepends=True)[:kept]))
    message = rf"metrics\.jsonl has {kept or 0} rows up to step 4, .* after 4: rows are missing"
    with open_run(tmp_path / "run") as run, pytest.raises(ValueError, match=message):
        run.restore_latest(np.int32(0))
    path.write_bytes(whole)
    with open_run(tmp_path / "run") as run:
        assert latest(run) == (4, 4)


def test_metrics_follow_no_link(tmp_path: Path) -> None:
    open_run(tmp_path / "run").close()
    (tmp_path / "victim").write_bytes(b"")
    (tmp_path / "run" / "metrics.jsonl").unlink()
    (tmp_path / "run" / "metrics.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match=r"symbolic links.*metrics\.jsonl"):
        open_run(tmp_path / "run")


def test_without_a_checkpoint_the_metrics_begin_anew(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        _train(run, 1, 3)
    with open_run(tmp_path / "run") as run:
        assert run.restore_latest(np.int32(0)) is None
        _train(run, 1, 2)
    assert [row["step"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [1, 2]


def test_saving_before_restoring_is_refused(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        _train(run, 1, 8)
    with open_run(tmp_path / "run") as run, pytest.raises(ValueError, match=r"step is 5, .*step 8; restore"):
        run.save(5, np.int32(5))


def test_the_best_state_is_kept_beside_the_last(tmp_path: Path) -> None:
    metrics = {1: np.nan, 2: np.inf, 10: 2.0, 20: np.nan, 30: 1.5, 40: 1.5, 50: 1.9}
    with open_run(tmp_path / "run") as run:
        kept = [step for step, metric in metrics.items() if run.save_best(step, np.int32(step), metric)]
        assert kept == [10, 30]
        run.save(50, np.int32(50))
    with open_run(tmp_path / "run") as run:
        assert latest(run) == (50, 50)
        assert best(run) == (30, 30)
        assert run.best() == (30, 1.5)
        assert not run.save_best(60, np.int32(60), 1.6)
        assert run.save_best(20, np.int32(20), -np.inf)  # a repeated part of the run may find a better one
        assert best(run) == (20, 20)


def test_a_damaged_best_state_is_reported_on_resuming(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        run.save_best(10, np.int32(10), 2.0)
        run.save(12, np.int32(12))
    (tmp_path / "run" / "best" / "00000010.safetensors").write_bytes(b"")
    with open_run(tmp_path / "run") as run:
        with pytest.warns(CheckpointWarning, match=r"step 10 in .*best is damaged"):
            run.restore_latest(np.int32(0))
        assert run.restore_best(np.int32(0)) is None
        assert run.save_best(20, np.int32(20), 3.0)


def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_anew(tmp_path: Path) -> None:
    with open_run(tmp_path / "run") as run:
        _train(run, 1, 4)
    (tmp_path / "run" / "checkpoints" / "00000004.safetensors").write_bytes(b"")
    rows = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with open_run(tmp_path / "run") as run, pytest.raises(CheckpointError, match="step 4: it was cut"):
        run.restore_latest(np.int32(0))
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == rows
