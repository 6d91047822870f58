"""The devices a program runs on; decided before JAX is first used."""

from __future__ import annotations

import dataclasses
import os

import jax


def core_count() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclasses.dataclass(frozen=True)
class Devices:
    """Devices and processes of a run.

    Attributes:
        host_devices: devices to make of the CPU where there is no accelerator; 0 = one per core.
        coordinator: address host:port of the first process, for several processes; "" = one process.
        num_processes: number of processes.
        process_id: number of this process.
    """

    host_devices: int = 0
    coordinator: str = ""
    num_processes: int = 1
    process_id: int = 0


def set_up(devices: Devices) -> None:
    """Configures JAX; call it before anything computes.

    Raises:
        ValueError: for numbers that make no sense.
        RuntimeError: by JAX, if it has already started its devices.
    """
    if devices.host_devices < 0:
        raise ValueError(f"host_devices is {devices.host_devices}; expected 0 (one per core) or more")
    if not 0 <= devices.process_id < devices.num_processes:
        raise ValueError(
            f"process_id is {devices.process_id} and num_processes {devices.num_processes}; expected "
            "0 <= process_id < num_processes"
        )
    if devices.num_processes > 1 and not devices.coordinator:
        raise ValueError(f"num_processes is {devices.num_processes}; several processes need a coordinator")
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        # Only the CPU's number of devices; an accelerator, where there is one, is used instead.
        jax.config.update("jax_num_cpu_devices", devices.host_devices or core_count())
    if devices.coordinator:
        jax.distributed.initialize(devices.coordinator, devices.num_processes, devices.process_id)
