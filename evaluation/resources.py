"""What the work of an evaluation may take."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Resources:
    """What the work may take.

    Attributes:
        trainings_at_once: the most trainings of a cell that a device does at a time; 0 = one on a CPU (see
            `celo.evaluation.cell_program.at_once`), elsewhere as many as fit.
        memory: bytes per device; None = most of what is free.
    """

    trainings_at_once: int = 0
    memory: int | None = None

    def __post_init__(self) -> None:
        """Checks the numbers."""
        if self.trainings_at_once < 0:
            raise ValueError(f"trainings_at_once is {self.trainings_at_once}; expected at least 0")
        if self.memory is not None and self.memory <= 0:
            raise ValueError(f"memory is {self.memory} bytes; expected more than 0")
