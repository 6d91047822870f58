"""A run is a folder: what was asked for, what was measured, and where to go on.

config.json         configuration and provenance: everything needed to repeat the run
metrics.jsonl       one row per logged step
checkpoints/        the last states, whole ones only
best_stageN/        the theta of stage N with the lowest meta-validation
theta.safetensors   the result, written by `celo.save` at the end
report/             tables and pictures made from it
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax

from celo.meta.runs import config_file, files
from celo.meta.runs.checkpoints import Checkpoints
from celo.meta.runs.lock import FolderLock
from celo.meta.runs.metrics import JsonlTracker
from celo.meta.runs.trackers import NullTracker

_CHECKPOINTS = "checkpoints"


class RunFolder:
    """An open run folder, locked against other processes until `close`; made by `RunFolder.open`.

    Under `jax.distributed` every process opens the folder and saves and restores; process 0 alone locks it
    and writes the configuration and metrics.

    Attributes:
        path: the folder, absolute.
        config: the configuration, as JSON holds it.
        metrics: tracker that writes ``metrics.jsonl`` (one that drops everything on all processes but the
            first).
        is_writer: whether this is the process that writes single files.

    Example:
        >>> import jax.numpy as jnp, tempfile
        >>> state = {"theta": jnp.ones(2)}
        >>> with RunFolder.open(tempfile.mkdtemp(), {"seed": 0}) as run:
        ...     run.restore_latest(like=state) is None
        ...     run.metrics.log(5, {"meta_loss": 2.0})
        ...     run.save(5, state)
        ...     run.restore_latest(like=state)[0]
        True
        5
    """

    def __init__(self, path: Path, config: Mapping[str, Any], lock: FolderLock | None, keep: int):
        self.path = path
        self.config = dict(config)
        self.is_writer = lock is not None
        self.metrics = JsonlTracker(path / "metrics.jsonl") if self.is_writer else NullTracker()
        self._lock = lock
        self._checkpoints = Checkpoints(path / _CHECKPOINTS, keep)

    @classmethod
    def open(
        cls,
        path: str | os.PathLike[str],
        config: Mapping[str, Any],
        mutable_keys: Iterable[str] = (),
        keep: int = 3,
    ) -> RunFolder:
        """Create a run folder, or open one to go on with its run.

        Args:
            path: the folder; created, with its parents, when it is not there.
            config: the configuration, nested dicts of JSON values. A folder of another one is refused.
            mutable_keys: keys (dotted, whole groups too) that may differ, as they do not change the result.
            keep: checkpoints to hold.

        Returns:
            The open run; close it, or use it as a context manager.

        Warns:
            RunWarning: versions, code or devices are not those the run began with.

        Raises:
            TypeError: ``config`` holds what JSON does not.
            ValueError: the folder holds another configuration or something that is no run, its
                ``config.json`` is not readable, or a mutable key is not in ``config``.
            NotADirectoryError: ``path`` is a file.
            BlockingIOError: another process has the run open.
        """
        path = Path(path).absolute()
        if not isinstance(config, Mapping):
            raise TypeError(f"config is a {type(config).__name__}, {config!r}; expected a dict")
        ready = files.json_ready(config, "config")
        mutable = tuple(mutable_keys)
        config_file.check_mutable(mutable, ready)
        _check_folder(path)
        if jax.process_index() != 0:
            return cls(path, ready, None, keep)
        path.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(path)
        try:
            config_file.write_or_compare(path, ready, mutable)
            return cls(path, ready, lock, keep)
        except BaseException:
            lock.release()
            raise

    def save(self, step: int, state: Any) -> None:
        """Write a checkpoint, after forcing the metrics logged so far to disk.

        Log what belongs to ``step`` before: rows logged after its checkpoint are dropped when the run
        resumes.

        Args:
            step: meta-iterations done.
            state: pytree of arrays.

        Raises:
            ValueError: the folder holds a later checkpoint: the run was opened, but not restored.
            CheckpointError: the checkpoint could not be written; the earlier ones are intact.
        """
        later = [held for held in self._checkpoints.steps() if held > step]
        if later:
            raise ValueError(
                f"step is {step}, but {self.path} holds a checkpoint at step {later[-1]}; restore it first"
            )
        if isinstance(self.metrics, JsonlTracker):
            self.metrics.sync()
        self._checkpoints.save(step, state)

    def restore_latest(self, like: Any) -> tuple[int, Any] | None:
        """Read the last undamaged checkpoint and cut the metrics back to its step.

        Args:
            like: a state of the structure, types and placement wanted, for example the initial one, or a
                function from the step to it.

        Returns:
            The step and the state, or None at the beginning of a run.

        Warns:
            CheckpointWarning: a later checkpoint, or the best state, is damaged.

        Raises:
            CheckpointError: every checkpoint is damaged.
            ValueError: the checkpoint does not fit ``like``.
        """
        found = self._checkpoints.restore_latest(like)
        if isinstance(self.metrics, JsonlTracker):
            self.metrics.rewind(-1 if found is None else found[0])
        # Found out now rather than at the end of the run, when the best state is wanted.
        for slot in self.path.glob("best*"):
            self._best(slot.name).set_aside_damaged()
        return found

    def save_best(self, step: int, state: Any, metric: float, slot: str = "best") -> bool:
        """Keep a state beside the checkpoints if its metric is the lowest so far.

        Args:
            step: meta-iterations done.
            state: pytree of arrays, not necessarily that of the checkpoints.
            metric: validation metric, lower is better; NaN is never the best.
            slot: folder of the run that holds it; metrics of different slots are not compared.

        Returns:
            Whether it was kept. A resumed run that comes by the same best again does not write it twice.
        """
        best = self._best(slot)
        lowest = best.latest_metric()
        if not metric < (float("inf") if lowest is None else lowest):
            return False
        best.save(step, state, float(metric))
        return True

    def restore_best(self, like: Any, slot: str = "best") -> tuple[int, Any] | None:
        """Read the state with the lowest metric; arguments, returns and errors as in `restore_latest`."""
        return self._best(slot).restore_latest(like)

    def _best(self, slot: str) -> Checkpoints:
        return Checkpoints(self.path / slot, keep=1)

    def close(self) -> None:
        """Close the metrics and let other processes in; a second call does nothing."""
        self.metrics.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def saved_steps(path: str | os.PathLike[str]) -> list[int]:
    """Steps of the checkpoints of a run folder, oldest first; none where there is no run."""
    return Checkpoints(Path(path) / _CHECKPOINTS).steps()


def _check_folder(path: Path) -> None:
    """Refuse a file, and a folder with something in it that is no run, before anything is put there."""
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file; a run needs a folder")
    if not path.is_dir():
        return
    # Hidden files are those of a start that was killed before it wrote its configuration.
    others = files.foreign(path)
    # Looked for after the others, before which it is written: the first of several processes may just begin.
    if others and not (path / config_file.NAME).exists():
        raise ValueError(
            f"{path} is not a run: it has no {config_file.NAME}, but holds {', '.join(others[:5])}; use "
            "another folder"
        )
