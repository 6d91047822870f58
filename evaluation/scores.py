"""The score table: the best setting of every optimizer on every task, scored against the best Adam.

Every score is a number per training, above 1 where it beats the best Adam: ratio of final losses, speedup by
first crossing, sustained speedup, and VeLO's speedup where there are envelopes. The first row, `NOISE`, is
the best Adam scored against its own mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import numpy as np

from celo.evaluation.envelope import Envelope, velo_speedup, without_envelope
from celo.evaluation.results import Meaning, Pair, Requested, Training
from celo.meta.full_training import smooth

REFERENCE = "adam"
NOISE = "Adam* (noise reference)"
_TINY = float(np.finfo(np.float32).tiny)


@dataclasses.dataclass(frozen=True, eq=False)
class Runs:
    """The trainings of one optimizer on one task at one setting, one row per seed; S seeds, T steps.

    Attributes:
        rows: in order of seeds.
    """

    rows: tuple[Training, ...]

    @property
    def task(self) -> str:
        """Name of the task."""
        return self.rows[0].task

    @property
    def optimizer(self) -> str:
        """Label of the optimizer."""
        return self.rows[0].optimizer

    @property
    def setting(self) -> Mapping[str, float]:
        """Its hyperparameters."""
        return self.rows[0].setting

    @property
    def steps(self) -> int:
        """T."""
        return self.rows[0].steps

    @property
    def seeds(self) -> tuple[int, ...]:
        """Numbers of the seeds."""
        return tuple(row.seed for row in self.rows)

    @property
    def loss(self) -> np.ndarray:
        """(S, T) training losses."""
        return np.stack([row.loss for row in self.rows])

    @property
    def eta(self) -> np.ndarray | None:
        """(S, T) step sizes of a learned scheduler; None where there is none."""
        curves = [row.eta for row in self.rows if row.eta is not None]
        return np.stack(curves) if len(curves) == len(self.rows) else None

    @property
    def final_loss(self) -> np.ndarray:
        """(S,) float32 final losses."""
        return np.array([row.final_loss for row in self.rows], np.float32)

    @property
    def diverged(self) -> np.ndarray:
        """(S,) bool: which seeds diverged."""
        return np.array([row.diverged for row in self.rows])

    @property
    def evaluation_steps(self) -> np.ndarray:
        """(E,) steps taken before each evaluation."""
        return self.rows[0].evaluation_steps

    def evaluations(self, name: str) -> np.ndarray | None:
        """(S, E) evaluations of a name such as "test_loss"; None where there are none."""
        curves = [row.evaluations[name] for row in self.rows if name in row.evaluations]
        return np.stack(curves) if len(curves) == len(self.rows) else None

    @property
    def mean_final_loss(self) -> float:
        """Mean final loss over seeds; inf where any of them diverged."""
        final = np.where(self.diverged, np.float32(np.inf), self.final_loss)
        return float(final.mean(dtype=np.float64))

    @property
    def spread(self) -> float:
        """Sample standard deviation of the final loss over seeds that did not diverge; NaN below two."""
        finite = self.final_loss[~self.diverged].astype(np.float64)
        return float(np.std(finite, ddof=1)) if finite.size > 1 else float("nan")


class Result(NamedTuple):
    """The trainings of one optimizer on one task at all its settings.

    Attributes:
        settings: in the order they were requested.
        best: position of the best setting.
    """

    settings: tuple[Runs, ...]
    best: int

    @property
    def runs(self) -> Runs:
        """The trainings at the best setting."""
        return self.settings[self.best]

    @property
    def edge(self) -> tuple[str, float] | None:
        """The hyperparameter and its value, if the best setting is at an end of a grid over one of them.

        A better value may lie outside the grid. None for a random search, and for fewer than three values.
        """
        tried = [runs.setting for runs in self.settings]
        values = {
            name: {one.get(name) for one in tried} for name in sorted({n for one in tried for n in one})
        }
        varied = [name for name in values if len(values[name]) > 1]
        if len(varied) != 1 or len(values[varied[0]]) < 3 or None in values[varied[0]]:
            return None
        grid, value = [one[varied[0]] for one in tried], self.runs.setting[varied[0]]
        return (varied[0], value) if value in (min(grid), max(grid)) else None


def choose(rows: Sequence[Training]) -> Result:
    """Choose the setting with the lowest final loss, mean over seeds, after the fact.

    A diverged seed disqualifies a setting. Where every setting diverged on some seed, the one that diverged
    on the fewest wins, then the lowest mean over the other seeds. Ties go to the first.

    Args:
        rows: all trainings of an optimizer on a task, settings in order, each with the same seeds.

    Source: the tuning of baselines in Moudgil et al. 2025 (arXiv 2501.12670), section 5.
    """
    by_setting: dict[tuple[tuple[str, float], ...], list[Training]] = {}
    for row in rows:
        by_setting.setdefault(tuple(sorted(row.setting.items())), []).append(row)
    settings = tuple(Runs(tuple(sorted(own, key=lambda row: row.seed))) for own in by_setting.values())
    diverged = np.array([runs.diverged.sum() for runs in settings])
    means = []
    for runs in settings:
        finite = runs.final_loss[~runs.diverged].astype(np.float64)
        means.append(finite.sum() / finite.size if finite.size else np.inf)
    return Result(settings, int(np.lexsort((np.array(means), diverged))[0]))


@dataclasses.dataclass(frozen=True)
class Reference:
    """What the best Adam reaches on a task, against which every training is scored.

    Attributes:
        loss: its final loss, mean over seeds.
        target: its smoothed training loss at the last step, mean over seeds.
    """

    loss: float
    target: float


def reference(adam: Runs) -> Reference:
    """What the best Adam reaches; ``adam`` has no diverged seed and no negative loss."""
    return Reference(
        float(adam.final_loss.astype(np.float64).mean()), float(smooth(adam.loss)[..., -1].mean())
    )


def final_loss_score(runs: Runs, best: Reference) -> np.ndarray:
    """``s = L_Adam* / L_opt`` of each training; (S,) float64, 0 where it diverged.

    A loss of exactly zero counts as the smallest positive float32, so that scores stay finite.

    Raises:
        ValueError: a loss is negative, and a ratio of losses means nothing.

    Source: Moudgil et al. 2025 (arXiv 2501.12670), section 5.
    """
    if (lowest := _lowest(runs)) < 0:
        raise ValueError(f"{runs.optimizer} on {runs.task} has the final loss {lowest:.6g}; expected >= 0")
    losses = np.where(runs.diverged, np.inf, runs.final_loss).astype(np.float64)
    return max(best.loss, _TINY) / np.maximum(losses, _TINY)


def first_crossing(losses: np.typing.ArrayLike, target: float) -> np.ndarray:
    """Speedup ``T / T_opt``, ``T_opt = min{t : s_t <= target}``, s the smoothed losses s_1..s_T.

    Steps are counted from 1: the largest speedup is T. One dip to the target by noise counts.

    Args:
        losses: (..., T) losses as trained; `celo.meta.full_training.smooth` is applied here.
        target: smoothed loss to reach.

    Returns:
        (...,) float64 speedups in [1, T]; 0 where the target is never reached.

    Example:
        >>> first_crossing([[4.0, 1.0, 1.0, 1.0], [4.0, 4.0, 4.0, 4.0]], 3.6).tolist()
        [1.3333333333333333, 0.0]

    Source: Moudgil et al. 2025 (arXiv 2501.12670), section 5.
    """
    return _speedup(smooth(losses) <= target)


def sustained(losses: np.typing.ArrayLike, target: float) -> np.ndarray:
    """Speedup ``T / T_opt``, ``T_opt = min{t : s_u <= target for all u >= t}``.

    Args:
        losses: (..., T) losses as trained, not smoothed.
        target: smoothed loss to reach.

    Returns:
        (...,) float64 speedups, at most those of `first_crossing`; 0 where the curve ends above the target.

    Example:
        >>> curve = [1.0, 9.0, 0.0, 0.0, 0.0]  # smoothed: 1, 1.8, 1.62, 1.458, 1.3122
        >>> first_crossing(curve, 1.5).item(), sustained(curve, 1.5).item()
        (5.0, 1.25)
    """
    below = smooth(losses) <= target
    return _speedup(np.logical_and.accumulate(below[..., ::-1], axis=-1)[..., ::-1])


def _speedup(reached: np.ndarray) -> np.ndarray:
    """T over the number of the first true step, 0 where there is none."""
    return np.where(reached.any(axis=-1), reached.shape[-1] / (np.argmax(reached, axis=-1) + 1.0), 0.0)


class Score(NamedTuple):
    """A way to score trainings.

    Attributes:
        name: for files.
        title: for headings.
        meaning: in a sentence.
        of: the scores (S,) of an optimizer's trainings on a task; None for VeLO's, which reads envelopes.
    """

    name: str
    title: str
    meaning: str
    of: Callable[[Runs, Reference], np.ndarray] | None


SCORES = (
    Score(
        "final_loss",
        "Final-loss score",
        "Mean final loss of the best Adam divided by the training's own; above 1 beats the best Adam.",
        final_loss_score,
    ),
    Score(
        "speedup",
        "Speedup, first crossing",
        "Steps of the whole training divided by the steps after which the smoothed loss is first at or below "
        "the best Adam's final smoothed loss, as in the Celo paper. One dip by noise is enough: it flatters.",
        lambda runs, best: np.where(runs.diverged, 0.0, first_crossing(runs.loss, best.target)),
    ),
    Score(
        "sustained_speedup",
        "Speedup, sustained",
        "The same, with the step from which the smoothed loss stays at or below that target to the end. "
        "A training that ends above the target, be it by noise, scores 0.",
        lambda runs, best: np.where(runs.diverged, 0.0, sustained(runs.loss, best.target)),
    ),
    Score(
        "velo_speedup",
        "VeLO's speedup",
        "Steps that tuned Adam needs to reach the training's final loss, by the envelope of Adam's curves, "
        "divided by the training's own number of steps, as VeLO's authors measure it.",
        None,
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

    @property
    def labels(self) -> tuple[str, ...]:
        """Labels of the rows: `NOISE`, then the optimizers in the order they were requested."""
        return tuple(self.results)

    @property
    def all_tasks(self) -> tuple[str, ...]:
        """All requested tasks, scored or not."""
        return tuple(dict.fromkeys(pair.task for pair in self.requested.pairs))

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
        if name != "velo_speedup":
            return self.tasks
        return tuple(task for task in self.tasks if task not in self.no_envelope)

    def scores(self, name: str) -> dict[str, np.ndarray]:
        """By label the (S, tasks) scores of the best setting, float64, columns as `tasks_of`."""
        score = next(one for one in SCORES if one.name == name)
        return {
            label: np.stack([self._of(score, task, own[task].runs) for task in self.tasks_of(name)], axis=1)
            for label, own in self.results.items()
        }

    def settings(self, label: str) -> tuple[int, ...]:
        """Numbers of settings that the best was chosen from, over the finished tasks, each once, sorted."""
        return tuple(sorted({len(result.settings) for result in self.results[label].values()}))

    def mean_of_ratios(self, task: str, label: str) -> float:
        """Mean over seeds of ``L_Adam* / L``: the column mean of the final-loss score; NaN if not scored."""
        runs = self.best(task, label)
        if task not in self.tasks or runs is None:
            return float("nan")
        return float(final_loss_score(runs, self.references[task]).mean())

    def ratio_of_means(self, task: str, label: str) -> float:
        """``L_Adam* / mean(L)``, both means over seeds; 0 if a seed diverged, NaN if not scored."""
        runs = self.best(task, label)
        if task not in self.tasks or runs is None:
            return float("nan")
        return max(self.references[task].loss, _TINY) / max(runs.mean_final_loss, _TINY)

    def settings_beaten(self, task: str, label: str) -> int:
        """How many of Adam's settings end above this optimizer's mean final loss, or diverge."""
        runs, adam = self.best(task, label), self.results[NOISE].get(task)
        if runs is None or adam is None or not np.isfinite(runs.mean_final_loss):
            return 0
        return sum(one.mean_final_loss > runs.mean_final_loss for one in adam.settings)

    def _of(self, score: Score, task: str, runs: Runs) -> np.ndarray:
        if score.of is None:
            return velo_speedup(runs.final_loss, runs.diverged, runs.steps, (self.envelopes or {})[task])
        return score.of(runs, self.references[task])


def score_table(
    rows: Sequence[Training],
    requested: Requested | None = None,
    envelopes: Mapping[str, Envelope] | None = None,
) -> ScoreTable:
    """Score every optimizer on every task that all of them have finished on the same data.

    Args:
        rows: the finished trainings.
        requested: what was requested; None = what the rows hold.
        envelopes: of tuned Adam by task, for VeLO's speedup; None for none.

    Returns:
        The table; without scores if no task can be scored.

    Raises:
        ValueError: there is no row, or rows differ in steps, evaluations or seeds.
    """
    requested = requested or requested_by(rows)
    found = {pair: own for pair, own in requested.rows_of(rows).items() if own}
    if not found:
        asked = "; ".join(pair.words for pair in requested.pairs)
        raise ValueError(f"there is no finished training to report on; requested: {asked or 'nothing'}")
    tasks = tuple(dict.fromkeys(pair.task for pair in requested.pairs))
    labels = tuple(dict.fromkeys((REFERENCE, *(pair.optimizer for pair in requested.pairs))))
    results: dict[str, dict[str, Result]] = {NOISE if one == REFERENCE else one: {} for one in labels}
    for (task, label), own in found.items():
        if len(own) == requested.count(label):
            results[NOISE if label == REFERENCE else label][task] = choose(own)
    mixed = _mixed(requested)
    finished = [t for t in tasks if t not in mixed and all(t in own for own in results.values())]
    reasons = {task: _unscorable(task, results) for task in tasks}
    references = {
        task: reference(results[NOISE][task].runs)
        for task in tasks
        if task in results[NOISE] and reasons[task] is None
    }
    scored = tuple(task for task in finished if task in references)
    refused = {task: reason for task in finished if (reason := reasons[task]) is not None}
    no_envelope = {} if envelopes is None else _without_envelope(scored, results, envelopes)
    velo = envelopes is not None and len(no_envelope) < len(scored)
    kinds = tuple(one for one in SCORES if scored and (one.of or velo))
    return ScoreTable(
        requested,
        results,
        scored,
        requested.missing(rows),
        mixed,
        refused,
        references,
        kinds,
        envelopes,
        no_envelope,
    )


def requested_by(rows: Sequence[Training]) -> Requested:
    """What the rows themselves say was requested, for rows without an evaluation.json.

    Raises:
        ValueError: there is no row, or rows differ in steps, random seed or batches of evaluations.
    """
    if not rows:
        raise ValueError("there is no finished training to report on")
    for name in ("steps", "random_seed", "evaluation_batches"):
        values = sorted({getattr(row, name) for row in rows})
        if len(values) > 1:
            raise ValueError(f"rows differ in {name}: {', '.join(map(str, values))}; expected one value")
    settings: dict[str, list[Mapping[str, float]]] = {}
    for row in rows:
        own = settings.setdefault(row.optimizer, [])
        if dict(row.setting) not in own:
            own.append(dict(row.setting))
    optimizers = {
        row.optimizer: Meaning(row.spec, row.optimizer_digest, row.learned, tuple(settings[row.optimizer]))
        for row in rows
    }
    pairs = tuple(dict.fromkeys(Pair(row.task, row.optimizer, row.task_digest) for row in rows))
    shared = {
        "steps": rows[0].steps,
        "seeds": 1 + max(row.seed for row in rows),
        "seed": rows[0].random_seed,
        "eval_batches": rows[0].evaluation_batches,
    }
    return Requested(shared, optimizers, pairs)


def _lowest(runs: Runs) -> float:
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


def _mixed(requested: Requested) -> dict[str, str]:
    """Tasks whose digest differs among the optimizers, with the optimizers in groups of equal digests."""
    groups: dict[str, dict[str, list[str]]] = {}
    for pair in requested.pairs:
        if pair.task_digest:
            groups.setdefault(pair.task, {}).setdefault(pair.task_digest, []).append(pair.optimizer)
    return {
        task: " than for ".join(map(", ".join, own.values())) for task, own in groups.items() if len(own) > 1
    }


def _without_envelope(
    tasks: Sequence[str],
    results: Mapping[str, Mapping[str, Result]],
    envelopes: Mapping[str, Envelope],
) -> dict[str, str]:
    found = {}
    for task in tasks:
        own = [runs for label in results for runs in results[label][task].runs.rows]
        reason = without_envelope(own, envelopes.get(task))
        if reason:
            found[task] = reason
    return found
