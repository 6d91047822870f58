"""Checkpoints of a training state: whole or not there, checked when read, the last few kept.

A checkpoint is a folder ``<step>/`` holding the arrays in orbax's format and ``manifest.json`` with the
SHA-256 of every file. It is written under a hidden name and renamed when everything in it, the manifest last,
is on disk. So a folder with a step for a name is complete whenever the writer was killed, and damage done to
it later shows.

Saving is synchronous: 5 MB in 100 arrays take 0.2 s on two cores, and donated buffers need no second copy.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from meta import arrays, files

_FORMAT = 1
_MANIFEST = "manifest.json"
_ARRAYS = "arrays"
_WRITING = ".writing-"
_DAMAGED = ".damaged-"


class CheckpointError(RuntimeError):
    """A checkpoint could not be written, or none of those there can be read."""


class CheckpointWarning(UserWarning):
    """A damaged checkpoint was passed over."""


class Checkpoints:
    """The checkpoints in one folder.

    In a run of several processes (`jax.distributed`) every process calls every method; the folder is on a
    file system they share, arrays are global, each process writes its shards and process 0 the rest.

    Args:
        path: the folder; it and its parents are created by the first save.
        keep: how many checkpoints to hold, at least 1.

    Raises:
        ValueError: ``keep`` is below 1.

    Example:
        >>> import jax.numpy as jnp, tempfile
        >>> checkpoints = Checkpoints(tempfile.mkdtemp(), keep=2)
        >>> checkpoints.save(10, {"theta": jnp.arange(3.0)})
        >>> checkpoints.restore_latest({"theta": jnp.zeros(3)})
        (10, {'theta': Array([0., 1., 2.], dtype=float32)})
    """

    def __init__(self, path: str | os.PathLike[str], keep: int = 3):
        if keep < 1:
            raise ValueError(f"keep is {keep}; at least 1 checkpoint must be kept")
        self.path = Path(path).absolute()
        self.keep = keep

    def steps(self) -> list[int]:
        """Steps of the checkpoints in the folder, oldest first; complete ones, not checked for damage."""
        if not self.path.is_dir():
            return []
        return sorted(int(entry.name) for entry in self.path.iterdir() if entry.name.isdecimal())

    def save(self, step: int, state: Any, metric: float | None = None) -> None:
        """Write a checkpoint, then delete all but the last ``keep``.

        A step already there is left as it is: a state is a function of its run's configuration and its step.

        Args:
            step: meta-iterations done, at least 0.
            state: pytree of JAX arrays (typed keys included) and NumPy arrays.
            metric: a number to remember beside it.

        Raises:
            TypeError: a leaf is no array.
            ValueError: ``step`` is negative.
            CheckpointError: the files could not be written; the earlier checkpoints are as they were.
        """
        if step < 0:
            raise ValueError(f"step is {step}; expected at least 0")
        manifest = {"format": _FORMAT, "step": int(step), "metric": files.json_ready(metric, "metric")}
        manifest["leaves"] = arrays.describe(state)
        if step in self.steps():
            return
        writing = self.path / f"{_WRITING}{_folder_name(step)}"
        try:
            self._write(writing, manifest, arrays.flatten(state))
        except Exception as error:
            if _first_process():
                shutil.rmtree(writing, ignore_errors=True)
            raise CheckpointError(
                f"the checkpoint at step {step} could not be written in {self.path}: {_reason(error)}. "
                f"Earlier checkpoints are intact ({_list_steps(self.steps())}); when there is room on the "
                "disk, the same command goes on from the last of them"
            ) from error
        if _first_process():
            for old in [s for s in self.steps() if s != step][: -(self.keep - 1) or None]:
                files.remove_folder(self.path / _folder_name(old))

    def restore_latest(self, like: Any) -> tuple[int, Any] | None:
        """Read the last undamaged checkpoint.

        Args:
            like: a state of the structure, shapes, types and placement wanted; its values are not used.

        Returns:
            The step and the state, bit for bit as saved; None when there is no checkpoint at all.

        Warns:
            CheckpointWarning: a later checkpoint is damaged; it is set aside under a hidden name.

        Raises:
            CheckpointError: there are checkpoints, but every one of them is damaged.
            ValueError: the checkpoint holds another state than ``like``.
        """
        found = self._latest(lambda folder, manifest: self._read(folder, manifest, like))
        return None if found is None else (found[0]["step"], found[1])

    def latest_metric(self) -> float | None:
        """The number saved beside the last undamaged checkpoint, or None when there is no checkpoint.

        Raises and warns as `restore_latest` does.
        """
        found = self._latest(lambda _folder, _manifest: None)
        return None if found is None else files.number_from_json(found[0]["metric"])

    def _latest(self, read: Callable[[Path, dict[str, Any]], Any]) -> tuple[dict[str, Any], Any] | None:
        damaged: dict[int, str] = {}
        for step in reversed(self.steps()):
            folder = self.path / _folder_name(step)
            try:
                manifest = _verified_manifest(folder, step)
                result = read(folder, manifest)
            except _DamagedError as error:
                damaged[step] = str(error)
                continue
            self._set_aside(damaged, step)
            return manifest, result
        if damaged:
            reasons = "".join(f"\n  step {step}: {reason}" for step, reason in damaged.items())
            raise CheckpointError(
                f"every checkpoint in {self.path} is damaged:{reasons}\n"
                "Nothing was changed. To begin anew, use another run folder or delete this one"
            )
        return None

    def _set_aside(self, damaged: dict[int, str], used: int) -> None:
        for step, reason in damaged.items():
            warnings.warn(
                f"the checkpoint at step {step} in {self.path} is damaged ({reason}); "
                f"using the one before, at step {used}",
                CheckpointWarning,
                stacklevel=5,
            )
            if _first_process():
                aside = self.path / f"{_DAMAGED}{_folder_name(step)}"
                shutil.rmtree(aside, ignore_errors=True)
                os.replace(self.path / _folder_name(step), aside)

    def _write(self, writing: Path, manifest: dict[str, Any], named: dict[str, Any]) -> None:
        import orbax.checkpoint as ocp

        if _first_process():
            self.path.mkdir(parents=True, exist_ok=True)
            for leftover in self.path.glob(f"{_WRITING}*"):
                shutil.rmtree(leftover)
            writing.mkdir()
        if named:
            _checkpointer().save(writing / _ARRAYS, args=ocp.args.PyTreeSave(named))
        if _first_process():
            written = sorted(p for p in writing.rglob("*") if p.is_file())
            manifest["files"] = {p.relative_to(writing).as_posix(): files.sync_and_digest(p) for p in written}
            for folder in [p for p in writing.rglob("*") if p.is_dir()]:
                files.sync_folder(folder)
            files.write_atomically(writing / _MANIFEST, _sealed(manifest))
            os.replace(writing, self.path / _folder_name(manifest["step"]))
            files.sync_folder(self.path)

    def _read(self, folder: Path, manifest: dict[str, Any], like: Any) -> Any:
        import orbax.checkpoint as ocp

        arrays.check_same(manifest["leaves"], like, str(folder))
        item = dict.fromkeys(arrays.flatten(like), 0)
        if not item:
            return arrays.unflatten(like, {})
        restore = {name: ocp.RestoreArgs(restore_type=np.ndarray) for name in item}
        named = _checkpointer().restore(
            folder / _ARRAYS, args=ocp.args.PyTreeRestore(item=item, restore_args=restore)
        )
        return arrays.unflatten(like, named)


class _DamagedError(Exception):
    """A checkpoint's files are not those that were written."""


@functools.cache
def _checkpointer() -> Any:
    # orbax takes half a second to import; a run that is only started must not wait for it.
    import orbax.checkpoint as ocp

    return ocp.Checkpointer(ocp.PyTreeCheckpointHandler())


def _sealed(manifest: dict[str, Any]) -> bytes:
    """The manifest with its own SHA-256, so that a flipped bit in it shows as well."""
    return files.json_bytes({"sha256": _seal(manifest), "manifest": manifest})


def _seal(manifest: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True, allow_nan=False).encode()).hexdigest()


def _verified_manifest(folder: Path, step: int) -> dict[str, Any]:
    """Read a checkpoint's manifest and compare every file with it."""
    try:
        sealed = json.loads((folder / _MANIFEST).read_bytes())
        manifest, seal = sealed["manifest"], sealed["sha256"]
    except FileNotFoundError:
        raise _DamagedError(f"{_MANIFEST} is missing") from None
    except (ValueError, KeyError, TypeError) as error:
        raise _DamagedError(f"{_MANIFEST} is not readable: {error}") from None
    if _seal(manifest) != seal or manifest["step"] != step:
        raise _DamagedError(f"{_MANIFEST} was altered")
    if manifest["format"] != _FORMAT:
        raise CheckpointError(
            f"{folder} has format {manifest['format']}; this version reads format {_FORMAT}"
        )
    for name, expected in manifest["files"].items():
        try:
            found = files.digest(folder / name)
        except OSError as error:
            raise _DamagedError(f"{name}: {error.strerror}") from None
        if found != expected:
            raise _DamagedError(f"{name} was altered or cut short")
    return manifest


def _reason(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _list_steps(steps: list[int]) -> str:
    return "none yet" if not steps else "step " + ", ".join(map(str, steps))


def _folder_name(step: int) -> str:
    return f"{step:08d}"


def _first_process() -> bool:
    return jax.process_index() == 0
