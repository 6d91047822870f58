"""Meta-parameters in files: saved with their configuration, loaded from a path, by name or from the hub."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optax
from jax import Array

from celo._core import files, hub, names, safetensors_file, theta_file, trees
from celo.learned import LEARNED, LearnedOptimizer, base, learned_optimizer

PRETRAINED = Path(__file__).with_name("pretrained")
"""Folder of the packaged weights, one ``NAME.safetensors`` each."""


def save(
    path: str | os.PathLike[str],
    name: str,
    config: Mapping[str, Any],
    theta: Any,
    provenance: Mapping[str, Any] | None = None,
) -> None:
    """Writes meta-parameters with their configuration; equal arguments give equal files.

    A reader of the file finds the old content or the new one, never a part of either.

    Args:
        path: the file, ``.safetensors`` by convention; its folder exists.
        name: a key of `celo.LEARNED`.
        config: fields of its configuration; those left out have their defaults, and are written too.
        theta: meta-parameters, nested dictionaries of float32 arrays.
        provenance: their origin: command, tasks, licence, anything ready for JSON. The versions of celo and
            JAX are added.

    Raises:
        ValueError: for an unknown name, a theta that does not fit its configuration, numbers that are not
            finite, or a value that JSON cannot hold.
        TypeError: for an unknown field, a config that is no mapping, or a theta that is not made of
            dictionaries.
        FileNotFoundError: if the folder does not exist.

    Example:
        >>> import jax, pathlib, tempfile
        >>> theta = learned_optimizer("celo").init(jax.random.key(0))
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(f"{folder}/mine.safetensors", "celo", {"stage": 2}, theta, {"tasks": "digits"})
        ...     learned, theta = load(f"{folder}/mine.safetensors")
        >>> learned
        Celo(stage=2, form='exp', tensor_features=False)
    """
    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"the folder {path.parent} for {path.name} does not exist")
    if not isinstance(config, Mapping):
        raise TypeError(
            f"config is {config!r}; expected the fields of the configuration, {{}} for the defaults"
        )
    learned = learned_optimizer(name, **config)
    base.check_theta(learned, theta)
    flat = {leaf: np.asarray(array) for leaf, array in trees.flatten(theta).items()}
    trees.check_finite(flat, "theta")
    fields = {field: getattr(learned, field) for field in names.options(LEARNED[name])}
    header = _as_json(
        {"optimizer": name, "config": fields, "provenance": {**(provenance or {}), **_versions()}}
    )
    if theta_file.configured(name, header["config"]) != learned:
        raise ValueError(f"the configuration {fields} changes on the way through JSON")
    files.write_atomically(path, safetensors_file.encode(header, flat))


def load(source: str | os.PathLike[str], name: str | None = None, **config: Any) -> Pretrained:
    """Meta-parameters and the configuration they belong to: ``learned, theta = celo.load("celo")``.

    Everything is checked first: a file of another program, of another optimizer, or a damaged one raises.
    Pickles are never loaded.

    Args:
        source: one of

            - the name of packaged weights, such as ``"celo"``;
            - a file that `save` wrote;
            - a file of the reference implementation, ``theta.state`` (flax's msgpack). It has no checksum, so
              damage within the numbers shows only if it makes one of them not finite;
            - ``"hf://owner/repository[@revision][/file]"``: either kind, from the Hugging Face hub; a key of
              `celo._core.hub.REPOSITORIES`, such as ``"amoudgl/celo"``, is the same without ``hf://``.

            A bare name means packaged weights if there are any of that name; write ``./name`` for a file.
        name: which optimizer it holds, a key of `celo.LEARNED`; read or recognised from the file if None.
        **config: fields of the configuration that differ from those in the file, or from the defaults if it
            has none.

    Returns:
        A pair ``(learned, theta)``; ``celo.load("celo").optimizer(num_steps)`` is an optimizer.

    Raises:
        FileNotFoundError: if there is no such file, name, or file on the hub.
        ConnectionError: if the hub cannot be reached.
        ValueError: for a file that is truncated, corrupt, of another format or version, or of another
            optimizer, and for meta-parameters that do not fit their configuration or are not finite.
        celo.interop.AmbiguousError: for a file of the reference implementation that several optimizers could
            have; a ValueError.
        TypeError: for an unknown field of the configuration, or a source that is no text and no path.
    """
    found = read(source, name, **config)
    return Pretrained(found.learned, found.theta)


class Pretrained(NamedTuple):
    """A configuration and its meta-parameters.

    Attributes:
        learned: the configuration.
        theta: meta-parameters.
    """

    learned: LearnedOptimizer
    theta: dict[str, Any]

    def optimizer(self, num_steps: float | Array, **options: Any) -> optax.GradientTransformationExtraArgs:
        """The optimizer for a training of ``num_steps`` steps.

        Args:
            num_steps: number of steps of the training ahead, a whole number of at least 1; may be traced.
            **options: further arguments of the configuration's `optimizer`: ``learning_rate`` and
                ``weight_decay`` of celo2 and celo2_base.
        """
        build: Any = self.learned.optimizer
        return build(self.theta, num_steps, **options)


class Loaded(NamedTuple):
    """Meta-parameters and their origin.

    Attributes:
        name: of the optimizer, a key of `celo.LEARNED`.
        learned: its configuration.
        theta: meta-parameters.
        sha256: of the file, in hexadecimal.
        revision: the commit of a file from the hub, None for others.
        header: the header of the file, as `read_header`; None for one of the reference implementation.
    """

    name: str
    learned: LearnedOptimizer
    theta: dict[str, Any]
    sha256: str
    revision: str | None
    header: dict[str, Any] | None

    @property
    def config(self) -> dict[str, Any]:
        """Every field of the configuration."""
        return {field: getattr(self.learned, field) for field in names.options(LEARNED[self.name])}


def read(source: str | os.PathLike[str], name: str | None = None, **config: Any) -> Loaded:
    """What `load` loads, with the name of the optimizer and the origin of the file.

    Args:
        source: as for `load`.
        name: as for `load`.
        **config: as for `load`.

    Returns:
        Meta-parameters and their origin.

    Raises:
        FileNotFoundError: as `load`.
        ConnectionError: as `load`.
        ValueError: as `load`.
        TypeError: as `load`.
    """
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"source is {source!r}; expected a name, a path or an address of the hub")
    if source in hub.REPOSITORIES and not Path(source).exists():
        source = f"{hub.PREFIX}{source}"
    if str(source).startswith(hub.PREFIX):
        address = hub.parse(str(source))
        published = hub.REPOSITORIES.get(address.repository)
        if published is not None and address.file == published.file:
            name, config = name or published.name, {**published.config, **config}
        path = hub.fetch(address)
        return _load_file(path, str(source), name, config)._replace(revision=hub.commit_of(path))
    path = _find(source)
    return _load_file(path, str(path), name, config)


def read_header(path: str | os.PathLike[str]) -> dict[str, Any]:
    """The header of a file that `save` wrote.

    Args:
        path: the file.

    Returns:
        ``format``, ``optimizer``, ``config``, ``provenance`` and ``sha256``.

    Raises:
        ValueError: for a file that `save` did not write, or that is damaged.
    """
    return safetensors_file.decode(Path(path).read_bytes(), str(path))[0]


def packaged() -> dict[str, Path]:
    """Name to file of the weights in the package."""
    return {path.stem: path for path in sorted(PRETRAINED.glob("*.safetensors"))}


def _versions() -> dict[str, str]:
    return {f"{package}_version": importlib.metadata.version(package) for package in ("celo", "jax")}


def _as_json(header: Mapping[str, Any]) -> dict[str, Any]:
    """The header as it will be read: tuples become lists."""
    for part, value in header.items():
        try:
            json.dumps(value, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise ValueError(f"{part} cannot be written as JSON: {error}; it is {value!r}") from error
    return json.loads(json.dumps(header))


def _find(source: str | os.PathLike[str]) -> Path:
    """The file of packaged weights of that name, or the file at that path."""
    known = packaged()
    path = Path(source)
    bare = path.name if isinstance(source, str) and path.name == source and not path.suffix else None
    if bare in known:
        return known[bare]
    if path.is_file():
        return path
    if bare is not None:
        raise FileNotFoundError(
            f"no packaged weights and no file {bare!r}.{names.hint(bare, known)} Published: "
            + ", ".join(hub.PREFIX + repository for repository in hub.REPOSITORIES)
        )
    if path.is_dir():
        raise FileNotFoundError(f"{path} is a folder; expected a file of meta-parameters")
    beside = [file.name for file in path.parent.iterdir() if file.is_file()] if path.parent.is_dir() else []
    raise FileNotFoundError(f"no file {path}.{names.nearest(path.name, beside)}")


def _load_file(path: Path, where: str, name: str | None, config: Mapping[str, Any]) -> Loaded:
    data, (found, learned, theta, header) = theta_file.read(path, where, name, config)
    return Loaded(found, learned, theta, hashlib.sha256(data).hexdigest(), None, header)
