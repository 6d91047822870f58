"""Placement of arrays: theta on every device, inner problems divided over one mesh axis."""

from __future__ import annotations

import warnings
from typing import Any

import jax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

PyTree = Any

AXIS = "problems"
REPLICATED = PartitionSpec()
# Estimator state has leading axes (families, problems).
BY_PROBLEM = PartitionSpec(None, AXIS)


def problem_mesh(problems: int) -> Mesh:
    """A mesh of one axis over the most devices, of all processes, that divide the problems evenly.

    ValueError with several processes, if not every process would have a device in it.
    """
    devices = jax.devices()
    used = max(n for n in range(1, len(devices) + 1) if problems % n == 0)
    if used < len(devices):
        warnings.warn(
            f"{len(devices) - used} of {len(devices)} devices stay idle: they do not divide {problems} "
            "problems per family evenly",
            stacklevel=3,
        )
    if jax.process_count() > 1 and used < len(devices):
        raise ValueError(
            f"{problems} problems per family do not divide evenly among {len(devices)} devices of "
            f"{jax.process_count()} processes; choose a multiple of {len(devices)}"
        )
    return Mesh(devices[:used], (AXIS,), axis_types=(jax.sharding.AxisType.Auto,))


def replicate(tree: PyTree, mesh: Mesh) -> PyTree:
    """Puts every array of a tree on all devices of the mesh."""
    return jax.device_put(tree, NamedSharding(mesh, REPLICATED))


def shapes(tree: PyTree, spec: PartitionSpec, mesh: Mesh) -> PyTree:
    """Shapes and types of a tree's arrays (anything with a shape and a dtype), all with the same sharding."""
    sharding = NamedSharding(mesh, spec)
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree)
