"""How many trainings a device call may have: as many as fit the memory of the device."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from typing import Any

import jax
from jax import Array

from celo.evaluation.optimizers import Optimizer
from celo.evaluation.training import EvaluatedTraining, Program
from celo.meta.tasks.base import Task


def fitting_program(
    optimizer: Optimizer,
    task: Task,
    plan: EvaluatedTraining,
    key: Array,
    count: int,
    device: Any,
    batch: int = 0,
) -> Program:
    """Compile the program for ``count`` trainings: in equal batches of at most ``batch``.

    A ``batch`` of 0 is one on a CPU, elsewhere as many as 0.8 of the free memory holds, by the compiled
    program's memory analysis. The other arguments are as for `celo.evaluation.training.Program`.

    Raises:
        MemoryError: XLA runs out of memory while it compiles, or one training does not fit.
    """
    size = _equal(count, batch or (1 if device.platform == "cpu" else count))
    with advised(size):
        program = Program(optimizer, task, plan, key, size, device)
    free = None if batch or device.platform == "cpu" else _free_bytes(device)
    if free is None or program.bytes <= free:
        return program
    each = max(1.0, (program.bytes - program.shared_bytes) / size)
    fits = int((free - program.shared_bytes) / each)
    if fits < 1:
        raise MemoryError(
            f"one training takes {(program.shared_bytes + each) / 2**30:.2f} GiB, more than the "
            f"{free / 2**30:.2f} GiB free on {device}; {_advice(1)}"
        )
    del program  # before its successor takes memory
    size = _equal(count, fits)
    with advised(size):
        return Program(optimizer, task, plan, key, size, device)


@contextlib.contextmanager
def advised(size: int) -> Iterator[None]:
    """Raise JAX's error that memory ran out with ``size`` trainings at once as a MemoryError with advice."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise MemoryError(f"{size} training(s) at once do not fit; {_advice(size)}") from error


def _advice(size: int) -> str:
    return f"pass --batch {size // 2}" if size > 1 else "use a device with more memory or a smaller task"


def _free_bytes(device: Any) -> int | None:
    """0.8 of the free memory of a device; None where it does not say."""
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return None
    return int(0.8 * (stats["bytes_limit"] - stats.get("bytes_in_use", 0)))


def _equal(count: int, most: int) -> int:
    """Size of equal batches of at most ``most``: 14 of at most 10 go in batches of 7."""
    batches = math.ceil(count / max(1, most))
    return math.ceil(count / batches)
