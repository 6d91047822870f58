"""Two processes under `jax.distributed` on loopback do what one process does."""

import json
import signal
import socket
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import celo
from celo._core import trees
from celo.meta.runs.metrics import read_metrics
from tests.meta.trainer_child import ROOT, command, environment, held, options, theta_bytes, wait_for_rows

pytestmark = pytest.mark.slow


@pytest.fixture
def children() -> Generator[list[subprocess.Popen[str]], None, None]:
    """Processes started by a test; whatever still runs at its end is killed."""
    started: list[subprocess.Popen[str]] = []
    yield started
    for child in started:
        child.kill()
        child.communicate()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start_two(children: list[subprocess.Popen[str]], run_dir: Path, **changed: Any) -> None:
    """Two processes of one run with one device each."""
    address = f"127.0.0.1:{free_port()}"
    for index in (0, 1):
        argv = options(
            run_dir, host_devices=1, coordinator=address, num_processes=2, process_id=index, **changed
        )
        children.append(
            subprocess.Popen(
                command(argv, "tell_devices"),
                cwd=ROOT,
                env=environment(),
                text=True,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        )


def ended(children: list[subprocess.Popen[str]]) -> list[str]:
    """What both printed, after they ended well."""
    outputs = []
    for child in children:
        out, errors = child.communicate(timeout=300)
        assert child.returncode == 0, errors
        assert json.loads(out.splitlines()[-1]) == {"processes": 2, "devices": 2}
        outputs.append(out)
    children.clear()
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


def test_two_processes_do_what_one_does(
    children: list[subprocess.Popen[str]], tmp_path: Path, single: Path
) -> None:
    """Both stages of Celo, with meta-validation; every row is logged once."""
    run_dir = tmp_path / "run"
    start_two(children, run_dir, optimizer="celo")
    for out in ended(children):
        assert f"theta: {run_dir / 'theta.safetensors'}" in out
    assert_same_training(run_dir, single)
    names = {path.name for path in run_dir.iterdir()}
    assert names == {path.name for path in single.iterdir()}
    assert held(run_dir) == held(single)


def test_a_signal_to_one_stops_both(children: list[subprocess.Popen[str]], tmp_path: Path) -> None:
    """At the same step; resumed together, they reach what they reach uninterrupted."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    start_two(children, whole)
    ended(children)
    start_two(children, cut, checkpoint_every=100)
    wait_for_rows(cut, 1, lambda: all(child.poll() is None for child in children))
    children[1].send_signal(signal.SIGTERM)
    for out in ended(children):
        assert "stopped by a signal" in out
    (step,) = held(cut)
    assert step < 14
    start_two(children, cut, checkpoint_every=100)
    ended(children)
    assert held(cut) == [step, 14]
    assert theta_bytes(cut) == theta_bytes(whole)


def test_problems_that_leave_a_process_without_work_are_refused(
    children: list[subprocess.Popen[str]], tmp_path: Path
) -> None:
    start_two(children, tmp_path / "run", stage2__problems=3)
    for child in children:
        _, errors = child.communicate(timeout=120)
        assert child.returncode == 2
        last = errors.strip().splitlines()[-1]
        assert last.startswith(
            "error: 3 problems per family do not divide evenly among 2 devices of 2 processes"
        )
    assert not (tmp_path / "run").exists()
