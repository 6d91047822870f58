"""Quadratics without data.

Not here: `NoisyQuadraticFamily`, of which neither the dimensions nor the size of the noise are published.
"""

import dataclasses
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from celo.meta.tasks.base import Task
from celo.meta.tasks.families.entry import Entry, Folders
from celo.meta.tasks.quadratic_form import QuadraticForm

_MATRIX_SEED = 7  # of the published matrix; its numbers are those of the running JAX's generator


@dataclasses.dataclass(frozen=True)
class QuadraticTask(Entry):
    """A quadratic.

    Attributes:
        dim: number of dimensions.
        random_matrix: whether the matrix is A A' with a fixed standard normal A, rather than the identity.
        config: further arguments of `QuadraticForm.of`.
    """

    dim: int
    random_matrix: bool
    config: Mapping[str, Any]

    def make(self, name: str, folders: Folders) -> Task:
        """Build the task; there are no data."""
        del folders
        return self.blank(name)

    def blank(self, name: str) -> Task:
        """Build the task."""
        matrix = np.eye(self.dim, dtype=np.float32)
        if self.random_matrix:
            factor = jax.random.normal(jax.random.key(_MATRIX_SEED), matrix.shape, jnp.float32)
            # On the host and in double precision, so that the task is the same on every device.
            product = np.asarray(factor, np.float64) @ np.asarray(factor, np.float64).T
            matrix = product.astype(np.float32)
        return QuadraticForm.of(matrix, name, **self.config)


def _quadratic(dim: int = 10, random_matrix: bool = False, **config: Any) -> QuadraticTask:
    return QuadraticTask("quadratics", None, dim, random_matrix, config)


QUADRATIC_TASKS: Mapping[str, Entry] = MappingProxyType(
    {
        "QuadraticTask": _quadratic(),
        "NoisyMeanQuadraticTask": _quadratic(
            2, random_matrix=True, column=True, init_scale=10.0, noise="mean"
        ),
        "BatchQuadraticTask": _quadratic(noise="unused"),
        "LogQuadraticTask": _quadratic(logarithm=True),
        "SumQuadraticTask": _quadratic(vectors=2),
        "FixedDimQuadraticFamily": _quadratic(random_target=True),
        # Its dimensions are an argument without a default; ten, as of the family above.
        "FixedDimQuadraticFamilyData": _quadratic(random_target=True, noise="added", ceiling=1000.0),
    }
)
