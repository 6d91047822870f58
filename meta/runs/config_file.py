"""``config.json``: what a run was asked to do and with what; read again before it goes on."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celo._core.names import unknown_name
from celo.meta.runs import files
from celo.meta.runs.provenance import provenance

NAME = "config.json"
_SECTIONS = {"config": dict, "provenance": dict, "resumed": list}
_ABSENT = "<absent>"


class RunWarning(UserWarning):
    """A run goes on under circumstances that may change its numbers."""


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
    file = Path(path) / NAME
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


def check_mutable(mutable: tuple[str, ...], config: Mapping[str, Any]) -> None:
    """Check that keys declared free to change are keys of the configuration.

    Raises:
        ValueError: one is not, nor is it a group of keys.
    """
    known = _flat(config)
    for key in mutable:
        if not any(_covers(key, name) for name in known):
            raise unknown_name("mutable key", key, known)


def write_or_compare(path: Path, config: dict[str, Any], mutable: tuple[str, ...]) -> None:
    """Write the ``config.json`` of a new run, or compare that of an old one with what is asked for now.

    Args:
        path: the run folder.
        config: the configuration asked for, ready for JSON.
        mutable: dotted keys, or groups of them, that may differ.

    Warns:
        RunWarning: versions, code, devices or settings differ. What is new about them, and about the mutable
            keys, is added to the file.

    Raises:
        ValueError: another key differs, or the file is not readable.
    """
    now = provenance()
    if not (path / NAME).exists():
        content = {"config": config, "provenance": now, "resumed": []}
        files.write_atomically(path / NAME, files.json_bytes(content))
        return
    content = read_config(path)
    changed = _differences(content["config"], config)
    _refuse(path, {k: v for k, v in changed.items() if not any(_covers(allowed, k) for allowed in mutable)})
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
        files.write_atomically(path / NAME, files.json_bytes(content))


def _refuse(path: Path, differing: Mapping[str, tuple[Any, Any]]) -> None:
    if differing:
        lines = [f"  {key}: {old!r} in the run, {new!r} asked for" for key, (old, new) in differing.items()]
        raise ValueError(
            f"{path} is a run of another configuration:\n" + "\n".join(lines) + "\n"
            "Ask for the same to go on with it, or use another run folder (--run-dir)"
        )


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
