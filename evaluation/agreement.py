"""Are our tasks their tasks: own Adam curves against a published envelope, smoothed the same way."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from celo.evaluation.cell import CellResult
from celo.evaluation.corpora import corpus_of

from celo.evaluation.envelope import SMOOTHING, Envelope, envelope_of
from celo.evaluation.report.table import Table
from celo.evaluation.scores import REFERENCE
from celo.meta.full_training import smooth

PUBLISHED_SEEDS = 5
"""How many trainings a published curve is the mean of (Metz et al. 2022)."""


class Agreement(NamedTuple):
    """One task at one number of steps.

    Attributes:
        task: name of the task.
        step: number of steps.
        rates: number of learning rates that Adam was trained at.
        best: learning rate whose smoothed loss is lowest there.
        inside: whether it is neither the first nor the last of the rates.
        own: lowest smoothed loss up to there, seeds averaged before smoothing.
        per_seed: (S,) smoothed loss of each seed at that step and the best rate.
        published: the published envelope there.
    """

    task: str
    step: int
    rates: int
    best: float
    inside: bool
    own: float
    per_seed: np.ndarray
    published: float

    @property
    def ratio(self) -> float:
        """Own over published loss: 1 if the tasks are the same."""
        return self.own / self.published

    @property
    def standard_errors(self) -> float:
        """How many standard errors own loss is above published; NaN where seeds tell no error.

        ``(own - published) / (s sqrt(1/S + 1/5))``, with s the deviation of single seeds of ours, which is
        taken to be that of the published ones.
        """
        if len(self.per_seed) < 2:
            return float("nan")
        spread = float(np.std(self.per_seed, ddof=1))
        error = spread * (1 / len(self.per_seed) + 1 / PUBLISHED_SEEDS) ** 0.5
        return (self.own - self.published) / error if error else float("nan")


def agreement(cell: CellResult, envelope: Envelope, step: int) -> Agreement:
    """Compares Adam's curves with a published envelope.

    Args:
        cell: Adam at several learning rates, evaluated as the published runs were.
        envelope: the published one of that task.
        step: number of steps; both curves are linear between their points.

    Returns:
        The comparison.

    Raises:
        ValueError: if the curves or the envelope do not reach ``step``, or Adam diverged at every rate.
    """
    reach = min(int(cell.evaluation_steps[-1]), int(envelope.steps[-1]))
    if not 0 <= step <= reach:
        raise ValueError(f"step is {step}; the curves of {cell.task} go from 0 to {reach}")
    rates = [configuration["learning_rate"] for configuration in cell.configurations]
    losses = cell.evaluations["train_loss"].astype(np.float64)
    at = [_at(cell, smooth(each, SMOOTHING), step) for each in losses.mean(axis=1)]
    if not np.isfinite(at).any():
        raise ValueError(f"{cell.optimizer} on {cell.task} diverged at every learning rate by step {step}")
    best = int(np.nanargmin(np.where(np.isfinite(at), at, np.nan)))
    own = envelope_of(cell, pieces=len(cell.evaluation_steps))
    return Agreement(
        task=cell.task,
        step=step,
        rates=len(rates),
        best=float(rates[best]),
        inside=min(rates) < rates[best] < max(rates),
        own=float(np.interp(step, own.steps, own.loss)),
        per_seed=np.array([_at(cell, smooth(each, SMOOTHING), step) for each in losses[best]]),
        published=float(np.interp(step, envelope.steps, envelope.loss)),
    )


def agreements(
    cells: Sequence[CellResult], envelopes: Mapping[str, Envelope], step: int
) -> tuple[list[Agreement], list[str]]:
    """The comparison of Adam on every task, in order, and the tasks that have no published envelope.

    Cells of single learning rates, ``adam@1e-3``, count as one grid.

    Raises:
        ValueError: as `agreement`; a task has another corpus or tokenizer, or its cells differ in data.
    """
    of_task: dict[str, list[CellResult]] = {}
    for cell in cells:
        if cell.optimizer.partition("@")[0] == REFERENCE:
            of_task.setdefault(cell.task, []).append(cell)
    for same in of_task.values():
        if (corpus := corpus_of(same[0])) is not None and (corpus.substituted or corpus.retokenized):
            raise ValueError(
                f"{same[0].task} was trained on another corpus or tokenizer than the published curves"
            )
    adams = [_together(same) for same in of_task.values()]
    found = [agreement(cell, envelopes[cell.task], step) for cell in adams if cell.task in envelopes]
    return found, [cell.task for cell in adams if cell.task not in envelopes]


def _together(cells: Sequence[CellResult]) -> CellResult:
    """One cell of all learning rates of cells that differ in nothing else, such as ``adam@1e-3``.

    Raises:
        ValueError: if seeds, evaluations or data differ.
    """
    first = cells[0]
    if len({cell.task_digest for cell in cells} - {None}) > 1:
        raise ValueError(f"cells of {first.task} were trained on different data or definitions of it")
    for cell in cells:
        if cell.seeds != first.seeds or not np.array_equal(cell.evaluation_steps, first.evaluation_steps):
            raise ValueError(
                f"{first.optimizer} and {cell.optimizer} on {first.task} differ in seeds or steps"
            )
    names = ("loss", "final_loss")
    return dataclasses.replace(
        first,
        configurations=tuple(each for cell in cells for each in cell.configurations),
        evaluations={"train_loss": np.concatenate([cell.evaluations["train_loss"] for cell in cells])},
        **{name: np.concatenate([getattr(cell, name) for cell in cells]) for name in names},
    )


def table(found: Sequence[Agreement]) -> Table:
    """A row per task: the two losses, how far seeds spread, and the difference as ratio and in errors."""
    header = (
        "task",
        "step",
        "seeds",
        "Adam's rate",
        "ours",
        "± seeds",
        "published",
        "ours / published",
        "standard errors",
    )
    rows = tuple(
        (
            one.task,
            str(one.step),
            str(len(one.per_seed)),
            f"{one.best:.2g}" + ("" if one.inside else f" (at the end of {one.rates})"),
            f"{one.own:.4g}",
            _spread(one.per_seed),
            f"{one.published:.4g}",
            f"{one.ratio:.3f}",
            f"{one.standard_errors:+.1f}" if np.isfinite(one.standard_errors) else "-",
        )
        for one in found
    )
    return Table(header, rows)


def _at(cell: CellResult, curve: np.ndarray, step: int) -> float:
    return float(np.interp(step, np.asarray(cell.evaluation_steps, np.float64), curve))


def _spread(values: np.ndarray) -> str:
    """Standard deviation over seeds; a dash for one."""
    return f"{np.std(values, ddof=1):.2g}" if len(values) > 1 else "-"
