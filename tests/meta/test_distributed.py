"""Two processes under `jax.distributed` on loopback do what one process does."""

import json
import signal
import socket
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import celo
from celo._core import trees
from celo.meta.runs.metrics import read_metrics
from tests.meta.conftest import Start
from tests.meta.trainer_child import ROOT, command, environment, held, options, theta_bytes, wait_for_rows

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_two(start: Start, run_dir: Path, **changed: Any) -> list[subprocess.Popen[str]]:
    """Two processes of one run with one device each."""
    shared = {"host_devices": 1, "coordinator": f"127.0.0.1:{free_port()}", "num_processes": 2, **changed}
    return [start(command(options(run_dir, process_id=index, **shared), "tell_devices")) for index in (0, 1)]


def ended(children: list[subprocess.Popen[str]]) -> list[str]:
    """What both printed, after they ended well."""
    outputs = []
    for child in children:
        out, errors = child.communicate(timeout=300)
        assert child.returncode == 0, errors
        assert json.loads(out.splitlines()[-1]) == {"processes": 2, "devices": 2}
        outputs.append(out)
    return outputs


@pytest.fixture(scope="module")
def single(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The run of one process with as many devices.

    With one device the arrays are twice as large, which XLA may round otherwise; divided by 2 sigma^2 = 2e-4,
    the last digit of a loss is the fourth of a meta-gradient.
    """
    run_dir = tmp_path_factory.mktemp("single") / "run"
    done = subprocess.run(
        command(options(run_dir, host_devices=2, optimizer="celo")),
        cwd=ROOT,
        env=environment(),
        text=True,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return run_dir


def assert_same_training(run_dir: Path, single: Path) -> None:
    """Theta, meta-gradients and meta-losses agree to 1e-6."""
    found, expected = (celo.load(path / "theta.safetensors")[1] for path in (run_dir, single))
    for path, leaf in trees.flatten(found).items():
        np.testing.assert_allclose(leaf, trees.flatten(expected)[path], atol=1e-6, err_msg=path)
    rows = [read_metrics(path / "metrics.jsonl") for path in (run_dir, single)]
    for row, other in zip(*rows, strict=True):
        assert row["step"] == other["step"]
        for name in ("meta_loss", "gradient_norm"):
            np.testing.assert_allclose(row[name], other[name], rtol=1e-6, atol=1e-6)
        assert row.get("validation") == pytest.approx(other.get("validation"), abs=1e-6)


def test_two_processes_do_what_one_does(start: Start, tmp_path: Path, single: Path) -> None:
    """Both stages of Celo, with meta-validation; every row is logged once."""
    run_dir = tmp_path / "run"
    for out in ended(start_two(start, run_dir, optimizer="celo")):
        assert f"theta: {run_dir / 'theta.safetensors'}" in out
    assert_same_training(run_dir, single)
    assert {path.name for path in run_dir.iterdir()} == {path.name for path in single.iterdir()}
    assert held(run_dir) == held(single)


def test_a_signal_to_one_stops_both(start: Start, tmp_path: Path) -> None:
    """At the same step; resumed together, they reach what they reach uninterrupted."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    ended(start_two(start, whole))
    children = start_two(start, cut, checkpoint_every=100)
    wait_for_rows(cut, 1, lambda: all(child.poll() is None for child in children))
    children[1].send_signal(signal.SIGTERM)
    for out in ended(children):
        assert "stopped by a signal" in out
    (step,) = held(cut)
    assert step < 14
    ended(start_two(start, cut, checkpoint_every=100))
    assert held(cut) == [step, 14]
    assert theta_bytes(cut) == theta_bytes(whole)


def test_problems_that_leave_a_process_without_work_are_refused(start: Start, tmp_path: Path) -> None:
    for child in start_two(start, tmp_path / "run", stage2__problems=3):
        _, errors = child.communicate(timeout=120)
        assert child.returncode == 2
        assert "error: 3 problems per family do not divide evenly among 2 devices" in errors
    assert not (tmp_path / "run").exists()
