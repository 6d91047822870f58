"""What the runner measures in one cell: one optimizer on one task, at all its configurations and seeds."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class CellResult:
    """The trainings of one optimizer on one task; axes are C configurations, S seeds, T steps, E evaluations.

    Attributes:
        task: name of the task.
        optimizer: label of the optimizer, unique within an evaluation.
        key: digest of everything that decides the numbers.
        learned: whether it is a learned optimizer, hence not tuned on the task.
        configurations: hyperparameters of each configuration, such as ``{"learning_rate": 1e-3}``; one empty
            mapping for an optimizer without any.
        seeds: number of each seed; equal seeds mean equal initial parameters and batches for all optimizers.
        num_steps: T.
        loss_unit: unit of the task's loss, such as nats.
        loss: (C, S, T) float32 training loss of each step's batch, before that step.
        final_loss: (C, S) float32 mean training loss of ten batches after the last step.
        evaluation_steps: (E,) int numbers of steps taken before each evaluation.
        evaluations: (C, S, E) float32 by name: ``{split}_loss`` for `celo.meta.evaluated_training.SPLITS`, and
            ``{split}_accuracy`` where the task has one.
        eta: (C, S, T) float32 step size a learned scheduler set; None where there is none.
        info: JSON-ready facts that do not decide the numbers: ``seconds``, ``seconds_per_step``,
            ``parameters``, ``state_bytes``, ``data`` (corpus and tokenizer of text), ``provenance``.
        task_digest: digest of the task with its data, see `celo.evaluation.settings.task_digest`; None where it is
            not known, as in files of format 1.
        code_digest: digest of the code and platform that the cells of a task share, see
            `celo.evaluation.settings.code_digest`; None where it is not known.
    """

    task: str
    optimizer: str
    key: str
    learned: bool
    configurations: tuple[Mapping[str, float], ...]
    seeds: tuple[int, ...]
    num_steps: int
    loss_unit: str
    loss: np.ndarray
    final_loss: np.ndarray
    evaluation_steps: np.ndarray
    evaluations: Mapping[str, np.ndarray]
    eta: np.ndarray | None
    info: Mapping[str, Any]
    task_digest: str | None = None
    code_digest: str | None = None

    @property
    def diverged(self) -> np.ndarray:
        """(C, S) bool: whether a training loss along the way, or the final one, is not finite."""
        return ~(np.isfinite(self.loss).all(axis=-1) & np.isfinite(self.final_loss))
