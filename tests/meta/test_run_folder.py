"""A run folder: its configuration, metrics that go back with the checkpoints, the best state, signals."""

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meta import config_file, files
from meta.checkpoints import CheckpointError, CheckpointWarning
from meta.config_file import RunWarning, read_config
from meta.metrics import read_metrics
from meta.run import RunFolder
from meta.signals import stop_on_signals

CONFIG = {"stage": 1, "outer": {"lr": 3e-4, "clip": float("inf")}, "tasks": ["mnist", "cifar10"]}


def _open(path: Path, config: Any = CONFIG, **options: Any) -> RunFolder:
    return RunFolder.open(path, config, **options)


def test_a_new_run_writes_down_what_it_is(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "first"
    with _open(path) as run:
        assert run.path == path
    content = read_config(path)
    assert content["config"] == CONFIG | {"outer": {"lr": 3e-4, "clip": "Infinity"}}
    made = content["provenance"]
    assert made["versions"]["jax"] == jax.__version__
    assert made["versions"]["numpy"] == np.__version__
    assert set(made["versions"]) == {"python", "celo", "jax", "jaxlib", "numpy", "optax"}
    assert made["devices"] == {
        "platform": jax.devices()[0].platform,
        "kind": jax.devices()[0].device_kind,
        "count": jax.device_count(),
    }
    assert made["git"] is None or len(made["git"]["revision"]) == 40
    assert made["created"].endswith("+00:00")
    assert content["resumed"] == []


def test_the_same_configuration_goes_on_without_a_word(tmp_path: Path) -> None:
    _open(tmp_path / "run").close()
    before = (tmp_path / "run" / "config.json").read_bytes()
    _open(tmp_path / "run", CONFIG | {"tasks": ("mnist", "cifar10")}).close()
    assert (tmp_path / "run" / "config.json").read_bytes() == before


def test_another_configuration_is_refused_key_by_key(tmp_path: Path) -> None:
    path = tmp_path / "run"
    _open(path).close()
    other = {"stage": 2, "outer": {"lr": 1e-3, "clip": float("inf"), "decay": 0.1}}
    with pytest.raises(ValueError, match="another configuration") as raised:
        _open(path, other)
    message = str(raised.value)
    assert "\n  stage: 1 in the run, 2 asked for\n" in message
    assert "\n  outer.lr: 0.0003 in the run, 0.001 asked for\n" in message
    assert "\n  tasks: ['mnist', 'cifar10'] in the run, '<absent>' asked for\n" in message
    assert "\n  outer.decay: '<absent>' in the run, 0.1 asked for\n" in message
    assert "outer.clip" not in message
    assert "--run-dir" in message
    _open(path).close()  # the refusal let go of the lock


def test_mutable_keys_may_change_and_are_written_down(tmp_path: Path) -> None:
    path = tmp_path / "run"
    config = {"seed": 0, "tracker": {"name": "jsonl", "mode": "online"}}
    changed = {"seed": 0, "tracker": {"name": "wandb", "mode": "online"}}
    _open(path, config, mutable_keys=["tracker"]).close()
    with _open(path, changed, mutable_keys=["tracker"]) as run:
        assert run.config == changed
    content = read_config(path)
    assert content["config"] == config
    assert [entry["changed"] for entry in content["resumed"]] == [{"tracker.name": "wandb"}]
    with pytest.raises(ValueError, match="seed: 0 in the run, 1 asked for"):
        _open(path, changed | {"seed": 1}, mutable_keys=["tracker"])


def test_an_unknown_mutable_key_is_named_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"mutable key 'outer\.Ir'.*'outer\.lr'"):
        _open(tmp_path / "run", mutable_keys=["outer.Ir"])
    assert not (tmp_path / "run").exists()


def test_other_versions_are_told_not_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "run"
    _open(path).close()
    then = config_file.provenance()
    later = then | {"versions": then["versions"] | {"jax": "99.0"}, "created": "2099"}
    monkeypatch.setattr(config_file, "provenance", lambda: dict(later))
    with pytest.warns(RunWarning, match=rf"versions\.jax was '{jax.__version__}', is '99\.0'$"):
        _open(path).close()
    assert read_config(path)["resumed"] == [{"at": "2099", "changed": {"versions.jax": "99.0"}}]


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "JSONDecodeError"),
        (b'{"config": {', "JSONDecodeError"),
        (b"\xff\xfe\x00", "UnicodeDecodeError"),
        (b'{"config": {}, "provenance": {}}', "KeyError"),
        (b'{"config": 1}', "TypeError"),
        (b"[]", "TypeError"),
    ],
)
def test_a_corrupt_config_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    _open(tmp_path / "run").close()
    (tmp_path / "run" / "config.json").write_bytes(content)
    with pytest.raises(ValueError, match=rf"config\.json is not readable \({reason}.*use another run folder"):
        _open(tmp_path / "run")
    assert (tmp_path / "run" / "config.json").read_bytes() == content


def test_a_folder_that_is_no_run_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(ValueError, match=r"is not a run: it has no config\.json, but holds thesis\.tex"):
        _open(tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["thesis.tex"]
    with pytest.raises(NotADirectoryError, match=r"thesis\.tex is a file; a run needs a folder"):
        _open(tmp_path / "thesis.tex")


def test_a_start_killed_before_its_configuration_can_be_repeated(tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text("process 1 on somewhere\n")
    (tmp_path / ".config.json.123.tmp").write_text("{")
    _open(tmp_path).close()
    assert read_config(tmp_path)["config"]["stage"] == 1


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"outer": {"fn": len}}, r"config\.outer\.fn is a builtin_function_or_method"),
        ({"tasks": [1, {2, 3}]}, r"config\.tasks\[1\] is a set"),
        ({"families": {3: "x"}}, r"config\.families has the key 3; keys must be strings"),
        ([("stage", 1)], r"config is a list"),
    ],
)
def test_a_configuration_json_cannot_hold_is_refused(tmp_path: Path, config: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        _open(tmp_path / "run", config)
    assert not (tmp_path / "run").exists()


def test_a_run_is_open_once(tmp_path: Path) -> None:
    with (
        _open(tmp_path / "run"),
        pytest.raises(BlockingIOError, match=f"in use by process {os.getpid()} on "),
    ):
        _open(tmp_path / "run")
    _open(tmp_path / "run").close()


def _train(run: RunFolder, first: int, last: int) -> None:
    """Log every step and save every fourth, as a trainer does."""
    for step in range(first, last + 1):
        run.metrics.log(step, {"loss": 1.0 / step, "eta": np.arange(step)})
        if step % 4 == 0:
            run.save(step, np.int32(step))


def _rows_without_time(path: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "time"} for row in read_metrics(path / "metrics.jsonl")]


def test_resumed_metrics_equal_uninterrupted_ones(tmp_path: Path) -> None:
    with _open(tmp_path / "whole") as run:
        assert run.restore_latest(np.int32(0)) is None
        _train(run, 1, 12)
    with _open(tmp_path / "parts") as run:
        _train(run, 1, 7)
    with open(tmp_path / "parts" / "metrics.jsonl", "a") as file:
        file.write('{"step": 8, "time": 1.0, "lo')  # killed while writing
    with _open(tmp_path / "parts") as run:
        assert run.restore_latest(np.int32(0)) == (4, 4)
        assert [row["step"] for row in read_metrics(tmp_path / "parts" / "metrics.jsonl")] == [1, 2, 3, 4]
        _train(run, 5, 12)
    assert _rows_without_time(tmp_path / "parts") == _rows_without_time(tmp_path / "whole")


def test_without_a_checkpoint_the_metrics_begin_anew(tmp_path: Path) -> None:
    with _open(tmp_path / "run") as run:
        _train(run, 1, 3)
    with _open(tmp_path / "run") as run:
        assert run.restore_latest(np.int32(0)) is None
        _train(run, 1, 2)
    assert [row["step"] for row in read_metrics(tmp_path / "run" / "metrics.jsonl")] == [1, 2]


def test_saving_before_restoring_is_refused(tmp_path: Path) -> None:
    with _open(tmp_path / "run") as run:
        _train(run, 1, 8)
    with (
        _open(tmp_path / "run") as run,
        pytest.raises(ValueError, match=r"step is 5, .*at step 8; restore it first"),
    ):
        run.save(5, np.int32(5))


def test_the_best_state_is_kept_beside_the_last(tmp_path: Path) -> None:
    metrics = [
        (10, 2.0, True),
        (20, float("nan"), False),
        (30, 1.5, True),
        (40, 1.5, False),
        (50, 1.9, False),
    ]
    with _open(tmp_path / "run") as run:
        assert run.restore_best(np.int32(0)) is None
        assert [run.save_best(step, np.int32(step), metric) for step, metric, _ in metrics] == [
            kept for _, _, kept in metrics
        ]
        run.save(50, np.int32(50))
    with _open(tmp_path / "run") as run:
        assert run.restore_latest(np.int32(0)) == (50, 50)
        assert run.restore_best(np.int32(0)) == (30, 30)
        assert not run.save_best(60, np.int32(60), 1.6)
        assert run.save_best(
            20, np.int32(20), -float("inf")
        )  # a repeated part of the run may find a better one
        assert run.restore_best(np.int32(0)) == (20, 20)


def test_a_first_metric_of_nan_or_inf_is_no_best(tmp_path: Path) -> None:
    with _open(tmp_path / "run") as run:
        assert not run.save_best(1, np.int32(1), float("nan"))
        assert not run.save_best(2, np.int32(2), float("inf"))
        assert run.restore_best(np.int32(0)) is None


def test_a_damaged_best_state_is_told_on_resuming(tmp_path: Path) -> None:
    with _open(tmp_path / "run") as run:
        run.save_best(10, np.int32(10), 2.0)
        run.save(12, np.int32(12))
    (tmp_path / "run" / "best" / "00000010" / "manifest.json").write_bytes(b"")
    with _open(tmp_path / "run") as run:
        with pytest.warns(CheckpointWarning, match=r"step 10 in .*best is damaged"):
            run.restore_latest(np.int32(0))
        assert run.restore_best(np.int32(0)) is None
        assert run.save_best(20, np.int32(20), 3.0)


def test_a_run_whose_checkpoints_are_all_damaged_does_not_begin_anew(tmp_path: Path) -> None:
    with _open(tmp_path / "run") as run:
        _train(run, 1, 4)
    (tmp_path / "run" / "checkpoints" / "00000004" / "manifest.json").unlink()
    rows = (tmp_path / "run" / "metrics.jsonl").read_bytes()
    with (
        _open(tmp_path / "run") as run,
        pytest.raises(CheckpointError, match=r"step 4: manifest\.json is missing"),
    ):
        run.restore_latest(np.int32(0))
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == rows


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

    monkeypatch.setattr("meta.files.os.fsync", refuse)
    with pytest.raises(OSError, match="No space left"):
        files.write_atomically(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]


def test_signals_are_requests_and_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with stop_on_signals() as stop:
        assert (stop.requested, stop.exit_code, stop.signal) == (False, 0, None)
        signal.raise_signal(signal.SIGTERM)
        assert (stop.requested, stop.exit_code, stop.signal) == (True, 143, signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_signals_are_received_by_the_main_thread_only() -> None:
    raised: list[BaseException] = []

    def enter() -> None:
        try:
            with stop_on_signals():
                pass
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert "outside the main thread" in str(raised[0])
