"""How much memory a device has for trainings, and how many of them fit."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import jax

_SHARE = 0.8  # of the free memory; the rest is for data being loaded, results, and other processes
_CGROUP = Path("/sys/fs/cgroup")


def bytes_per_device(device: Any) -> int:
    """Memory for the trainings on a device: 0.8 of what is free, for a CPU divided by its number of devices.

    Args:
        device: a `jax.Device`.

    Returns:
        A number of bytes.
    """
    if device.platform == "cpu":
        return int(_SHARE * host_bytes() / len(jax.local_devices(backend="cpu")))
    stats = device.memory_stats() or {}
    if "bytes_limit" not in stats:
        return int(_SHARE * host_bytes())
    return int(_SHARE * (stats["bytes_limit"] - stats.get("bytes_in_use", 0)))


def host_bytes(meminfo: Path = Path("/proc/meminfo"), cgroup: Path = _CGROUP) -> int:
    """Free memory of this machine, or of this container where that has less.

    Args:
        meminfo: where Linux says it.
        cgroup: where the limits of a container (cgroup v2) are.

    Returns:
        A number of bytes; without either of the two, half the machine's memory.
    """
    free = [os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2]
    if meminfo.is_file():
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        if "MemAvailable" in lines:
            free = [int(lines["MemAvailable"].split()[0]) * 1024]
    try:
        limit = (cgroup / "memory.max").read_text().strip()
        if limit != "max":
            free.append(int(limit) - int((cgroup / "memory.current").read_text()))
    except (OSError, ValueError):
        pass  # no container, or one whose limits are not shown
    return max(0, min(free))


def out_of_memory(error: BaseException) -> bool:
    """Whether a device had too little memory, for a program or for compiling one.

    >>> out_of_memory(jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 1 bytes."))
    True
    """
    return isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" in str(error)


def equal_chunks(count: int, most: int) -> tuple[int, int]:
    """The number of chunks, and their size, when ``count`` things go in equal chunks of at most ``most``.

    >>> equal_chunks(14, 10), equal_chunks(3, 8)
    ((2, 7), (1, 3))
    """
    chunks = math.ceil(count / max(1, most))
    return chunks, math.ceil(count / chunks)
