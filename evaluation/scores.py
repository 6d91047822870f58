"""The score table: the best setting of every optimizer on every task, scored against the best Adam.

Every score is a number per training, above 1 where it beats the best Adam: ratio of final losses, speedup by
first crossing, sustained speedup, and VeLO's speedup where there are envelopes. The first row, `NOISE`, is
the best Adam scored against its own mean.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from celo.evaluation.choice import Result, best_rows, choose_all
from celo.evaluation.curves import STEPS, curve, kind_for
from celo.evaluation.envelope import Envelope, without_envelope
from celo.evaluation.requested import Requested, requested_by
from celo.evaluation.results import Runs, Training
from celo.evaluation.speedup import first_crossing, sustained, velo_speedup

REFERENCE = "adam"
NOISE = "Adam* (noise reference)"
VELO = "velo_speedup"
_TINY = float(np.finfo(np.float32).tiny)


class Reference(NamedTuple):
    """The best Adam's final loss on a task and its smoothed loss at the last step, means over seeds.

    Attributes:
        loss: its final loss.
        target: the last point of its smoothed curve, which speedups are measured at.
        curve: kind of the curve, see `celo.evaluation.curves.curve`.
        smoothed: whether final losses, ``loss`` included, are last points of smoothed curves.
    """

    loss: float
    target: float
    curve: str = STEPS
    smoothed: bool = False

    def final_loss(self, runs: Runs) -> np.ndarray:
        """(S,) float64 final losses of trainings, smoothed or not."""
        if self.smoothed:
            return curve(runs, self.curve).smoothed[:, -1]
        return runs.final_loss.astype(np.float64)


def reference(adam: Runs, kind: str = STEPS, smoothed: bool = False) -> Reference:
    """What the best Adam reaches; ``adam`` has no diverged seed and no negative loss."""
    target = float(curve(adam, kind).smoothed[:, -1].mean())
    loss = target if smoothed else float(adam.final_loss.mean(dtype=np.float64))
    return Reference(loss, target, kind, smoothed)


def final_loss_score(runs: Runs, best: Reference) -> np.ndarray:
    """``s = L_Adam* / L_opt`` of each training; (S,) float64, 0 where it diverged.

    A loss of exactly zero counts as the smallest positive float32, so that scores stay finite. ValueError for
    a negative loss: a ratio of losses means nothing.

    Source: Moudgil et al. 2025 (arXiv 2501.12670), section 4.
    """
    if (lowest := _lowest(runs)) < 0:
        first = runs.rows[0]
        raise ValueError(f"{first.optimizer} on {first.task} has the final loss {lowest:.6g}; expected >= 0")
    losses = np.where(runs.diverged, np.inf, best.final_loss(runs))
    return max(best.loss, _TINY) / np.maximum(losses, _TINY)


def _speedup(crossing: Callable[..., np.ndarray], runs: Runs, best: Reference) -> np.ndarray:
    """A speedup by crossings of each training; 0 where it diverged."""
    own = curve(runs, best.curve)
    return np.where(runs.diverged, 0.0, crossing(own.loss, best.target, own.steps))


class Score(NamedTuple):
    """A way to score trainings: its name in files, in headings, and its meaning in a sentence.

    ``of`` gives the scores (S,) of trainings on a task; VeLO's alone reads the envelope.
    """

    name: str
    title: str
    meaning: str
    of: Callable[[Runs, Reference, Envelope | None], np.ndarray]


SCORES = (
    Score(
        "final_loss",
        "Final-loss score",
        "Mean final loss of the best Adam divided by the training's own; above 1 beats the best Adam.",
        lambda runs, best, envelope: final_loss_score(runs, best),
    ),
    Score(
        "speedup",
        "Speedup, first crossing",
        "Steps of the whole training divided by the steps after which the smoothed loss is first at or below "
        "the best Adam's final smoothed loss, as in the Celo paper. One dip by noise is enough: it flatters.",
        lambda runs, best, envelope: _speedup(first_crossing, runs, best),
    ),
    Score(
        "sustained_speedup",
        "Speedup, sustained",
        "The same, with the step from which the smoothed loss stays at or below that target to the end. "
        "A training that ends above the target, be it by noise, scores 0.",
        lambda runs, best, envelope: _speedup(sustained, runs, best),
    ),
    Score(
        VELO,
        "VeLO's speedup",
        "Steps that tuned Adam needs to reach the training's final loss, by the envelope of Adam's curves, "
        "divided by the training's own number of steps, as VeLO's authors measure it.",
        lambda runs, best, envelope: velo_speedup(runs.final_loss, runs.diverged, runs.steps, envelope),
    ),
)


@dataclasses.dataclass(frozen=True, eq=False)
class ScoreTable:
    """All scores of an evaluation; the noise reference is the first label.

    Attributes:
        requested: what was requested.
        results: by label, then by task: the trainings of every finished pair; Adam's under `NOISE`.
        tasks: the scored tasks: finished by every optimizer on the same data, with a best Adam.
        missing: by task and label the number of trainings that a requested pair lacks.
        mixed: tasks whose data or definition are known to differ among the optimizers, each with the groups.
        unscorable: finished tasks that cannot be scored, each with the reason.
        references: what the best Adam reaches, by task, wherever there is one.
        kinds: the scores there are, in order; none if no task is scored.
        envelopes: of tuned Adam by task; None if none were given.
        no_envelope: scored tasks that VeLO's speedup leaves out although envelopes were given, with reasons.
        curve: kind of the curves that speedups read, one of `celo.evaluation.curves.CURVES`.
        smoothed: whether final-loss scores compare last points of smoothed curves.
    """

    requested: Requested
    results: Mapping[str, Mapping[str, Result]]
    tasks: tuple[str, ...]
    missing: Mapping[tuple[str, str], int]
    mixed: Mapping[str, str]
    unscorable: Mapping[str, str]
    references: Mapping[str, Reference]
    kinds: tuple[Score, ...]
    envelopes: Mapping[str, Envelope] | None
    no_envelope: Mapping[str, str]
    curve: str = STEPS
    smoothed: bool = False

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the rows: `NOISE`, then the optimizers in the order they were requested."""
        return tuple(self.results)

    @property
    def all_tasks(self) -> tuple[str, ...]:
        """All requested tasks, scored or not."""
        return self.requested.tasks

    @property
    def seeds(self) -> tuple[int, ...]:
        """Numbers of the seeds."""
        return tuple(range(self.requested.settings["seeds"]))

    def best(self, task: str, label: str) -> Runs | None:
        """The trainings at the best setting; None if the pair is not finished."""
        found = self.results[label].get(task)
        return None if found is None else found.runs

    def tasks_of(self, name: str) -> tuple[str, ...]:
        """The tasks of a score, the columns: `tasks`, but for those VeLO's speedup leaves out."""
        return tuple(task for task in self.tasks if name != VELO or task not in self.no_envelope)

    def scores(self, name: str) -> dict[str, np.ndarray]:
        """By label the (S, tasks) scores of the best setting, float64, columns as `tasks_of`."""
        of = next(one.of for one in SCORES if one.name == name)

        def column(runs: Runs, task: str) -> np.ndarray:
            return of(runs, self.references[task], (self.envelopes or {}).get(task))

        tasks = self.tasks_of(name)
        return {
            label: np.stack([column(own[task].runs, task) for task in tasks], axis=1)
            for label, own in self.results.items()
        }

    def settings(self, label: str) -> tuple[int, ...]:
        """Numbers of settings that the best was chosen from, over the finished tasks, each once, sorted."""
        return tuple(sorted({len(result.settings) for result in self.results[label].values()}))

    def ratios(self, task: str, label: str) -> tuple[float, float]:
        """``L_Adam* / mean(L)``, and the mean over seeds of ``L_Adam* / L``; NaN if not scored.

        The first is 0 if a seed diverged; the second is the mean of the final-loss score.
        """
        runs = self.best(task, label)
        if task not in self.tasks or runs is None:
            return float("nan"), float("nan")
        best = self.references[task]
        mean = math.inf if runs.diverged.any() else float(best.final_loss(runs).mean())
        of_means = max(best.loss, _TINY) / max(mean, _TINY)
        return of_means, float(final_loss_score(runs, best).mean())

    def settings_beaten(self, task: str, label: str) -> int:
        """How many of Adam's settings end above this optimizer's mean final loss, or diverge."""
        runs, adam = self.best(task, label), self.results[NOISE].get(task)
        if runs is None or adam is None or not np.isfinite(runs.mean_final_loss):
            return 0
        return sum(one.mean_final_loss > runs.mean_final_loss for one in adam.settings)


def score_table(
    rows: Sequence[Training],
    requested: Requested | None = None,
    envelopes: Mapping[str, Envelope] | None = None,
    kind: str | None = None,
    smoothed: bool = False,
) -> ScoreTable:
    """Score every optimizer on every task that all of them have finished on the same data.

    Args:
        rows: the finished trainings.
        requested: what was requested; None = what the rows hold.
        envelopes: of tuned Adam by task, for VeLO's speedup; None for none.
        kind: of the curves that speedups read, see `celo.evaluation.curves.curve`; None = `kind_for`.
        smoothed: whether the final-loss score compares last points of smoothed curves.

    Raises:
        ValueError: there is no row, rows differ in steps, evaluations or seeds, or have no such curve.
    """
    requested = requested or requested_by(rows)
    found = {pair: own for pair, own in requested.rows_of(rows).items() if own}
    if not found:
        asked = "; ".join(pair.words for pair in requested.pairs)
        raise ValueError(f"there is no finished training to report on; requested: {asked or 'nothing'}")
    tasks, mixed, chosen = requested.tasks, requested.mixed(), choose_all(requested, found)
    results = {NOISE: chosen.pop(REFERENCE, {}), **chosen}
    finished = [t for t in tasks if t not in mixed and all(t in own for own in results.values())]
    reasons = {task: _unscorable(task, results) for task in tasks}
    kind = kind_for((row for own in found.values() for row in own), kind)
    references = {
        task: reference(results[NOISE][task].runs, kind, smoothed)
        for task in tasks
        if task in results[NOISE] and reasons[task] is None
    }
    scored = tuple(task for task in finished if task in references)
    refused = {task: reason for task in finished if (reason := reasons[task]) is not None}
    no_envelope = {
        task: reason
        for task in (scored if envelopes is not None else ())
        if (reason := without_envelope(best_rows(results, task), (envelopes or {}).get(task)))
    }
    velo = envelopes is not None and len(no_envelope) < len(scored)
    kinds = tuple(one for one in SCORES if scored and (one.name != VELO or velo))
    facts = (mixed, refused, references, kinds, envelopes, no_envelope, kind, smoothed)
    return ScoreTable(requested, results, scored, requested.missing(rows), *facts)


def _lowest(runs: Runs) -> float:
    """The lowest final loss of trainings that did not diverge."""
    return float(runs.final_loss[~runs.diverged].min(initial=np.inf))


def _unscorable(task: str, results: Mapping[str, Mapping[str, Result]]) -> str | None:
    """Why no training on a task can be scored; None if all can, or if Adam is not finished."""
    adam = results[NOISE].get(task)
    if adam is not None and adam.runs.diverged.any():
        return "Adam diverged on some seed at every learning rate, so there is nothing to score against"
    for label, own in results.items():
        if task in own and (lowest := _lowest(own[task].runs)) < 0:
            return f"{label} has the negative final loss {lowest:.3g}, and a ratio of losses means nothing"
    return None
