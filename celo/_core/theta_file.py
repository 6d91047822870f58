"""Reads a file of meta-parameters of either kind: ours, or the reference implementation's.

The reference's files do not name their optimizer: the caller does, or the shapes of the arrays identify it.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from flax import serialization

from celo import interop
from celo._core import files, safetensors_file, trees
from celo.learned import LearnedOptimizer, base, learned_optimizer

Content = tuple[str, LearnedOptimizer, dict[str, Any], dict[str, Any] | None]
"""Name of the optimizer, its configuration, meta-parameters, and the header of a file of ours."""

_MSGPACK_MAPS = (*range(0x81, 0x90), 0xDE, 0xDF)


def read(path: Path, where: str, name: str | None, config: Mapping[str, Any]) -> tuple[bytes, Content]:
    """All bytes of a file, and their checked content.

    Args:
        path: the file.
        where: what to call it in errors.
        name: which optimizer it holds; None: as the file says, or as recognised.
        config: fields of the configuration that differ from what the file says.

    Raises:
        ValueError: it is damaged, of another kind, or does not fit the name and the configuration.
        celo.interop.AmbiguousError: several optimizers fit.
        TypeError: an unknown field.
    """
    with open(path, "rb") as file:
        head = file.read(9)
        _check_kind(head, where)
        data = head + file.read()
    kind = _load_ours if safetensors_file.looks_like(head) else _load_upstream
    return data, kind(data, where, name, config)


def configured(name: str, config: Mapping[str, Any]) -> LearnedOptimizer:
    """The configuration from its fields as JSON has them: its tuples are lists there."""
    return learned_optimizer(
        name, **{field: tuple(x) if isinstance(x, list) else x for field, x in config.items()}
    )


def _check_kind(head: bytes, where: str) -> None:
    """Refuses what is neither kind of file by its first bytes, however long it is."""
    if safetensors_file.looks_like(head) or (head and head[0] in _MSGPACK_MAPS):
        return
    if not head:
        raise ValueError(f"{where} is empty")
    if head[:2] == b"PK" or head[0] == 0x80:
        raise ValueError(
            f"{where} is a pickle or a zip archive, as PyTorch writes them; pickles are never loaded"
        )
    raise ValueError(
        f"{where} is neither a safetensors file nor flax's msgpack (theta.state), or its beginning is damaged"
    )


def _load_ours(data: bytes, where: str, name: str | None, config: Mapping[str, Any]) -> Content:
    header, flat = safetensors_file.decode(data, where)
    stored = header["optimizer"]
    if name not in (None, stored):
        raise ValueError(f"{where} holds meta-parameters of {stored}, not of {name}")
    learned = _overridden(stored, header["config"], config, where)
    trees.check_finite(flat, where)
    theta = jax.tree.map(jnp.asarray, trees.unflatten(flat))
    _check_fits(learned, theta, where)
    return stored, learned, theta, header


def _overridden(
    name: str, stored: Mapping[str, Any], given: Mapping[str, Any], where: str
) -> LearnedOptimizer:
    try:
        configured(name, stored)
    except (TypeError, ValueError) as error:  # the file's fault; a fault of `given` raises below
        raise ValueError(f"{where}: {error}") from error
    return configured(name, {**stored, **given})


def _check_fits(learned: LearnedOptimizer, theta: Any, where: str) -> None:
    try:
        base.check_theta(learned, theta)
    except (ValueError, TypeError, OverflowError) as error:  # sizes beyond any array among them
        raise ValueError(f"{where}: {error}") from error


def _load_upstream(data: bytes, where: str, name: str | None, config: Mapping[str, Any]) -> Content:
    with files.parsing(where):
        flat = trees.flatten(serialization.msgpack_restore(data))
    try:
        name = name or interop.recognise(flat)
        content = name, learned_optimizer(name, **config), interop.from_upstream(name, flat, **config), None
    except interop.AmbiguousError as error:
        raise interop.AmbiguousError(f"{where}: {error}", error.fitting) from error
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error
    if name == "velo" and "ff_mult" not in config:
        warnings.warn(
            f"{where} does not state the factor of the weights of VeLO's MLPs, and is read with 1; the "
            "published VeLO has 100: give ff_mult=100, or `celo convert --options ff_mult=100`",
            stacklevel=6,
        )
    return content
