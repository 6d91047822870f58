"""What meta-training survives, with real processes: whatever happens, the same command gives the same."""

import random
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.meta.conftest import Start
from tests.meta.trainer_child import (
    ROOT,
    command,
    environment,
    held,
    options,
    rows,
    theta_bytes,
    wait_for_rows,
)


class Expected(NamedTuple):
    """What an uninterrupted run leaves."""

    theta: bytes
    best: bytes
    rows: list[dict[str, Any]]
    seconds: float = 0.0


def result(run_dir: Path) -> Expected:
    """What a finished run has left."""
    return Expected(theta_bytes(run_dir), (run_dir / "theta_best.safetensors").read_bytes(), rows(run_dir))


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Expected:
    """The result of a run that nothing interrupts."""
    run_dir, begin = tmp_path_factory.mktemp("uninterrupted") / "run", time.perf_counter()
    done = subprocess.run(
        command(options(run_dir)), cwd=ROOT, env=environment(), text=True, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert f"theta: {run_dir / 'theta.safetensors'}\n" in done.stdout
    assert held(run_dir) == [10, 12, 14]
    found = result(run_dir)._replace(seconds=time.perf_counter() - begin)
    assert [row["step"] for row in found.rows] == [2, 4, 6, 8, 10, 12, 14]
    assert [row["stage"] for row in found.rows] == [1] * 4 + [2] * 3
    assert [row["step"] for row in found.rows if "validation" in row] == [4, 8, 12, 14]
    return found


def finish(start: Start, run_dir: Path, expected: Expected, **changed: Any) -> tuple[str, str]:
    """Resume a run to its end, compare it with the uninterrupted one, and return its output."""
    child = start(command(options(run_dir, **changed)))
    out, errors = child.communicate()
    assert child.returncode == 0, errors
    assert result(run_dir)[:3] == expected[:3]
    return out, errors


@pytest.mark.parametrize(
    ("kills", "seed"), [(1, 0), pytest.param(50, 1, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_killed_at_random_moments(
    start: Start, tmp_path: Path, expected: Expected, kills: int, seed: int
) -> None:
    """Anywhere from start-up to the end; the same command resumes, and starts again once it has finished."""
    run_dir, chance = tmp_path / "run", random.Random(seed)
    for _ in range(kills):
        child = start(command(options(run_dir)))
        time.sleep(chance.uniform(0.3, 1.0) * expected.seconds)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert child.returncode in (0, -signal.SIGKILL)
        if child.returncode == 0:
            assert result(run_dir)[:3] == expected[:3]
            shutil.rmtree(run_dir)
    finish(start, run_dir, expected)


PLACES = [
    ("save", "before", 2, [2]),
    ("save", "after", 2, [2, 4]),
    ("write", "before", 3, [2, 4]),
    ("write", "after", 4, [4, 6, 8]),
    ("rename", "before", 3, None),
    ("row", "after", 3, [2, 4]),
]


@pytest.mark.slow
@pytest.mark.parametrize(("place", "when", "count", "left"), PLACES)
def test_killed_while_writing(
    start: Start, tmp_path: Path, expected: Expected, place: str, when: str, count: int, left: Any
) -> None:
    run_dir = tmp_path / "run"
    child = start(command(options(run_dir), "die", place, when, str(count)))
    child.communicate()
    assert child.returncode == -signal.SIGKILL
    assert not (run_dir / "theta.safetensors").exists()
    if left is not None:
        assert held(run_dir) == left
    finish(start, run_dir, expected)


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_signal_stops_at_a_checkpoint(
    start: Start, tmp_path: Path, expected: Expected, number: signal.Signals
) -> None:
    run_dir = tmp_path / "run"
    child = start(command(options(run_dir, checkpoint_every=100)))
    wait_for_rows(run_dir, 1, lambda: child.poll() is None)
    child.send_signal(number)
    out, errors = child.communicate()
    assert child.returncode == 0, errors
    assert f"{number.name}: stopping at the next checkpoint" in errors
    assert out.startswith(f"stopped by a signal; a checkpoint is in {run_dir}")
    assert "Traceback" not in errors
    (step,) = held(run_dir)
    assert rows(run_dir)[-1]["step"] == step < 14
    assert not (run_dir / "theta.safetensors").exists()
    finish(start, run_dir, expected, checkpoint_every=100)
    assert held(run_dir) == [step, 14], "the run began anew"


@pytest.mark.slow
def test_corrupt_checkpoint(start: Start, tmp_path: Path, expected: Expected) -> None:
    """The one before is used, with a warning."""
    run_dir = tmp_path / "run"
    child = start(command(options(run_dir), "die", "save", "after", "4"))
    child.communicate()
    assert held(run_dir) == [4, 6, 8]
    path = run_dir / "checkpoints" / "00000008.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    _, errors = finish(start, run_dir, expected)
    for words in ("the checkpoint at step 8", "is damaged", "using the one before, at step 6"):
        assert words in errors


@pytest.mark.slow
def test_no_room_for_a_checkpoint(start: Start, tmp_path: Path, expected: Expected) -> None:
    """The error names the checkpoints that are left; with room again the run resumes from there."""
    run_dir = tmp_path / "run"
    child = start(command(options(run_dir), "limit_files", "3", "4096"))
    _, errors = child.communicate()
    assert child.returncode == 2, errors
    last = errors.strip().splitlines()[-1]
    assert last.startswith("error: the checkpoint at step 6 could not be written")
    assert "File too large. Earlier checkpoints are intact (step 2, 4)" in last
    assert "Traceback" not in errors
    assert held(run_dir) == [2, 4]
    finish(start, run_dir, expected)


@pytest.mark.slow
def test_celo_killed_between_its_stages(start: Start, tmp_path: Path) -> None:
    """The optimizer whose stages train different parts, killed in both and right at their border."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    child = start(command(options(whole, optimizer="celo")))
    _, errors = child.communicate()
    assert child.returncode == 0, errors
    for saves in ("2", "2", "1", "1"):
        child = start(command(options(cut, optimizer="celo"), "die", "save", "after", saves))
        child.communicate()
        assert child.returncode == -signal.SIGKILL
    assert held(cut) == [8, 10, 12]
    child = start(command(options(cut, optimizer="celo")))
    _, errors = child.communicate()
    assert child.returncode == 0, errors
    assert result(cut) == result(whole)
