"""Programs that the tests of run folders start, so that there is a real process to kill, stop or starve.

A state is a function of its step, so whether a restored one is whole shows.
"""

import resource
import sys
import time
from pathlib import Path
from typing import Any

import jax
import numpy as np

from celo.meta.runs.checkpoints import CheckpointError, Checkpoints
from celo.meta.runs.lock import lock_folder
from celo.meta.runs.run import RunFolder
from celo.meta.runs.signals import stop_on_signals


def state(step: int) -> dict[str, Any]:
    """Arrays of several types, 1.3 MB in all, most of it noise, which no library can shrink."""
    return {
        "big": np.random.default_rng(step).standard_normal((300, 1000)).astype(np.float32),
        "pair": (np.full(7, step, np.int32), np.full((), step, np.uint32)),
        "list": [np.full(20_000, step, np.float32)],
    }


def is_state(restored: Any, step: int) -> bool:
    """Whether what was restored is the state of that step, bit for bit."""
    same = jax.tree.map(lambda a, b: a.dtype == b.dtype and np.array_equal(a, b), restored, state(step))
    return all(jax.tree.leaves(same))


def save_forever(path: str) -> None:
    """Resume from the last checkpoint; log and save without a pause until killed."""
    with RunFolder.open(path, {"seed": 0}, keep=2) as run:
        found = run.restore_latest(state(0))
        step = 0 if found is None else found.step
        while True:
            step += 1
            run.metrics.log(step, {"loss": 1.0 / step})
            print("saving", step, flush=True)
            run.save(step, state(step))
            print("saved", step, flush=True)


def hold(path: str) -> None:
    """Hold the lock of a folder until killed."""
    lock = lock_folder(Path(path))
    print("locked", flush=True)
    time.sleep(60)
    lock.release()


def run_out_of_room(path: str, limit: str) -> None:
    """Save a state that fits and one that does not; ``limit``: size of a file in bytes, 0 on a small disk.

    Then save one that fits again.
    """
    checkpoints = Checkpoints(path)
    checkpoints.save(1, state(1))
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    if int(limit):
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(limit), unlimited[1]))
    try:
        checkpoints.save(2, [state(i) for i in range(3)])
    except CheckpointError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert checkpoints.steps() == [1]
    _assert_restored(checkpoints, 1)
    checkpoints.save(3, state(3))
    assert sorted(int(entry.stem) for entry in Path(path).iterdir()) == [1, 3]
    _assert_restored(checkpoints, 3)


def _assert_restored(checkpoints: Checkpoints, step: int) -> None:
    found = checkpoints.restore_latest(state(0))
    assert found is not None
    assert found[0] == step
    assert is_state(found[1], step)
    print("restored", step)


def train_until_stopped(path: str) -> None:
    """Count steps until a signal asks to stop, then save and leave as the request says."""
    with RunFolder.open(path, {"seed": 0}) as run, stop_on_signals() as stop:
        step = 0
        print("ready", flush=True)
        while not stop.requested:
            step += 1
            time.sleep(0.01)
        run.save(step, state(step))
        print("stopped", step, flush=True)
    sys.exit(stop.exit_code)


PROGRAMS = {
    program.__name__: program for program in (save_forever, hold, run_out_of_room, train_until_stopped)
}

if __name__ == "__main__":
    PROGRAMS[sys.argv[1]](*sys.argv[2:])
