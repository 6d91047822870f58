"""Are our tasks their tasks? `python -m scripts.studies.agreement RESULTS --envelope speedup_over_adam.npz`.

Compares Adam's curves from folders of `celo evaluate` with a published envelope of Adam (the lowest smoothed
training loss over learning rates), smoothed in the same way. Evaluate as the published runs were:
`--grid published --eval-every 10 --eval-batches 5`. Exit code 1 if a task differs by more than `--within`.
"""

from __future__ import annotations

import dataclasses
import itertools
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import numpy as np
import tyro

from celo.evaluation.envelope import SMOOTHING, Envelope, read_envelopes, retokenized, substituted
from celo.evaluation.report.table import Table
from celo.evaluation.requested import read_requested
from celo.evaluation.results import Training, read
from celo.meta.full_training import smooth
from celo.scripts import checks

PUBLISHED_SEEDS = 5  # whose mean a published curve is (Metz et al. 2022)


class Curves(NamedTuple):
    """Adam on one task: R learning rates, steps (E,) before each evaluation, training losses (R, S, E)."""

    task: str
    rates: Sequence[float]
    steps: np.ndarray
    losses: np.ndarray


class Agreement(NamedTuple):
    """One task at one number of steps.

    Attributes:
        task, step: name of the task and number of steps.
        rates: number of learning rates that Adam was trained at.
        best, inside: the rate with the lowest smoothed loss at that step; whether it is no end of the rates.
        own: lowest smoothed loss up to that step, seeds averaged before smoothing.
        per_seed: (S,) smoothed loss of each seed at that step and the best rate.
        published: the published envelope at that step.
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
    def spread(self) -> float:
        """Standard deviation of single seeds; NaN for one seed."""
        return float(np.std(self.per_seed, ddof=1)) if len(self.per_seed) > 1 else float("nan")

    @property
    def standard_errors(self) -> float:
        """``(own - published) / (s sqrt(1/S + 1/5))``, with s the deviation of our seeds for both; or NaN."""
        error = self.spread * (1 / len(self.per_seed) + 1 / PUBLISHED_SEEDS) ** 0.5
        return (self.own - self.published) / error if error else float("nan")

    def row(self, note: str = "") -> tuple[str, ...]:
        """The cells of the table."""
        rate = f"{self.best:.2g}" + ("" if self.inside else f" (at the end of {self.rates})")
        errors = f"{self.standard_errors:+.1f}" if np.isfinite(self.standard_errors) else "-"
        spread = f"{self.spread:.2g}" if np.isfinite(self.spread) else "-"
        losses = (f"{self.own:.4g}", spread, f"{self.published:.4g}", f"{self.ratio:.3f}", errors)
        return (self.task, *filter(None, [note]), str(self.step), str(len(self.per_seed)), rate, *losses)


def table(found: Sequence[Agreement], notes: Sequence[str] = ()) -> str:
    """A Markdown table with a row per task, and a column of notes if any are given."""
    names = ("task", *(("batches",) if notes else ()), "step", "seeds", "Adam's rate", "ours", "± seeds")
    header = (*names, "published", "ours / published", "standard errors")
    pairs = zip(found, notes or [""] * len(found), strict=True)
    return Table(header, tuple(one.row(note) for one, note in pairs)).markdown()


def agreement(curves: Curves, envelope: Envelope, step: int) -> Agreement:
    """Compares Adam's curves with a published envelope; both are linear between their points.

    ValueError if the curves or the envelope do not reach ``step``, or Adam diverged at every rate.
    """
    task, rates, steps, losses = curves
    reach = min(int(steps[-1]), int(envelope.steps[-1]))
    if not 0 <= step <= reach:
        raise ValueError(f"step is {step}; the curves of {task} go from 0 to {reach}")
    smoothed = smooth(losses.astype(np.float64).mean(axis=1), SMOOTHING)
    at = np.array([np.interp(step, steps, curve) for curve in smoothed])
    if not np.isfinite(at).any():
        raise ValueError(f"adam on {task} diverged at every learning rate by step {step}")
    best = int(np.nanargmin(np.where(np.isfinite(at), at, np.nan)))
    lowest = np.where(np.isfinite(smoothed), smoothed, np.inf).min(axis=0)
    seeds = smooth(losses[best].astype(np.float64), SMOOTHING)
    return Agreement(
        task=task,
        step=step,
        rates=len(rates),
        best=float(rates[best]),
        inside=min(rates) < rates[best] < max(rates),
        own=float(np.interp(step, steps, np.minimum.accumulate(lowest))),
        per_seed=np.array([np.interp(step, steps, curve) for curve in seeds]),
        published=float(np.interp(step, envelope.steps, envelope.loss)),
    )


def is_adam(label: str) -> bool:
    """Whether a label is Adam's, tuned or at one learning rate."""
    return label.partition("@")[0] == "adam"


def adam_curves(rows: Iterable[Training]) -> list[Curves]:
    """Adam's curves by task; labels of single rates, ``adam@1e-3``, count as one grid.

    ValueError if rows of a task differ in data, seeds or evaluations, or read another text than the published
    task.
    """
    by_task: dict[str, dict[tuple[float, int], Training]] = {}
    for row in filter(lambda row: is_adam(row.optimizer), rows):
        by_task.setdefault(row.task, {})[row.setting["learning_rate"], row.seed] = row
    return [_stacked(task, own) for task, own in by_task.items()]


def _stacked(task: str, rows: Mapping[tuple[float, int], Training]) -> Curves:
    rates, seeds = (list(dict.fromkeys(values)) for values in zip(*rows, strict=True))
    first = next(iter(rows.values()))
    if len({row.task_digest for row in rows.values()}) > 1:
        raise ValueError(f"rows of {task} were trained on different data")
    if substituted(first) or retokenized(first):
        raise ValueError(f"{task} was trained on another corpus or tokenizer than the published curves")
    steps = {tuple(row.evaluation_steps) for row in rows.values()}
    if len(steps) > 1 or len(rows) < len(rates) * len(seeds):
        raise ValueError(f"rows of adam on {task} differ in seeds or evaluations")
    losses = [[rows[rate, seed].evaluations["train_loss"] for seed in sorted(seeds)] for rate in rates]
    return Curves(task, rates, np.asarray(first.evaluation_steps), np.array(losses))


@dataclasses.dataclass(frozen=True)
class Command:
    """Compare Adam's curves with published ones.

    Attributes:
        folders: folders of results, as `celo evaluate` makes them.
        envelope: NPZ file of published envelopes: names (k,), steps (k, n), loss (k, n).
        step: number of steps at which to compare.
        within: largest relative difference that counts as agreement.
    """

    folders: Annotated[tuple[Path, ...], tyro.conf.Positional]
    envelope: Path
    step: int = 2000
    within: float = 0.04

    def check(self) -> None:
        """Checks what other commands do not share."""
        if not self.folders or not 0 < self.within < 1:
            found = f"folders is {self.folders} and within {self.within}"
            raise ValueError(f"{found}; expected one or more folders, and a number between 0 and 1")

    def run(self) -> int:
        """Prints the table; 0 = all agree, 1 = some do not."""
        asked = [(read_requested(folder), read(folder, print)) for folder in self.folders]
        wanted = (rows for request, found in asked for rows in request.rows_of(found).values())
        envelopes, curves = read_envelopes(self.envelope), adam_curves(itertools.chain(*wanted))
        found = [agreement(one, envelopes[one.task], self.step) for one in curves if one.task in envelopes]
        if not found:
            raise ValueError("nothing to compare: no row of adam is on a task with a published envelope")
        print(table(found))
        if unpublished := [one.task for one in curves if one.task not in envelopes]:
            print(f"\nWithout a published envelope: {', '.join(unpublished)}")
        # The best of fewer rates than requested may not be Adam's best.
        missing = (pair for request, rows in asked for pair in request.missing(rows))
        if lacking := [f"{label} on {task}" for task, label in missing if is_adam(label)]:
            print(f"\nNot finished, so these tasks may differ more than they should: {', '.join(lacking)}")
        if off := [one.task for one in found if abs(one.ratio - 1) > self.within]:
            print(f"\nFurther off than {self.within:.0%}: {', '.join(off)}")
        return int(bool(off))


main = checks.program(Command, "agreement", __doc__)

if __name__ == "__main__":
    sys.exit(main())
