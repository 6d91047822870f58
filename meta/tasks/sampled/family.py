"""What a family of sampled tasks is: ranges, a configuration drawn from them, and the entry of a task."""

import abc
import dataclasses
from typing import Any, ClassVar

import jax

from celo.meta.tasks.entry import Entry
from celo.meta.tasks.sampled import distributions, graph
from celo.meta.tasks.sampled.distributions import Configuration
from celo.meta.tasks.sampled.graph import Dynamic


@dataclasses.dataclass(frozen=True)
class Family(abc.ABC):
    """A family of tasks: its fields are the ranges that a task's configuration and scalars are drawn from.

    A configuration is static: it decides shapes, so tasks of one configuration share a compiled program. The
    scalars are leaves of the task.

    Source of the ranges: VeLO (Metz et al. 2022, arXiv 2211.09760), appendix C, as the parametric tasks of
    learned_optimization have them at commit 32186aa.
    """

    shared: ClassVar[tuple[str, ...]] = ()
    """Names in `celo.meta.tasks.sampled.graph.SHARED` that the tasks have."""
    dynamic: ClassVar[tuple[str, ...]] = ()
    """Names of the fields that are drawn inside the graph."""

    def configure(self, key: jax.Array) -> dict[str, Any]:
        """Draw a configuration: a value for each field that is not `dynamic`."""
        fields = [field.name for field in dataclasses.fields(self) if field.name not in self.dynamic]
        return distributions.configure(key, {name: getattr(self, name) for name in fields})

    def draw(self, key: jax.Array) -> Dynamic:
        """Draw the scalars; traceable."""
        leaves = {name: graph.SHARED[name] for name in self.shared}
        return distributions.draw(key, leaves | {name: getattr(self, name) for name in self.dynamic})

    def sample(self, key: jax.Array) -> tuple[dict[str, Any], Dynamic]:
        """Draw a configuration and the scalars of a task."""
        key_static, key_dynamic = jax.random.split(key)
        return self.configure(key_static), self.draw(key_dynamic)

    @abc.abstractmethod
    def entry(self, configuration: Configuration, dynamic: Dynamic) -> Entry:
        """Make the entry of a task, which loads its data and builds it."""
