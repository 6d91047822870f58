"""Metrics on a Weights & Biases dashboard, under one id however often the run is stopped and resumed."""

from __future__ import annotations

import json
import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from celo._core.names import unknown_name
from celo.meta.runs import files

MODES = ("online", "offline", "disabled")
MODE_VARIABLE = "WANDB_MODE"
_OLD_NAMES = {"run": "online", "dryrun": "offline"}  # which wandb itself still takes
_ID_FILE = "wandb.json"
_START_TIMEOUT = 30.0


def _of_environment() -> str:
    stated = os.environ.get(MODE_VARIABLE) or "online"
    return _OLD_NAMES.get(stated, stated)


def mode_of(mode: str | None) -> str:
    """The mode asked for: the one given, else that of the variable WANDB_MODE, else "online".

    Raises:
        ValueError: it is none of `MODES`.
    """
    chosen = mode if mode is not None else _of_environment()
    if chosen not in MODES:
        kind = "wandb mode" if mode is not None else f"wandb mode (of {MODE_VARIABLE})"
        raise unknown_name(kind, chosen, MODES)
    return chosen


class Run(Protocol):
    """What is tracked: a run folder, or anything else that has a folder of its own and a configuration."""

    @property
    def path(self) -> Path:
        """Its folder."""
        ...

    @property
    def config(self) -> dict[str, Any]:
        """What it is a run of."""
        ...


class WandbTracker:
    """Logs to wandb: numbers as they are, arrays as histograms of their finite entries.

    The id is drawn once and kept in the run folder's ``wandb.json``. wandb counts its own steps and refuses
    to go back, which a resumed run does: after a kill it repeats the steps since its last checkpoint. So the
    step is logged as a metric of its own and made the axis of all others; repeated steps lie on top of each
    other, with equal values. In mode "offline" each start writes its own folder below ``wandb/``; ``wandb
    sync`` uploads them under the one id.

    Args:
        run: gives the folder, the id and the configuration shown.
        mode: "online", "offline", or "disabled" (everything is accepted and dropped); None as in `mode_of`.
        project: wandb project.
        name: name shown.
        group: runs to show together, or None.

    Raises:
        ValueError: unknown mode, or ``wandb.json`` is not readable.
        RuntimeError: wandb is not installed or did not start.
    """

    def __init__(self, run: Run, mode: str | None, project: str, name: str, group: str | None):
        mode = mode_of(mode)
        wandb = _import_wandb()
        self._histogram = wandb.Histogram
        self.id = _stored_id(run)
        try:
            self._run = wandb.init(
                id=self.id,
                resume="allow",
                mode=mode,
                dir=str(run.path),
                project=project,
                name=name,
                group=group,
                config=run.config,
                allow_val_change=True,
                settings=wandb.Settings(console="off", init_timeout=_START_TIMEOUT),
            )
        except (wandb.errors.Error, OSError) as error:
            advice = "offline mode needs no network (`wandb sync` uploads later), disabled mode logs nothing"
            reason = " ".join(str(error).split())
            raise RuntimeError(f"wandb did not start in {mode} mode: {reason}; {advice}") from error
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Send one row."""
        self._run.log({"step": int(step)} | {name: self._value(value) for name, value in metrics.items()})

    def close(self) -> None:
        """Send what is pending and end; a second call does nothing."""
        self._run.finish()

    def __enter__(self) -> WandbTracker:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _value(self, value: Any) -> Any:
        array = np.asarray(value).astype(np.float64)
        if array.ndim == 0:
            return array.item()
        return self._histogram(array[np.isfinite(array)])


def _import_wandb() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise RuntimeError(
            "tracker 'wandb' needs the package wandb; install it with `pip install 'celo[train]'`, "
            "or choose tracker 'jsonl'"
        ) from error
    return wandb


def _stored_id(run: Run) -> str:
    path = run.path / _ID_FILE
    if not path.exists():
        files.write_atomically(path, files.json_bytes({"id": secrets.token_hex(6)}))
    try:
        return str(json.loads(path.read_bytes())["id"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{path} is not readable ({error}); without it the run gets a new wandb id: delete it"
        ) from error
