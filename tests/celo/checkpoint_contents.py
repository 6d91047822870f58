"""Random meta-parameters, and contents of files of them, good and bad."""

import math
from typing import Any

import flax.serialization
import jax
import numpy as np

import celo
from celo import interop
from celo._core import safetensors_file, trees
from celo.learned import base


def random_theta(name: str, scale: float = 1.0, **config: Any) -> Any:
    """Meta-parameters as numpy arrays, drawn without compiling anything."""
    rng, shapes = np.random.default_rng(0), base.theta_shapes(celo.learned_optimizer(name, **config))
    return jax.tree.map(lambda leaf: (scale * rng.normal(size=leaf.shape)).astype(np.float32), shapes)


def assert_equal(found: Any, expected: Any) -> None:
    """The same structure and the same numbers."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    jax.tree.map(np.testing.assert_array_equal, found, expected)


def upstream_file(name: str, theta: Any) -> bytes:
    """A file as the reference writes it: one module per dictionary, its name with slashes."""
    nested: dict[str, Any] = {}
    for path, leaf in interop.to_upstream(name, theta).items():
        top, _, rest = path.partition("/")
        *module, leaf_name = rest.split("/")
        node = nested.setdefault(top, {})
        node = node.setdefault("/".join(module), {}) if module else node
        node[leaf_name] = leaf
    return flax.serialization.msgpack_serialize(nested)


THETA = random_theta("celo")
FLAT = trees.flatten(THETA)
HEADER = {"optimizer": "celo", "config": {"stage": 2, "form": "exp"}, "provenance": {}}
GOOD = safetensors_file.encode(HEADER, FLAT)
UPSTREAM = upstream_file("celo", THETA)
NOT_A_NUMBER = np.array([0.0, math.nan, math.inf], np.float32)


def replaced(path: str, leaf: Any) -> dict[str, Any]:
    """The flat meta-parameters with one leaf replaced, or removed for None."""
    return {p: x for p, x in {**FLAT, path: leaf}.items() if x is not None}
