"""VeLO's speedup: how many steps the best Adam at any learning rate needs to reach a loss."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import numpy as np

from celo.evaluation.cell import CellResult
from celo.evaluation.selection import Chosen
from celo.meta.full_training import smooth

SMOOTHING = 0.95
PIECES = 512


class Envelope(NamedTuple):
    """The lowest smoothed loss that a tuned baseline reaches within a number of steps.

    Attributes:
        steps: (n,) increasing numbers of steps; the last is the horizon.
        loss: (n,) losses, never increasing.
        evaluations: how many evaluations of own curves it is made of; None for a published one.
        task_digest: of the task and data that own curves were trained on; None where it is not known.
    """

    steps: np.ndarray
    loss: np.ndarray
    evaluations: int | None = None
    task_digest: str | None = None


def baseline_steps(envelope: Envelope, losses: np.typing.ArrayLike) -> np.ndarray:
    """Steps the baseline needs to reach each loss: linear between points of the envelope, never beyond it.

    A loss above the envelope's first gives its first step, one below its last gives the horizon. Of a
    plateau, its own loss gives the first step, the least below it a step after the plateau; below the last
    plateau there is nothing but the horizon. A loss that is not finite gives 0.

    Args:
        envelope: of the task.
        losses: (...) losses.

    Returns:
        (...) float64 numbers of steps.

    Example:
        >>> flat = Envelope(np.array([0.0, 10.0, 20.0, 30.0]), np.array([3.0, 2.0, 2.0, 1.0]))
        >>> baseline_steps(flat, [4.0, 2.5, 2.0, 1.5, 0.5, float("nan")]).tolist()
        [0.0, 5.0, 10.0, 25.0, 30.0, 0.0]

    Source: Metz et al. 2022 (arXiv 2211.09760), and the normalizers released with it.
    """
    losses = np.asarray(losses, np.float64)
    steps, bounds = envelope.steps.astype(np.float64), envelope.loss.astype(np.float64)
    finite = np.where(np.isfinite(losses), losses, bounds[0])
    # The first point at or below the loss: searched in -bounds, which increases.
    after = np.searchsorted(-bounds, -finite, side="left")
    right = np.clip(after, 1, len(bounds) - 1)
    left = right - 1
    drop = bounds[left] - bounds[right]
    share = np.clip((bounds[left] - finite) / np.where(drop > 0, drop, 1.0), 0.0, 1.0)
    between = steps[left] + share * (steps[right] - steps[left])
    found = np.where(after == 0, steps[0], np.where(after == len(bounds), steps[-1], between))
    return np.where(np.isfinite(losses), found, 0.0)


def velo_speedup_score(runs: Chosen, envelope: Envelope) -> np.ndarray:
    """Steps that tuned Adam needs to reach each run's final loss, over the run's own number of steps.

    Args:
        runs: trainings of an optimizer, S seeds.
        envelope: of the task.

    Returns:
        (S,) float64, at most the envelope's horizon over T; 0 for a diverged run.
    """
    losses = np.where(runs.diverged, np.nan, runs.final_loss)
    return baseline_steps(envelope, losses) / runs.cell.num_steps


def envelope_of(cell: CellResult, pieces: int = PIECES) -> Envelope:
    """The envelope of an optimizer's own evaluations, built as the published ones are.

    Training losses of the evaluations are averaged over seeds (a diverged seed spoils its learning rate from
    there on), smoothed over evaluations with coefficient 0.95, the lowest over configurations taken,
    resampled at equal distances, and its running minimum kept.

    Args:
        cell: Adam at all its learning rates, as long as speedups shall reach.
        pieces: number of points.

    Raises:
        ValueError: there are fewer than two evaluations or pieces, no training losses among them, or no
            configuration with a finite loss at the first.
    """
    losses, steps = cell.evaluations.get("train_loss"), np.asarray(cell.evaluation_steps, np.float64)
    if losses is None or len(steps) < 2 or pieces < 2:
        raise ValueError(
            f"{cell.optimizer} on {cell.task} has {len(steps)} evaluations of {sorted(cell.evaluations)}, "
            f"and pieces is {pieces}; an envelope needs two or more of train_loss, and of pieces"
        )
    smoothed = smooth(losses.astype(np.float64).mean(axis=1), SMOOTHING)
    lowest = np.fmin.reduce(np.where(np.isfinite(smoothed), smoothed, np.nan), axis=0)
    if not np.isfinite(lowest[0]):
        raise ValueError(f"{cell.optimizer} on {cell.task} has no finite loss at the first evaluation")
    places = np.linspace(0.0, steps[-1], pieces)
    # After the last finite loss of any configuration the running minimum holds.
    known = np.minimum.accumulate(np.where(np.isfinite(lowest), lowest, np.inf))
    losses = np.minimum.accumulate(np.interp(places, steps, known))
    return Envelope(places, losses, len(steps), cell.task_digest)


def read_envelopes(path: Path) -> dict[str, Envelope]:
    """Reads envelopes by task from an NPZ file of ``names`` (k,), ``steps`` (k, n) and ``loss`` (k, n).

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is not such a file; or steps do not increase, losses increase or are not finite.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("names", "steps", "loss")}
    except FileNotFoundError:
        raise FileNotFoundError(f"there is no file of envelopes {path}") from None
    except (ValueError, OSError, KeyError, TypeError, AttributeError, EOFError) as error:
        raise ValueError(
            f"{path} is no file of envelopes ({type(error).__name__}: {error}); expected an NPZ file with "
            "names (k,), steps (k, n) and loss (k, n)"
        ) from error
    return envelopes_from(**arrays)


def envelopes_from(names: np.ndarray, steps: np.ndarray, loss: np.ndarray) -> dict[str, Envelope]:
    """Envelopes by task, from arrays as in `read_envelopes`, checked as there."""
    if names.ndim != 1 or steps.shape != loss.shape or steps.shape[:1] != names.shape or steps.ndim != 2:
        raise ValueError(
            f"envelopes have shapes names {names.shape}, steps {steps.shape}, loss {loss.shape}; "
            "expected (k,), (k, n), (k, n)"
        )
    for name, own_steps, own_loss in zip(names, steps, loss, strict=True):
        falls = bool((np.diff(own_loss) <= 0).all())
        if (
            len(own_steps) < 2
            or not (np.diff(own_steps) > 0).all()
            or not np.isfinite(own_loss).all()
            or not falls
        ):
            raise ValueError(
                f"the envelope of {name} is not one: expected two or more increasing steps, and finite "
                "losses that never increase"
            )
    return {str(name): Envelope(*pair) for name, *pair in zip(names, steps, loss, strict=True)}
