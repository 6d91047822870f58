"""Which code, on which platform, a training is the result of."""

from __future__ import annotations

import ast
import functools
import hashlib
import inspect
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from celo.meta.runs.provenance import provenance

_ROOT = Path(__file__).parents[1]
_PACKAGES = ("celo", "meta", "evaluation")
_DATA = "celo.meta.data"  # what it reads is part of a task, and counted there


def code_identity(*things: object) -> dict[str, Any]:
    """What, besides what was asked for, decides the numbers of a training.

    The sources count, not their revision: a commit of something else leaves results as they are, and files
    changed since a commit do not go unseen.

    Args:
        things: modules and classes that the training is made with; what they import counts too, but for
            what reads data, which are counted as data. Without any, all of the packages.

    Returns:
        ``versions`` of libraries, ``sources`` (a digest), ``platform`` and ``kind`` of the devices, numerical
        settings ``jax_config``. The number of devices is left out: it decides where a training is done, not
        what it gives.
    """
    made_with = _made_with()
    devices = made_with["devices"]
    return {
        "versions": made_with["versions"],
        "sources": _own_digest(frozenset(map(_module, things))),
        "platform": devices["platform"],
        "kind": devices["kind"],
        "jax_config": made_with["jax_config"],
    }


def own_sources(*names: str) -> str:
    """A digest of the sources of modules alone, without what they import.

    Args:
        names: of modules of the packages.

    Raises:
        KeyError: there is no such module.
    """
    return digest_of_sources({name: _sources()[name] for name in names})


def read_sources(root: Path) -> dict[str, bytes]:
    """The Python files of the packages below a folder, by the names of their modules."""
    return {
        ".".join(path.relative_to(root).with_suffix("").parts).removesuffix(".__init__"): path.read_bytes()
        for package in _PACKAGES
        for path in sorted((root / package).rglob("*.py"))
    }


def digest_of_sources(sources: Mapping[str, bytes], roots: Iterable[str] | None = None) -> str:
    """SHA-256 of modules and of all they import among the sources.

    Args:
        sources: contents by names of modules.
        roots: names of the modules to begin with; those outside the sources count by their names alone. None
            means all sources.

    Returns:
        The digest in hexadecimal.
    """
    names = set(sources) if roots is None else _closure(sources, set(roots))
    total = hashlib.sha256()
    for name in sorted(names):
        total.update(f"{name} {hashlib.sha256(sources.get(name, b'')).hexdigest()}\n".encode())
    return total.hexdigest()


def _closure(sources: Mapping[str, bytes], roots: set[str]) -> set[str]:
    found, waiting = set(roots), list(roots)
    while waiting:
        for name in _imports(sources, waiting.pop()):
            if name not in found:
                found.add(name)
                waiting.append(name)
    return found


def _imports(sources: Mapping[str, bytes], name: str) -> Iterator[str]:
    """Modules among the sources that a module imports, inside functions too, other than those of data."""
    for module, names in _import_statements(sources.get(name, b"")):
        for inner in [f"{module}.{one}" for one in names] or [module]:
            found = inner if inner in sources else module
            if found in sources and not found.startswith(_DATA):
                yield found


@functools.lru_cache(maxsize=1024)
def _import_statements(source: bytes) -> list[tuple[str, list[str]]]:
    """Modules imported, each with the names imported from it."""
    nodes = list(ast.walk(ast.parse(source)))
    whole = [(alias.name, []) for node in nodes if isinstance(node, ast.Import) for alias in node.names]
    parts = [
        (node.module, [alias.name for alias in node.names])
        for node in nodes
        if isinstance(node, ast.ImportFrom) and node.module
    ]
    return whole + parts


@functools.cache
def _own_digest(roots: frozenset[str]) -> str:
    return digest_of_sources(_sources(), roots or None)


@functools.cache  # files that change after the first call are not the code this process has imported
def _sources() -> dict[str, bytes]:
    return read_sources(_ROOT)


@functools.cache
def _made_with() -> dict[str, Any]:
    return provenance()


def _module(thing: object) -> str:
    module = inspect.getmodule(thing)
    return repr(thing) if module is None else module.__name__
