"""Meta-training in separate processes: a tiny recipe, and programs that die or run out of room on purpose.

Programs are called as ``python -m tests.meta.trainer_child PROGRAM ARGUMENTS... -- COMMAND LINE``, and hand
the command line to `celo.scripts.meta_train` once the fault is in place.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celo._core import files
from celo.meta.runs import checkpoints, metrics, run
from celo.meta.runs.metrics import read_metrics
from celo.scripts import meta_train

ROOT = Path(__file__).resolve().parents[2]

TINY = {"learning-rate": 0.001, "problems": 2, "truncation": 3, "horizon-low": 4, "horizon-high": 8}
ITERATIONS = {"stage1.iterations": 8, "stage2.iterations": 6}
OPTIONS = {
    "optimizer": "learnable_adam",
    "tasks": "ImageMLP_Digits8_Relu16_bs64",
    "validate-every": 4,
    "validation-steps": 5,
    "validation-seeds": 1,
    "iterations-per-call": 2,
    "checkpoint-every": 2,
    "host-devices": 2,
    **ITERATIONS,
    **{f"stage{n}.{name}": value for n in (1, 2) for name, value in TINY.items()},
}
_TIMES = ("time", "seconds_per_meta_iteration")


def options(run_dir: Path, **changed: Any) -> list[str]:
    """The command line of a tiny run: 8 and 6 meta-iterations, 7 compiled calls, a checkpoint after each.

    Args:
        run_dir: the run folder.
        **changed: other options, underscores for hyphens and two of them for a dot; None leaves one out.
    """
    named = {name.replace("__", ".").replace("_", "-"): value for name, value in changed.items()}
    merged = {"run-dir": run_dir, **OPTIONS, **named}
    return [
        "--no-progress",
        *(part for k, v in merged.items() if v is not None for part in (f"--{k}", str(v))),
    ]


def command(argv: list[str], *program: str) -> list[str]:
    """How to start the command line, under one of the `PROGRAMS` if one is named."""
    if not program:
        return [sys.executable, "-m", "celo.scripts.meta_train", *argv]
    return [sys.executable, "-m", "tests.meta.trainer_child", *program, "--", *argv]


def environment() -> dict[str, str]:
    """The environment of a started process: the CPU, and compiled programs kept however quickly compiled."""
    return os.environ | {"JAX_PLATFORMS": "cpu", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}


def theta_bytes(run_dir: Path) -> bytes:
    """The result of a run."""
    return (run_dir / "theta.safetensors").read_bytes()


def rows(run_dir: Path) -> list[dict[str, Any]]:
    """The metrics of a run, without what the clock says."""
    found = read_metrics(run_dir / "metrics.jsonl")
    return [{name: value for name, value in row.items() if name not in _TIMES} for row in found]


def held(run_dir: Path) -> list[int]:
    """Steps of the checkpoints of a run."""
    return checkpoints.Checkpoints(run_dir / "checkpoints").steps()


def wait_for_rows(run_dir: Path, count: int, alive: Callable[[], bool], seconds: float = 120.0) -> None:
    """Waits until a run has logged some rows."""
    file, until = run_dir / "metrics.jsonl", time.monotonic() + seconds
    while not file.exists() or file.read_bytes().count(b"\n") < count:
        assert alive(), f"the process ended before row {count}"
        assert time.monotonic() < until, f"no row {count} within {seconds} s"
        time.sleep(0.005)


def _kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _on_call(
    owner: Any, name: str, count: int, before: Callable[[], None], after: Callable[[], None]
) -> None:
    """Replaces a function by one that does something around its count-th call.

    Calls on the folders of the best theta are not counted: when it is replaced depends on the losses.
    """
    original, calls = getattr(owner, name), 0

    def replacement(*args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        if any("best_stage" in str(getattr(argument, "path", argument)) for argument in args):
            return original(*args, **kwargs)
        calls += 1
        if calls == count:
            before()
        result = original(*args, **kwargs)
        if calls == count:
            after()
        return result

    setattr(owner, name, replacement)


PLACES: dict[str, tuple[Any, str]] = {
    "save": (run.RunFolder, "save"),  # of a checkpoint; the best theta is saved by another function
    "write": (checkpoints.Checkpoints, "_write"),
    "rename": (files, "sync_folder"),  # which follows the renaming of a file
    "row": (metrics.JsonlTracker, "_append"),
}


def die(place: str, when: str, count: str) -> None:
    """Kill -9 before or after the count-th call of a function that writes."""
    at = {"before": lambda: None, "after": lambda: None} | {when: _kill}
    _on_call(*PLACES[place], int(count), at["before"], at["after"])


def limit_files(count: str, size: str) -> None:
    """From the count-th checkpoint on no file can grow beyond a size in bytes."""

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(size), int(size)))

    _on_call(*PLACES["save"], int(count), limit, lambda: None)


def tell_devices() -> None:
    """Print the number of processes and devices at the end."""
    import atexit

    import jax

    def tell() -> None:
        print(json.dumps({"processes": jax.process_count(), "devices": jax.device_count()}))

    atexit.register(tell)


PROGRAMS = {program.__name__: program for program in (die, limit_files, tell_devices)}

if __name__ == "__main__":
    split = sys.argv.index("--")
    PROGRAMS[sys.argv[1]](*sys.argv[2:split])
    sys.exit(meta_train.main(sys.argv[split + 1 :]))
