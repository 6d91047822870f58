"""What the registry knows of a task before any data are loaded."""

import abc
import dataclasses
from collections.abc import Mapping
from typing import Any

import jax

from celo.meta.tasks.base import Params, Task

Folders = Mapping[str, Any]
"""Where data are looked for: the arguments `data_dir` and `cache_dir` of the loaders."""


def shapes_of(task: Task) -> Params:
    """Return the shapes and dtypes of a task's parameters without computing them."""
    key = jax.eval_shape(lambda: jax.random.key(0))
    return jax.eval_shape(lambda key: task.init(key)[0], key)


@dataclasses.dataclass(frozen=True)
class Entry(abc.ABC):
    """One row of the registry: how a task of a name is built.

    Attributes:
        family: name of the family, such as "image_mlp".
        dataset: short name of the dataset, or None where the task needs none.
    """

    family: str
    dataset: str | None

    @abc.abstractmethod
    def make(self, name: str, folders: Folders) -> Task:
        """Load the data and build the task."""

    @abc.abstractmethod
    def blank(self, name: str) -> Task:
        """Build the task on data of the right shapes without content."""

    def parameter_shapes(self) -> Params:
        """Return the parameters as a pytree of `jax.ShapeDtypeStruct`; no data are loaded."""
        return shapes_of(self.blank(""))
