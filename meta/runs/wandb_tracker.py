"""Metrics on a Weights & Biases dashboard, under one id however often the run is stopped and resumed."""

from __future__ import annotations

import os
import re
import secrets
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from celo._core.names import unknown_name
from celo.meta.runs import files
from celo.meta.runs.trackers import Tracker

if TYPE_CHECKING:
    from celo.meta.runs.run import RunFolder

MODES = ("online", "offline", "disabled")
MODE_VARIABLE = "WANDB_MODE"
_OLD_NAMES = {"run": "online", "dryrun": "offline"}  # wandb still accepts them
_ID_FILE = "wandb.json"
_START_TIMEOUT = 30.0


def mode_of(mode: str | None) -> str:
    """The mode to use: the argument, else the variable WANDB_MODE, else "online"; ValueError for another."""
    kind = "wandb mode"
    if mode is None:
        stated = os.environ.get(MODE_VARIABLE) or "online"
        mode, kind = _OLD_NAMES.get(stated, stated), f"wandb mode (of {MODE_VARIABLE})"
    if mode not in MODES:
        raise unknown_name(kind, mode, MODES)
    return mode


class WandbTracker(Tracker):
    """Logs to wandb: numbers as they are, arrays as histograms of their finite entries.

    The id is drawn once and kept in the run folder's ``wandb.json``. wandb counts its own steps and refuses
    to go back, which a resumed run does: after a kill it repeats the steps since its last checkpoint. So the
    step is logged as a metric and is the axis of all others; repeated steps lie on top of each other, with
    equal values. In mode "offline" each start writes a folder below ``wandb/``; ``wandb sync`` uploads them
    under the one id. Arguments and errors are those of `make_tracker`.
    """

    def __init__(
        self,
        run: RunFolder,
        mode: str | None,
        project: str,
        group: str | None,
        job_type: str | None,
        rename: Callable[[str], str],
    ):
        mode = mode_of(mode)
        self._wandb = wandb = _import_wandb()
        self._rename = rename
        self.id = _stored_id(run)
        try:
            self._run = wandb.init(
                id=self.id,
                resume="allow",
                mode=mode,
                dir=str(run.path),
                project=project,
                name=run.path.name,
                group=group,
                job_type=job_type,
                config=run.config,
                allow_val_change=True,
                settings=wandb.Settings(console="off", silent=True, init_timeout=_START_TIMEOUT),
            )
        except (wandb.errors.Error, OSError) as error:
            advice = "offline mode needs no network (`wandb sync` uploads later), disabled mode logs nothing"
            reason = " ".join(str(error).split())
            raise RuntimeError(f"wandb did not start in {mode} mode: {reason}; {advice}") from error
        if mode == "online":
            print(f"wandb: {self._run.url}", file=sys.stderr)
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, metrics: Mapping[str, Any]) -> None:
        """Send one row."""
        row = {self._rename(name): self._value(value) for name, value in metrics.items()}
        self._run.log({"step": int(step)} | row)

    def summarise(self, values: Mapping[str, Any]) -> None:
        """Write numbers to the summary of the run."""
        self._run.summary.update({name: self._value(value) for name, value in values.items()})

    def keep(self, file: Path, kind: str) -> None:
        """Upload a file as an artifact, named after the run's id and the file."""
        artifact = self._wandb.Artifact(f"{file.stem}-{self.id}", type=kind)
        artifact.add_file(str(file))
        self._run.log_artifact(artifact)

    def close(self) -> None:
        """Send what is pending and end; a second call does nothing."""
        self._run.finish()

    def _value(self, value: Any) -> Any:
        array = np.asarray(value).astype(np.float64)
        if array.ndim == 0:
            return array.item()
        return self._wandb.Histogram(array[np.isfinite(array)])


def _import_wandb() -> Any:
    try:
        import wandb
    except ImportError as error:
        raise RuntimeError(
            "tracker 'wandb' needs the package wandb; install it with `pip install 'celo[train]'`, "
            "or choose tracker 'jsonl'"
        ) from error
    return wandb


def _stored_id(run: RunFolder) -> str:
    path = run.path / _ID_FILE
    if not path.exists():
        files.write_atomically(path, files.json_bytes({"id": secrets.token_hex(6)}))
    advice = "without it the run gets a new wandb id: delete it"
    try:
        content = files.parse_json(path.read_bytes(), str(path))
    except ValueError as error:
        raise ValueError(f"{error}; {advice}") from error
    found = content.get("id") if isinstance(content, dict) else None
    # wandb names folders after the id, so it must not be a path.
    if not (isinstance(found, str) and re.fullmatch(r"[\w-]{1,128}", found)):
        raise ValueError(f"{path} is not readable: expected an object with an id; {advice}")
    return found
