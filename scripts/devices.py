"""The devices a program runs on; decided before JAX is first used."""

from __future__ import annotations

import dataclasses
import os
from typing import Annotated

import jax

from celo._core.checks import check_fields, whole


def core_count() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclasses.dataclass(frozen=True)
class Devices:
    """Devices and processes of a run.

    Attributes:
        host_devices: devices to make of the CPU where there is no accelerator; 0 = one per core.
        coordinator: address HOST:PORT of the first process, for several processes; "" = one process.
        num_processes: number of processes.
        process_id: number of this process.

    Raises:
        TypeError: a field has another type.
        ValueError: the numbers are out of range or contradict each other.
    """

    host_devices: Annotated[int, whole(0, 4096)] = 0
    coordinator: str = ""
    num_processes: Annotated[int, whole(1, 10**6)] = 1
    process_id: Annotated[int, whole(0, 10**6)] = 0

    def __post_init__(self) -> None:
        """Checks the numbers."""
        check_fields(self)
        if self.process_id >= self.num_processes:
            raise ValueError(
                f"process_id is {self.process_id} and num_processes {self.num_processes}; expected "
                "process_id < num_processes"
            )
        if self.num_processes > 1 and not self.coordinator:
            raise ValueError(f"num_processes is {self.num_processes}; several processes need a coordinator")
        host, colon, port = self.coordinator.rpartition(":")
        if self.coordinator and not (host and colon and port.isdecimal() and 0 < int(port) < 65536):
            raise ValueError(f"coordinator is {self.coordinator!r}; expected HOST:PORT")


def set_up(devices: Devices) -> None:
    """Configure JAX; call it before anything computes.

    Raises:
        RuntimeError: by JAX, if it has already started its devices.
    """
    if "xla_force_host_platform_device_count" not in os.environ.get("XLA_FLAGS", ""):
        # Only the CPU's number of devices; an accelerator, where there is one, is used instead.
        jax.config.update("jax_num_cpu_devices", devices.host_devices or core_count())
    if devices.coordinator:
        jax.distributed.initialize(devices.coordinator, devices.num_processes, devices.process_id)
