"""Checkpoints of a training state: complete or absent, checked when read, the last few kept.

A checkpoint is one safetensors file, ``00000200.safetensors`` after 200 steps, with the SHA-256 of its
content in its header. It is written under a hidden name, forced to disk and renamed. So a file with a step
for a name is complete whenever the writer was killed, and damage done to it later is found.

Saving is synchronous: 5 MB in 400 arrays take 0.1 s on two cores, and donated buffers need no second copy.
"""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.experimental import multihost_utils

from celo.meta.runs import files, state_file
from celo.meta.runs.state_file import DamagedError

_SUFFIX = ".safetensors"


class CheckpointError(RuntimeError):
    """A checkpoint could not be written, or none of the existing ones can be read."""


class CheckpointWarning(UserWarning):
    """A damaged checkpoint was skipped."""


class Found(NamedTuple):
    """A checkpoint that was read: its step, its state, and the notes saved with it."""

    step: int
    state: Any
    notes: dict[str, Any]


class Checkpoints:
    """The checkpoints in one folder, of which the last ``keep`` are kept; the first save creates the folder.

    In a run of several processes (`jax.distributed`) every process calls every method; the folder is on a
    file system they share, and process 0 writes. ValueError if ``keep`` is below 1.

    Example:
        >>> import jax.numpy as jnp, tempfile
        >>> checkpoints = Checkpoints(tempfile.mkdtemp(), keep=2)
        >>> checkpoints.save(10, {"theta": jnp.arange(3.0)})
        >>> checkpoints.restore_latest({"theta": jnp.zeros(3)})[:2]
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
        return sorted(int(file.stem) for file in self.path.glob(f"*{_SUFFIX}") if file.stem.isdecimal())

    def save(self, step: int, state: Any, **notes: Any) -> None:
        """Write a checkpoint and numbers as notes, then delete all but the last ``keep``.

        A step that exists is left as it is: a state is a function of its run's configuration and its step.

        Raises:
            TypeError: a leaf is neither a JAX array (typed keys included) nor a NumPy array.
            ValueError: ``step`` is negative.
            CheckpointError: the file could not be written; the earlier checkpoints are as they were.
        """
        if step < 0:
            raise ValueError(f"step is {step}; expected at least 0")
        held = step in self.steps()
        if jax.process_count() > 1:
            # Every process must have looked at the folder before process 0 changes it.
            multihost_utils.sync_global_devices(f"save {self.path} {step}")
        if held:
            return
        content = state_file.encode(state, files.json_ready({"step": int(step), **notes}, "notes"))
        failure = self._write(step, content) if jax.process_index() == 0 else ""
        # What the folder holds decides what happens next, and must look the same to every process.
        if jax.process_count() > 1 and multihost_utils.broadcast_one_to_all(np.asarray(bool(failure))):
            failure = failure or "process 0 reports an error"
        if failure:
            held = ", ".join(map(str, self.steps()))
            raise CheckpointError(
                f"the checkpoint at step {step} could not be written in {self.path}: {failure}. Earlier "
                f"checkpoints are intact ({f'step {held}' if held else 'none yet'}); when there is room on "
                "the disk, the same command resumes from the last of them"
            )

    def restore_latest(self, like: Any) -> Found | None:
        """Read the last undamaged checkpoint, bit for bit as saved; None when there is none at all.

        ``like`` is a state of the structure, shapes, types and placement wanted, or a function from the step
        to one; its values are not used.

        Warns:
            CheckpointWarning: a later checkpoint is damaged; it is renamed to a hidden name.

        Raises:
            CheckpointError: there are checkpoints, but every one of them is damaged.
            ValueError: the checkpoint holds another state than ``like``.
        """
        damaged: dict[int, str] = {}
        for step in reversed(self.steps()):
            try:
                notes, described, arrays = self._read(step)
            except DamagedError as error:
                damaged[step] = str(error)
                continue
            wanted = like(step) if callable(like) else like
            state = state_file.rebuild(described, arrays, wanted, str(self._file(step)))
            for bad, reason in damaged.items():
                self._set_aside(bad, reason, f"using the one before, at step {step}")
            return Found(step, state, notes)
        if damaged:
            reasons = "".join(f"\n  step {step}: {reason}" for step, reason in damaged.items())
            raise CheckpointError(
                f"every checkpoint in {self.path} is damaged:{reasons}\n"
                "Nothing was changed. To start again, delete this folder or use another run folder"
            )
        return None

    def latest_notes(self) -> dict[str, Any] | None:
        """Step and notes of the last checkpoint that can be read, or None; warns of damaged ones."""
        for step in reversed(self.steps()):
            try:
                return self._read(step)[0]
            except DamagedError as error:
                self._set_aside(step, str(error), "it is not used")
        return None

    def _read(self, step: int) -> tuple[dict[str, Any], list[dict[str, Any]], dict[str, np.ndarray]]:
        try:
            content = self._file(step).read_bytes()
        except OSError as error:
            raise DamagedError(f"it cannot be read: {error.strerror}") from None
        notes, described, arrays = state_file.decode(content)
        if notes["step"] != step:
            raise DamagedError(f"it was saved at step {notes['step']}")
        return notes, described, arrays

    def _write(self, step: int, content: bytes) -> str:
        """Write a checkpoint and delete old ones; the reason if that fails."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            for leftover in self.path.glob(f".*{_SUFFIX}.*.tmp"):  # of a process that was killed
                leftover.unlink()
            files.write_atomically(self._file(step), content)
            for old in [held for held in self.steps() if held != step][: -(self.keep - 1) or None]:
                self._file(old).unlink()
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def _set_aside(self, step: int, reason: str, consequence: str) -> None:
        text = f"the checkpoint at step {step} in {self.path} is damaged ({reason}); {consequence}"
        warnings.warn(text, CheckpointWarning, stacklevel=4)
        if jax.process_index() == 0:
            os.replace(self._file(step), self.path / f".damaged-{self._file(step).name}")

    def _file(self, step: int) -> Path:
        return self.path / f"{step:08d}{_SUFFIX}"
