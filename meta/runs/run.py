"""A run is a folder: what was requested, what was measured, and where to resume.

config.json         configuration and provenance: everything needed to repeat the run
metrics.jsonl       one row per logged step
checkpoints/        the last states, complete ones only
best_stageN/        the theta of stage N with the lowest meta-validation
theta.safetensors   the result, written by `celo.save` at the end
report/             tables and figures made from it
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax

from celo.meta.runs import config_file, files
from celo.meta.runs.checkpoints import Checkpoints, Found
from celo.meta.runs.lock import FileLock, lock_folder
from celo.meta.runs.metrics import JsonlTracker, read_metrics
from celo.meta.runs.trackers import Tracker

METRICS = "metrics.jsonl"
_CHECKPOINTS = "checkpoints"
_BEST = "best*"
_OWN = (config_file.NAME, METRICS, _CHECKPOINTS, "wandb", "wandb.json")


class RunFolder:
    """An open run folder, locked against other processes until `close`; made by `RunFolder.open`.

    Under `jax.distributed` every process opens the folder and saves and restores; process 0 alone locks it
    and writes the configuration and metrics.

    Attributes:
        path: the folder, absolute.
        config: the configuration, as JSON holds it.
        metrics: tracker that writes ``metrics.jsonl``, on process 0; on others one that does nothing.
        is_writer: whether this is process 0.

    Example:
        >>> import jax.numpy as jnp, tempfile
        >>> state = {"theta": jnp.ones(2)}
        >>> with RunFolder.open(tempfile.mkdtemp(), {"seed": 0}) as run:
        ...     run.restore_latest(like=state) is None
        ...     run.metrics.log(5, {"meta_loss": 2.0})
        ...     run.save(5, state)
        ...     run.restore_latest(like=state).step
        True
        5
    """

    def __init__(self, path: Path, config: Mapping[str, Any], lock: FileLock | None, keep: int):
        self.path = path
        self.config = dict(config)
        self.is_writer = lock is not None
        self.metrics: Tracker = JsonlTracker(path / METRICS) if self.is_writer else Tracker()
        self._lock = lock
        self._checkpoints = Checkpoints(path / _CHECKPOINTS, keep)

    @classmethod
    def open(cls, path: str | os.PathLike[str], config: Mapping[str, Any], keep: int = 3) -> RunFolder:
        """Create a run folder with its parents, or open one to resume its run.

        ``config`` is nested dicts of JSON values. A folder with another configuration is refused once it
        holds a checkpoint; before, there is nothing to lose and the run starts again.

        Warns:
            RunWarning: versions, code or devices are not those the run started with, or it starts again.

        Raises:
            TypeError: ``config`` holds what JSON does not.
            ValueError: the folder holds another configuration or something that is not a run, or its
                ``config.json`` is not readable.
            NotADirectoryError: ``path`` is a file, or lies below one.
            BlockingIOError: another process has the run open.
        """
        path = Path(path).absolute()
        if not isinstance(config, Mapping):
            raise TypeError(f"config is a {type(config).__name__}, {config!r}; expected a dict")
        ready = files.json_ready(config, "config")
        check_run_folder(path)
        if jax.process_index() != 0:
            return cls(path, ready, None, keep)
        path.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(path)
        try:
            if config_file.write_or_compare(path, ready, replace=_nothing_done(path)):
                for best in path.glob(_BEST):
                    shutil.rmtree(best)
                (path / "wandb.json").unlink(missing_ok=True)
            return cls(path, ready, lock, keep)
        except BaseException:
            lock.release()
            raise

    def save(self, step: int, state: Any) -> None:
        """Write a checkpoint of a pytree of arrays, after forcing the metrics logged so far to disk.

        Log the metrics of ``step`` before: rows logged after its checkpoint are dropped when the run resumes.

        Raises:
            ValueError: the folder holds a later checkpoint: the run was opened, but not restored.
            CheckpointError: the checkpoint could not be written; the earlier ones are intact.
        """
        later = [held for held in self._checkpoints.steps() if held > step]
        if later:
            raise ValueError(
                f"step is {step}, but {self.path} holds a checkpoint at step {later[-1]}; restore it first"
            )
        rows = 0
        if isinstance(self.metrics, JsonlTracker):
            self.metrics.sync()
            rows = self.metrics.rows
        self._checkpoints.save(step, state, rows=rows)

    def restore_latest(self, like: Any) -> Found | None:
        """Read the last undamaged checkpoint and cut the metrics back to its step.

        Warnings and errors are those of `Checkpoints.restore_latest`; also ValueError if rows of metrics from
        before the checkpoint are missing.
        """
        found = self._checkpoints.restore_latest(like)
        if found is not None:
            self._check_metrics(found)
        if isinstance(self.metrics, JsonlTracker):
            self.metrics.rewind(-1 if found is None else found.step)
        # Damage is reported now rather than at the end of the run, when the best state is needed.
        for slot in sorted(self.path.glob(_BEST)):
            self._best(slot.name).latest_notes()
        return found

    def save_best(self, step: int, state: Any, metric: float, slot: str = "best") -> bool:
        """Keep a state beside the checkpoints if its metric is the lowest so far; return whether it was kept.

        NaN is never the best; metrics of different slots, which are folders, are not compared.
        """
        best = self._best(slot)
        notes = best.latest_notes()
        if not metric < (float("inf") if notes is None else _metric(notes)):
            return False
        best.save(step, state, metric=float(metric))
        return True

    def restore_best(self, like: Any, slot: str = "best") -> Found | None:
        """Read the state with the lowest metric, as `Checkpoints.restore_latest` does."""
        return self._best(slot).restore_latest(like)

    def best(self, slot: str = "best") -> tuple[int, float] | None:
        """Step and metric of the state with the lowest metric, or None."""
        notes = self._best(slot).latest_notes()
        return None if notes is None else (notes["step"], _metric(notes))

    def _best(self, slot: str) -> Checkpoints:
        return Checkpoints(self.path / slot, keep=1)

    def _check_metrics(self, found: Found) -> None:
        """Compare the rows of metrics with the number that the checkpoint recorded."""
        path = self.path / METRICS
        rows = read_metrics(path) if path.exists() else []
        held = sum(row["step"] <= found.step for row in rows)
        expected = found.notes.get("rows", 0)
        if held < expected:
            raise ValueError(
                f"{path} has {held} rows up to step {found.step}, but the checkpoint of that step was "
                f"written after {expected}: rows are missing. Restore the file, or use another "
                "run folder"
            )

    def close(self) -> None:
        """Close the metrics and release the lock; a second call does nothing."""
        self.metrics.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def _metric(notes: Mapping[str, Any]) -> float:
    return files.number_from_json(notes.get("metric", "Infinity"))


def saved_steps(path: str | os.PathLike[str]) -> list[int]:
    """Steps of the checkpoints of a run folder, oldest first; none where there is no run."""
    return Checkpoints(Path(path) / _CHECKPOINTS).steps()


def check_run_folder(path: str | os.PathLike[str]) -> None:
    """Check that a path is free for a run, or holds one. Nothing is created.

    ValueError for a folder with something in it that is not a run; other errors as of `files.check_folder`.
    """
    path = Path(path).absolute()
    files.check_folder(path, "run folder")
    if not path.is_dir():
        return
    # Hidden files are left by a start that was killed before it wrote its configuration.
    others = files.foreign(path)
    # Read after the list of files: the first of several processes may write it in between.
    if others and not (path / config_file.NAME).exists():
        raise ValueError(
            f"{path} is not a run: it has no {config_file.NAME}, but holds {', '.join(others[:5])}; use "
            "another folder"
        )


def _nothing_done(path: Path) -> bool:
    """Whether a run folder holds neither a checkpoint nor a result."""
    others = [name for name in files.foreign(path, _OWN) if not Path(name).match(_BEST)]
    return not saved_steps(path) and not others
