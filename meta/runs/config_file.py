"""``config.json``: the configuration of a run and its circumstances; compared when the run resumes."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from celo.meta.runs import files
from celo.meta.runs.provenance import provenance

NAME = "config.json"
_SECTIONS = {"config": dict, "provenance": dict, "resumed": list}
_ABSENT = "<absent>"


class RunWarning(UserWarning):
    """A run resumes under circumstances that may change its numbers, or starts again."""


def read_config(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read the ``config.json`` of a run folder.

    It has the sections ``config``, ``provenance``, and ``resumed``: one entry per start under other
    circumstances, with what changed.

    Raises:
        FileNotFoundError: the folder is not a run.
        ValueError: the file is not readable.
    """
    file = Path(path) / NAME
    advice = (
        "The run cannot be checked against its configuration: restore the file, or use another run folder"
    )
    try:
        content = files.parse_json(file.read_bytes(), str(file))
    except ValueError as error:
        raise ValueError(f"{error}. {advice}") from error
    sections = content if isinstance(content, dict) else {}
    if not all(isinstance(sections.get(key), kind) for key, kind in _SECTIONS.items()):
        raise ValueError(f"{file} is not readable: expected the sections {', '.join(_SECTIONS)}. {advice}")
    return content


def write_or_compare(path: Path, config: dict[str, Any], replace: bool) -> bool:
    """Write the ``config.json`` of a new run, or compare that of an old run with the present configuration.

    Returns whether another configuration was replaced, which ``replace`` permits.

    Warns:
        RunWarning: versions, code or devices differ, which is recorded in the file; or the configuration was
            replaced.

    Raises:
        ValueError: a key of the configuration differs, or the file is not readable.
    """
    now = provenance()
    if not (path / NAME).exists():
        _write(path, config, now, [])
        return False
    content = read_config(path)
    if changed := _differences(content["config"], config):
        if not replace:
            raise ValueError(_refusal(path, changed))
        text = f"{path} has another configuration but no checkpoint yet; it starts with the new one"
        warnings.warn(text, RunWarning, stacklevel=3)
        _write(path, config, now, [])
        return True
    created = now.pop("created")
    circumstances = _differences({k: v for k, v in content["provenance"].items() if k != "created"}, now)
    if circumstances:
        text = "; ".join(f"{key} was {old!r}, is {new!r}" for key, (old, new) in circumstances.items())
        text = f"{path} resumes under other circumstances, numbers may differ: {text}"
        warnings.warn(text, RunWarning, stacklevel=3)
        entry = {"at": created, "changed": {key: new for key, (_, new) in circumstances.items()}}
        _write(path, config, content["provenance"], [*content["resumed"], entry])
    return False


def _write(path: Path, config: dict[str, Any], made: dict[str, Any], resumed: list[Any]) -> None:
    content = {"config": config, "provenance": made, "resumed": resumed}
    files.write_atomically(path / NAME, files.json_bytes(content))


def _refusal(path: Path, differing: Mapping[str, tuple[Any, Any]]) -> str:
    lines = [f"  {key}: {old!r} in the run, {new!r} requested" for key, (old, new) in differing.items()]
    return (
        f"{path} is a run of another configuration:\n" + "\n".join(lines) + "\n"
        "Repeat its configuration to resume it, or use another run folder (--run-dir)"
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
