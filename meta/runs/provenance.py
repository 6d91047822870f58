"""Circumstances of a result: versions, revision of the code, devices, numerical settings."""

from __future__ import annotations

import datetime
import importlib.metadata
import platform
import subprocess
from pathlib import Path
from typing import Any

import jax

_PACKAGES = ("celo", "jax", "jaxlib", "numpy", "optax")
_SETTINGS = (
    "jax_enable_x64",
    "jax_default_matmul_precision",
    "jax_default_prng_impl",
    "jax_threefry_partitionable",
)


def provenance() -> dict[str, Any]:
    """Collect what a run's numbers depend on besides its configuration, ready for JSON.

    ``created`` (UTC), ``versions``, ``git`` (``revision`` and ``dirty``, or None outside a checkout),
    ``devices`` (``platform``, ``kind``, ``count`` over all processes), ``jax_config``. It asks JAX for its
    devices, so initialize `jax.distributed` before.
    """
    device = jax.devices()[0]
    return {
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in _PACKAGES},
        "git": _git(),
        "devices": {"platform": device.platform, "kind": device.device_kind, "count": jax.device_count()},
        "jax_config": {name: getattr(jax.config, name) for name in _SETTINGS},
    }


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    here = Path(__file__)

    def ask(*arguments: str) -> str | None:
        try:
            done = subprocess.run(
                ["git", "-C", str(here.parent), *arguments],
                capture_output=True,
                text=True,
                timeout=10,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    # An installed copy may lie inside the checkout of another project, whose revision is not ours.
    if ask("ls-files", "--error-unmatch", here.name) is None:
        return None
    changed = ask("status", "--porcelain", "--untracked-files=no")
    return {"revision": ask("rev-parse", "HEAD"), "dirty": changed is None or changed != ""}
