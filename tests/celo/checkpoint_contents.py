"""Contents of files of meta-parameters, good and bad, for tests of what must not load."""

import math
from typing import Any

import flax.serialization
import jax
import numpy as np

import celo
from celo import interop
from celo._core import safetensors_file, trees
from celo.learned import base


def random_theta() -> Any:
    """Celo's meta-parameters, drawn without compiling anything."""
    rng = np.random.default_rng(0)
    shapes = base.theta_shapes(celo.learned_optimizer("celo"))
    return jax.tree.map(lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), shapes)


THETA = random_theta()
FLAT = trees.flatten(THETA)
HEADER = {"optimizer": "celo", "config": {"stage": 2, "form": "exp"}, "provenance": {}}
GOOD = safetensors_file.encode(HEADER, FLAT)
UPSTREAM = flax.serialization.msgpack_serialize(trees.unflatten(interop.to_upstream("celo", THETA)))


def replaced(path: str, leaf: Any) -> dict[str, Any]:
    return {p: x for p, x in {**FLAT, path: leaf}.items() if x is not None}


NOT_A_NUMBER = np.array([0.0, math.nan, math.inf], np.float32)
