"""A run is a folder: what was asked for, what was measured, and where to go on.

config.json         configuration and provenance: everything needed to repeat the run
metrics.jsonl       one row per logged step
checkpoints/        the last states, whole ones only
best/               the state with the lowest validation metric
theta.safetensors   the result, written by `celo.save` at the end
report/             tables and pictures made from it
"""

from __future__ import annotations

import difflib
import json
import os
import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax

from meta import files
from meta.checkpoints import Checkpoints
from meta.lock import FolderLock
from meta.metrics import JsonlTracker
from meta.provenance import provenance
from meta.trackers import NullTracker

_CONFIG = "config.json"
_ABSENT = "<absent>"


class RunWarning(UserWarning):
    """A run goes on under circumstances that may change its numbers."""


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
        self._checkpoints = Checkpoints(path / "checkpoints", keep)
        self._best = Checkpoints(path / "best", keep=1)

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
        _check_mutable(mutable, ready)
        _check_folder(path)
        if jax.process_index() != 0:
            return cls(path, ready, None, keep)
        path.mkdir(parents=True, exist_ok=True)
        lock = FolderLock(path)
        try:
            _write_or_compare(path, ready, mutable)
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
            like: a state of the structure, types and placement wanted, for example the initial one.

        Returns:
            The step and the state, or None at the beginning of a run.

        Warns:
            CheckpointWarning: a later checkpoint is damaged.

        Raises:
            CheckpointError: every checkpoint is damaged.
            ValueError: the checkpoint does not fit ``like``.
        """
        found = self._checkpoints.restore_latest(like)
        if isinstance(self.metrics, JsonlTracker):
            self.metrics.rewind(-1 if found is None else found[0])
        return found

    def save_best(self, step: int, state: Any, metric: float) -> bool:
        """Keep a state beside the checkpoints if its metric is the lowest so far.

        Args:
            step: meta-iterations done.
            state: pytree of arrays, not necessarily that of the checkpoints.
            metric: validation metric, lower is better; NaN is never the best.

        Returns:
            Whether it was kept. A resumed run that comes by the same best again does not write it twice.
        """
        lowest = self._best.latest_metric()
        if not metric < (float("inf") if lowest is None else lowest):
            return False
        self._best.save(step, state, float(metric))
        return True

    def restore_best(self, like: Any) -> tuple[int, Any] | None:
        """Read the state with the lowest metric; arguments, returns and errors as in `restore_latest`."""
        return self._best.restore_latest(like)

    def close(self) -> None:
        """Close the metrics and let other processes in; a second call does nothing."""
        self.metrics.close()
        if self._lock is not None:
            self._lock.release()

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the ``config.json`` of a run folder.

    Args:
        path: the run folder.

    Returns:
        ``config``, ``provenance``, and ``resumed``: one entry per start under other circumstances, what they
        were.

    Raises:
        FileNotFoundError: the folder is no run.
        ValueError: the file is not readable.
    """
    file = Path(path) / _CONFIG
    try:
        content = json.loads(file.read_bytes())
        if not all(isinstance(content[key], kind) for key, kind in _SECTIONS.items()):
            raise TypeError(f"expected the sections {', '.join(_SECTIONS)}")
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"{file} is not readable ({type(error).__name__}: {error}). The run cannot be checked against "
            "the configuration asked for: put the file back, or use another run folder"
        ) from error
    return content


_SECTIONS = {"config": dict, "provenance": dict, "resumed": list}


def _check_mutable(mutable: tuple[str, ...], config: Mapping[str, Any]) -> None:
    known = _flat(config)
    for key in mutable:
        if not any(_covers(key, name) for name in known):
            near = difflib.get_close_matches(key, known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(
                f"mutable key {key!r} is not in the configuration{hint} (keys: {', '.join(known)})"
            )


def _check_folder(path: Path) -> None:
    """Refuse a file, and a folder with something in it that is no run, before anything is put there."""
    if path.exists() and not path.is_dir():
        raise NotADirectoryError(f"{path} is a file; a run needs a folder")
    if not path.is_dir() or (path / _CONFIG).exists():
        return
    # Hidden files are those of a start that was killed before it wrote its configuration.
    foreign = sorted(entry.name for entry in path.iterdir() if not entry.name.startswith("."))
    if foreign:
        raise ValueError(
            f"{path} is not a run: it has no {_CONFIG}, but holds {', '.join(foreign[:5])}; use "
            "another folder"
        )


def _write_or_compare(path: Path, config: dict[str, Any], mutable: tuple[str, ...]) -> None:
    now = provenance()
    if not (path / _CONFIG).exists():
        content = {"config": config, "provenance": now, "resumed": []}
        files.write_atomically(path / _CONFIG, files.json_bytes(content))
        return
    content = read_config(path)
    changed = _differences(content["config"], config)
    refused = {k: v for k, v in changed.items() if not any(_covers(allowed, k) for allowed in mutable)}
    if refused:
        lines = "".join(
            f"\n  {key}: {old!r} in the run, {new!r} asked for" for key, (old, new) in refused.items()
        )
        raise ValueError(
            f"{path} is a run of another configuration:{lines}\n"
            "Ask for the same to go on with it, or use another run folder (--run-dir)"
        )
    created = now.pop("created")
    circumstances = _differences({k: v for k, v in content["provenance"].items() if k != "created"}, now)
    if circumstances:
        told = "; ".join(f"{key} was {old!r}, is {new!r}" for key, (old, new) in circumstances.items())
        warnings.warn(
            f"{path} goes on under other circumstances, numbers may differ: {told}", RunWarning, stacklevel=3
        )
    if changed or circumstances:
        new_values = {key: new for key, (_, new) in (changed | circumstances).items()}
        content["resumed"].append({"at": created, "changed": new_values})
        files.write_atomically(path / _CONFIG, files.json_bytes(content))


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Dotted keys whose values differ, with both values."""
    flat_old, flat_new = _flat(old), _flat(new)
    pairs = {key: (flat_old.get(key, _ABSENT), flat_new.get(key, _ABSENT)) for key in flat_old | flat_new}
    return {key: pair for key, pair in pairs.items() if pair[0] != pair[1]}


def _flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def _covers(allowed: str, key: str) -> bool:
    return key == allowed or key.startswith(f"{allowed}.")
