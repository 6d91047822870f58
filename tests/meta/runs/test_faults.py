"""What a run folder survives, with real processes: kill -9, a full disk, a second process, signals."""

import random
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from celo.meta.runs.checkpoints import Checkpoints
from celo.meta.runs.lock import lock_folder
from celo.meta.runs.metrics import read_metrics
from celo.meta.runs.signals import stop_on_signals
from tests.meta.conftest import Start
from tests.meta.runs.run_child import is_state, state


def program(*arguments: str) -> list[str]:
    """The command line of a program of `run_child`."""
    return [sys.executable, "-m", "tests.meta.runs.run_child", *arguments]


def _read_until(child: subprocess.Popen[str], word: str, count: int = 1) -> list[str]:
    """The child's output up to the ``count``-th line that begins with ``word``."""
    lines: list[str] = []
    assert child.stdout is not None
    for line in child.stdout:
        lines.append(line)
        count -= line.startswith(word)
        if count == 0:
            return lines
    raise AssertionError(f"the child ended early: {''.join(lines)} {child.communicate()[1]}")


def _kill_and_check(start: Start, folder: Path, chance: random.Random) -> int:
    """Kill a saving child at a random moment of a save; what is left must be whole, and not too old."""
    child = start(program("save_forever", str(folder)))
    _read_until(child, "saving", count=chance.randint(1, 4))
    time.sleep(chance.uniform(0.0, 0.12))
    child.send_signal(signal.SIGKILL)
    rest, _ = child.communicate()
    promised = max(
        (int(line.split()[1]) for line in rest.splitlines() if line.startswith("saved")), default=0
    )
    found = Checkpoints(folder / "checkpoints").restore_latest(state(0))
    if found is None:
        assert promised == 0
        return 0
    assert found.step >= promised
    assert is_state(found.state, found.step)
    return found.step


@pytest.mark.parametrize(
    ("kills", "seed"), [(3, 0), pytest.param(15, 1, marks=pytest.mark.slow)], ids=["few", "many"]
)
def test_killed_while_saving(start: Start, tmp_path: Path, kills: int, seed: int) -> None:
    folder, chance, step = tmp_path / "run", random.Random(seed), 0
    for _ in range(kills):
        after = _kill_and_check(start, folder, chance)
        assert after >= step
        step = after
    assert step > 0
    rows = read_metrics(folder / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1)), "rows were lost or repeated"
    assert len(rows) >= step


def test_file_size_limit_leaves_the_earlier_checkpoint(start: Start, tmp_path: Path) -> None:
    out, errors = start(program("run_out_of_room", str(tmp_path / "run"), "2000000")).communicate()
    assert "checkpoint at step 2 could not be written" in out, errors
    assert "File too large. Earlier checkpoints are intact (step 1)" in out
    assert out.endswith("restored 1\nrestored 3\n"), errors


def test_full_disk_leaves_the_earlier_checkpoint(start: Start, tmp_path: Path) -> None:
    if shutil.which("unshare") is None or subprocess.run(["unshare", "-rm", "true"], check=False).returncode:
        pytest.skip("needs a new mount namespace (unshare -rm) for a small disk")
    mount = f"mount -t tmpfs -o size=3m tmpfs '{tmp_path}' && exec \"$@\""
    command = program("run_out_of_room", str(tmp_path / "run"), "0")
    out, errors = start(["unshare", "-rm", "sh", "-c", mount, "-", *command]).communicate()
    assert "No space left on device. Earlier checkpoints are intact (step 1)" in out, errors
    assert out.endswith("restored 1\nrestored 3\n"), errors


def test_lock_names_its_holder_and_ends_with_it(start: Start, tmp_path: Path) -> None:
    child = start(program("hold", str(tmp_path)))
    _read_until(child, "locked")
    with pytest.raises(BlockingIOError, match=rf"in use by process {child.pid} on .*another folder"):
        lock_folder(tmp_path)
    child.send_signal(signal.SIGKILL)
    child.wait()
    lock_folder(tmp_path).release()


def test_a_lock_follows_no_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("mine")
    (tmp_path / ".lock").symlink_to(tmp_path / "victim")
    with pytest.raises(OSError, match=r"must not be a symbolic link.*\.lock"):
        lock_folder(tmp_path)
    assert (tmp_path / "victim").read_text() == "mine"


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_signal_stops_at_a_checkpoint(
    start: Start, tmp_path: Path, number: signal.Signals, code: int
) -> None:
    child = start(program("train_until_stopped", str(tmp_path / "run")))
    _read_until(child, "ready")
    child.send_signal(number)
    out, errors = child.communicate()
    assert child.returncode == code, errors
    assert f"{number.name}: stopping" in errors
    found = Checkpoints(tmp_path / "run" / "checkpoints").restore_latest(state(0))
    assert found is not None
    assert is_state(found[1], found[0])
    assert f"stopped {found[0]}\n" in out


def test_signals_are_requests_and_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with stop_on_signals() as stop:
        assert (stop.requested, stop.exit_code, stop.signal) == (False, 0, None)
        signal.raise_signal(signal.SIGTERM)
        assert (stop.requested, stop.exit_code, stop.signal) == (True, 143, signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # a scheduler repeats itself; a person insists
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before
    with ThreadPoolExecutor() as pool, pytest.raises(RuntimeError, match="outside the main thread"):
        pool.submit(stop_on_signals().__enter__).result()
