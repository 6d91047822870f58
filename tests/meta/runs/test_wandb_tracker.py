"""wandb, as far as it goes without a network: what it wrote is read back from its own files."""

import importlib
import struct
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from celo.meta.runs import wandb_tracker
from celo.meta.runs.metrics import read_metrics
from celo.meta.runs.run import RunFolder
from celo.meta.runs.trackers import make_tracker

wandb: Any = pytest.importorskip("wandb", reason="the tracker for wandb needs wandb")
_BLOCK, _HEADER = 32768, 7


@pytest.fixture(autouse=True)
def _no_trace(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Generator[None, None, None]:
    """Keep wandb out of the home folder, away from any network, and end its background process."""
    for name in ("CACHE", "CONFIG", "DATA"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / name))
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # the discard port: refuses at once
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setenv("WANDB_SILENT", "true")
    yield
    wandb.teardown()


def _records(path: Path) -> Iterator[Any]:
    """The records of a .wandb file: 7 bytes, then a LevelDB log of protocol buffers in blocks of 32 KiB."""
    messages: Any = importlib.import_module("wandb.proto.wandb_internal_pb2")
    data, position, record = path.read_bytes(), _HEADER, b""
    assert data.startswith(b":W&B")
    while position + _HEADER <= len(data):
        if _BLOCK - position % _BLOCK < _HEADER:  # no room for a header: zeros to the end of the block
            position += _BLOCK - position % _BLOCK
            continue
        _, size, kind = struct.unpack_from("<IHB", data, position)
        position += _HEADER + size
        record += data[position - size : position]
        if kind in (1, 4):  # a whole record, or the last part of one
            yield messages.Record.FromString(record)
            record = b""


def _history(records: list[Any]) -> list[dict[str, str]]:
    return [
        {".".join(item.nested_key) or item.key: item.value_json for item in record.history.item}
        for record in records
        if record.WhichOneof("record_type") == "history"
    ]


def test_offline_runs_resume_under_one_id(tmp_path: Path) -> None:
    path = tmp_path / "first-try"
    for steps in ((1, 2, 3), (3, 4)):  # killed after step 3, resumed from a checkpoint at step 2
        with RunFolder.open(path, {"seed": 5}) as run:
            run.restore_latest(np.int32(0))
            with make_tracker(
                "wandb", run, "offline", "lopt", "seeds", job_type="meta-train", rename="train/{}".format
            ) as tracker:
                for step in steps:
                    eta = np.array([1.0, 3.0, np.nan], np.float32)
                    tracker.log(step, {"loss": 0.5 * step, "eta": eta, "none": np.full(3, np.nan)})
                    if step == 2:
                        run.save(step, np.int32(step))

    wandb.teardown()  # waits until the background process has written everything
    starts = sorted((path / "wandb").glob("offline-run-*"), key=lambda folder: folder.stat().st_mtime)
    assert len(starts) == 2
    identities, rows = [], []
    for folder in starts:
        [file] = folder.glob("*.wandb")
        records = list(_records(file))
        [run_record] = [r.run for r in records if r.WhichOneof("record_type") == "run"]
        identities.append(
            (run_record.run_id, run_record.project, run_record.display_name, run_record.run_group)
        )
        assert run_record.job_type == "meta-train"
        assert run_record.resume, "without it, `wandb sync` would write the second part over the first"
        assert {u.key: u.value_json for u in run_record.config.update}["seed"] == "5"
        axes = {r.metric.glob_name: r.metric.step_metric for r in records if r.metric.glob_name}
        assert axes == {"*": "step"}
        rows += _history(records)
    assert identities[0] == identities[1]
    assert identities[0][1:] == ("lopt", "first-try", "seeds")
    assert [row["step"] for row in rows] == list("12334")
    assert [row["train/loss"] for row in rows] == ["0.5", "1", "1.5", "1.5", "2"]
    assert set(rows[0]["train/none.values"].strip("[]").split(",")) == {"0"}  # no finite entry, no error
    assert rows[0]["train/eta._type"] == '"histogram"'
    counts = [int(count) for count in rows[0]["train/eta.values"].strip("[]").split(",")]
    assert sum(counts) == counts[0] + counts[-1] == 2
    assert [row["step"] for row in read_metrics(path / "metrics.jsonl")] == [1, 2, 3, 4]


def test_the_result_is_an_artifact_and_the_best_is_in_the_summary(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "run", {}) as run, make_tracker("wandb", run, "offline") as tracker:
        (run.path / "theta.safetensors").write_bytes(b"theta")
        tracker.log(1, {"loss": 1.0})
        tracker.summarise({"best": 0.5})
        tracker.keep(run.path / "theta.safetensors", "theta")
    wandb.teardown()
    [file] = (tmp_path / "run" / "wandb").glob("offline-run-*/*.wandb")
    records = list(_records(file))
    [artifact] = [r.request.log_artifact.artifact for r in records if r.HasField("request")] or [
        r.artifact for r in records if r.WhichOneof("record_type") == "artifact"
    ]
    assert artifact.name.startswith("theta-")
    assert artifact.type == "theta"
    assert [entry.path for entry in artifact.manifest.contents] == ["theta.safetensors"]
    summaries = [r.summary for r in records if r.WhichOneof("record_type") == "summary"]
    written = {item.key or item.nested_key[0]: item.value_json for s in summaries for item in s.update}
    assert written["best"] == "0.5"


def test_disabled_mode_logs_to_the_file_alone(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "run", {}) as run, make_tracker("wandb", run, "disabled") as tracker:
        tracker.log(1, {"loss": 1.0, "eta": np.ones(3)})
    assert len(read_metrics(tmp_path / "run" / "metrics.jsonl")) == 1
    assert not list((tmp_path / "run").glob("**/*.wandb"))


def test_no_network_is_told_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_tracker, "_START_TIMEOUT", 1.0)
    message = "wandb did not start in online mode: .*offline mode"
    with RunFolder.open(tmp_path / "run", {}) as run, pytest.raises(RuntimeError, match=message):
        make_tracker("wandb", run, "online")


def test_a_corrupt_id_file_is_told(tmp_path: Path) -> None:
    with RunFolder.open(tmp_path / "run", {}) as run:
        for content in ("{", "[]", "{}", '{"id": 3}', '{"id": "../x"}', "[" * 100_000):
            (tmp_path / "run" / "wandb.json").write_text(content)
            with pytest.raises(ValueError, match=r"wandb\.json is not readable: .*delete it"):
                make_tracker("wandb", run, "offline")


@pytest.mark.parametrize(
    ("given", "variable", "mode"),
    [
        *((None, "", "online"), (None, "offline", "offline"), (None, "dryrun", "offline")),
        *(("disabled", "offline", "disabled"), ("online", "nonsense", "online")),
    ],
)
def test_the_mode_is_the_one_given_or_that_of_the_variable(
    given: str | None, variable: str, mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WANDB_MODE", variable)
    assert wandb_tracker.mode_of(given) == mode
    monkeypatch.setenv("WANDB_MODE", "offlin")
    with pytest.raises(ValueError, match=r"WANDB_MODE\) 'offlin'.*'offline'"):
        wandb_tracker.mode_of(None)
