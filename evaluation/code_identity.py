"""Which code, on which platform, a training is the result of."""

from __future__ import annotations

import functools
import hashlib
from pathlib import Path
from typing import Any

from meta.provenance import provenance

_ROOT = Path(__file__).parents[1]
_PACKAGES = ("celo", "meta", "evaluation")


@functools.cache  # files that change after the first call are not the code this process has imported
def code_identity() -> dict[str, Any]:
    """What, besides what was asked for, decides the numbers of a training.

    The revision says nothing about files that were changed since, nor about a copy outside a checkout: there
    the contents of the source files are hashed instead.

    Returns:
        ``versions`` of libraries, ``revision`` of the code, ``sources`` (a digest; None if the revision says
        it all), ``platform`` and ``kind`` of the devices, numerical settings ``jax_config``. The number of
        devices is left out: it decides where a training is done, not what it gives.
    """
    made_with = provenance()
    git, devices = made_with["git"], made_with["devices"]
    committed = git is not None and git["revision"] is not None and not git["dirty"]
    return {
        "versions": made_with["versions"],
        "revision": None if git is None else git["revision"],
        "sources": None if committed else digest_of_sources(_ROOT),
        "platform": devices["platform"],
        "kind": devices["kind"],
        "jax_config": made_with["jax_config"],
    }


def digest_of_sources(root: Path) -> str:
    """SHA-256 of the names and contents of all Python files of the packages that trainings depend on.

    Args:
        root: the folder in which the packages are.

    Returns:
        The digest in hexadecimal.
    """
    total = hashlib.sha256()
    for package in _PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            content = hashlib.sha256(path.read_bytes()).hexdigest()
            total.update(f"{path.relative_to(root).as_posix()} {content}\n".encode())
    return total.hexdigest()
