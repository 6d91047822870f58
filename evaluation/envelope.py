"""Envelopes: the lowest loss that Adam at any learning rate reaches within a number of steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from celo.evaluation.results import Training
from celo.meta.data.catalog import TEXT_DATASETS
from celo.meta.data.tokenizers import PUBLISHED_VOCABULARIES
from celo.meta.full_training import smooth
from celo.meta.tasks import TASKS

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


def envelope_of(rows: Sequence[Training], pieces: int = PIECES) -> Envelope:
    """The envelope of the evaluations of one optimizer or several, built as the published ones are.

    Average the training losses of the evaluations over seeds (a diverged seed spoils its learning rate from
    there on), smooth them over evaluations with coefficient 0.95, take the lowest over settings, resample at
    ``pieces`` equal distances, and keep the running minimum.

    Args:
        rows: Adam at all its learning rates on one task, for as many steps as speedups shall reach; and other
            baselines with as many steps and the same evaluations, for the lowest loss of any of them.
        pieces: number of points.

    Raises:
        ValueError: fewer than two evaluations of train_loss or pieces, or no finite loss at the first.
    """
    by_setting: dict[tuple[object, ...], list[np.ndarray]] = {}
    for row in rows:
        if "train_loss" in row.evaluations:
            setting = (row.optimizer, *sorted(row.setting.items()))
            by_setting.setdefault(setting, []).append(row.evaluations["train_loss"])
    steps = np.asarray(rows[0].evaluation_steps if rows else [], np.float64)
    if not by_setting or len(steps) < 2 or pieces < 2:
        raise ValueError(
            f"an envelope needs two or more evaluations of train_loss and two or more pieces; got "
            f"{len(by_setting)} settings with {len(steps)} evaluations, and {pieces} pieces"
        )
    losses = np.stack([np.stack(own).astype(np.float64).mean(axis=0) for own in by_setting.values()])
    smoothed = smooth(losses, SMOOTHING)
    lowest = np.fmin.reduce(np.where(np.isfinite(smoothed), smoothed, np.nan), axis=0)
    if not np.isfinite(lowest[0]):
        raise ValueError(f"{rows[0].optimizer} on {rows[0].task} has no finite loss at the first evaluation")
    places = np.linspace(0.0, steps[-1], pieces)
    # After the last finite loss of any setting the running minimum holds.
    known = np.minimum.accumulate(np.where(np.isfinite(lowest), lowest, np.inf))
    bounds = np.minimum.accumulate(np.interp(places, steps, known))
    return Envelope(places, bounds, len(steps), rows[0].task_digest or None)


def without_envelope(rows: Sequence[Training], envelope: Envelope | None) -> str:
    """Why an envelope says nothing about trainings on its task; "" if it does."""
    if envelope is None:
        return "there is no envelope of Adam"
    if envelope.evaluations is None:
        if any(substituted(row) for row in rows):
            return "the envelope is of the published corpus, the trainings are not"
        if any(retokenized(row) for row in rows):
            return "the envelope is of the published tokenizer, the trainings are not"
    elif envelope.task_digest and {row.task_digest for row in rows} - {"", envelope.task_digest}:
        return "the envelope is of other data or another definition of the task"
    return ""


def own_corpus(task: str) -> str:
    """The corpus that a published task reads by itself; "" where it reads none."""
    entry = TASKS.get(task)
    return (entry.dataset or "") if entry is not None and entry.dataset in TEXT_DATASETS else ""


def substituted(row: Training) -> bool:
    """Whether a training read another corpus than the task's own: its losses are not the published task's."""
    own = own_corpus(row.task)
    return bool(row.corpus and own and row.corpus != own)


def retokenized(row: Training) -> bool:
    """Whether a training read other tokens than published tasks, which read bytes or T5's sub-words."""
    return bool(row.corpus) and row.vocabulary not in ("", *PUBLISHED_VOCABULARIES)


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
