"""Trackers: rows that any JSON parser reads, and a dashboard that keeps its run."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from celo.meta.runs.metrics import JsonlTracker, read_metrics
from celo.meta.runs.run import RunFolder
from celo.meta.runs.trackers import RunTracker, Tracker, make_tracker


def test_numbers_come_back_as_they_went(tmp_path: Path) -> None:
    row = {
        "loss": 0.1,
        "steps": 3,
        "best": True,
        "float32": np.float32(0.1),
        "bfloat16": jnp.asarray(1.5, jnp.bfloat16),
        "device": jnp.asarray(2.5),
        "nan": float("nan"),
        "inf": jnp.inf,
        "-inf": np.float64(-np.inf),
    }
    with JsonlTracker(tmp_path / "m.jsonl") as tracker:
        tracker.log(7, row)
    [read] = read_metrics(tmp_path / "m.jsonl")
    assert read.pop("step") == 7
    assert read.pop("time") > 1.6e9
    assert read["float32"] == float(np.float32(0.1))
    np.testing.assert_equal(read, {name: np.asarray(value).item() for name, value in row.items()})
    line = (tmp_path / "m.jsonl").read_text()
    json.loads(line, parse_constant=pytest.fail)
    assert '"nan": "NaN"' in line


def test_arrays_are_kept_as_their_distribution(tmp_path: Path) -> None:
    array = np.array(
        [[np.nan, 0.0, 1.0], [2.0, 3.0, np.inf], [4.0, 5.0, 6.0], [7.0, 8.0, 9.0], [10.0, -np.inf, np.nan]]
    )
    with JsonlTracker(tmp_path / "m.jsonl") as tracker:
        tracker.log(1, {"eta": array.astype(np.float32), "none": np.full(3, np.nan), "empty": np.zeros(0)})
    [row] = read_metrics(tmp_path / "m.jsonl")
    assert row["eta"] == {"size": 15, "finite": 11, "mean": 5.0, "quantiles": [float(i) for i in range(11)]}
    assert row["none"] == {"size": 3, "finite": 0, "mean": None, "quantiles": None}
    assert row["empty"] == {"size": 0, "finite": 0, "mean": None, "quantiles": None}


@pytest.mark.parametrize("bad", ["0.3", None, [None], {"a": 1}, 1j, np.array(["x"])])
def test_what_is_no_number_is_refused(tmp_path: Path, bad: Any) -> None:
    with (
        JsonlTracker(tmp_path / "m.jsonl") as tracker,
        pytest.raises(TypeError, match=r"metric 'loss' is .*; expected a number"),
    ):
        tracker.log(1, {"loss": bad})
    assert (tmp_path / "m.jsonl").read_bytes() == b""


def test_steps_and_names_are_checked(tmp_path: Path) -> None:
    with JsonlTracker(tmp_path / "m.jsonl") as tracker:
        tracker.log(5, {"loss": 1.0})
        tracker.log(5, {"validation": 2.0})
        with pytest.raises(ValueError, match="step is 4; the last row logged has step 5"):
            tracker.log(4, {"loss": 1.0})
        with pytest.raises(ValueError, match="a metric is named 'time'"):
            tracker.log(6, {"time": 1.0})
    with pytest.raises(ValueError, match="is closed"):
        tracker.log(6, {"loss": 1.0})
    with JsonlTracker(tmp_path / "m.jsonl") as tracker, pytest.raises(ValueError, match=r"step is 1; .* 5"):
        tracker.log(1, {"loss": 1.0})


def test_a_half_written_last_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    with JsonlTracker(path) as tracker:
        tracker.log(1, {"loss": 1.0})
        tracker.log(2, {"loss": 2.0})
    whole = path.read_bytes()
    for cut in range(whole.index(b"\n") + 1, len(whole)):
        path.write_bytes(whole[:cut])
        assert [row["step"] for row in read_metrics(path)] == [1]
        with JsonlTracker(path) as tracker:
            tracker.log(2, {"loss": 2.0})
        assert [(row["step"], row["loss"]) for row in read_metrics(path)] == [(1, 1.0), (2, 2.0)]


@pytest.mark.parametrize(
    "line",
    [b"{}", b"garbage", b'{"step": "x"}', b"[1]", b'{"step": 1, "loss": "low"}', b"\xff", b"[" * 100_000],
    ids=["empty", "garbage", "step", "list", "word", "not text", "deep"],
)
def test_damage_in_the_middle_is_told_with_its_line(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "m.jsonl"
    path.write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 2}\n')
    with pytest.raises(ValueError, match=r"line 2 of .*m\.jsonl is not a row of metrics"):
        read_metrics(path)
    with pytest.raises(ValueError, match="line 2"):
        JsonlTracker(path)


def test_a_full_disk_leaves_whole_rows(tmp_path: Path) -> None:
    """In a child, since the limit on file sizes cannot be taken back by every user."""
    program = f"""
import resource
from celo.meta.runs.metrics import JsonlTracker
tracker = JsonlTracker({str(tmp_path / "m.jsonl")!r})
resource.setrlimit(resource.RLIMIT_FSIZE, (300, 300))
for step in range(1, 100):
    tracker.log(step, {{"loss": 1.0}})
"""
    child = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert child.returncode != 0
    assert "a row of metrics could not be written: File too large" in child.stderr
    content = (tmp_path / "m.jsonl").read_bytes()
    assert content.endswith(b"}\n")
    rows = read_metrics(tmp_path / "m.jsonl")
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) > 1


class _Recorder(Tracker):
    def __init__(self, broken: bool = False) -> None:
        self.rows: list[tuple[int, Mapping[str, Any]]] = []
        self.closed, self.broken = 0, broken

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        self.rows.append((step, metrics))

    def close(self) -> None:
        self.closed += 1
        if self.broken:
            raise OSError("no network")


def test_several_trackers_all_get_everything_and_are_all_closed() -> None:
    """But for the file, which is the run's."""
    file, *others = trackers = [_Recorder(broken) for broken in (False, False, True, False)]
    with pytest.raises(OSError, match="no network"), RunTracker(file, *others) as tracker:
        tracker.log(1, {"loss": 1.0})
    assert all(tracker.rows == [(1, {"loss": 1.0})] for tracker in trackers)
    assert [tracker.closed for tracker in trackers] == [0, 1, 1, 1]


@pytest.mark.parametrize("name", ["jsonl", "none"])
def test_jsonl_is_always_on(tmp_path: Path, name: str) -> None:
    with RunFolder.open(tmp_path / "run", {}) as run:
        for step in (1, 2):  # the file outlives a tracker, for instance that of the first of two stages
            with make_tracker(name, run) as tracker:
                tracker.log(step, {"loss": 1.0 / step})
        run.save(2, np.int32(2))
    assert [row["loss"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [1.0, 0.5]


@pytest.mark.parametrize(
    ("name", "mode", "message"),
    [
        ("wand", "online", r"tracker 'wand'.*'wandb'.*jsonl, none, wandb"),
        ("tensorboard", "online", r"tracker 'tensorboard'"),
        ("wandb", "ofline", r"wandb mode 'ofline'.*'offline'"),
    ],
)
def test_unknown_names_are_refused(tmp_path: Path, name: str, mode: str, message: str) -> None:
    with RunFolder.open(tmp_path / "run", {}) as run:
        with pytest.raises(ValueError, match=message):
            make_tracker(name, run, mode=mode)
        assert not (tmp_path / "run" / "wandb.json").exists()


def test_wandb_missing_is_told_with_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    with RunFolder.open(tmp_path / "run", {}) as run, pytest.raises(RuntimeError, match=r"celo\[train\]"):
        make_tracker("wandb", run, mode="offline")
