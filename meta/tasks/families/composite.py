"""Rows of the registry for tasks made of another task."""

import dataclasses
from collections.abc import Callable

from celo.meta.tasks.base import Task
from celo.meta.tasks.families.entry import Entry, Folders


@dataclasses.dataclass(frozen=True)
class CompositeTask(Entry):
    """A task made of another one.

    Attributes:
        inner: row of the other task.
        inner_name: name of the other task.
        build: `build(task, name=...)` is the task on the other one.
    """

    inner: Entry
    inner_name: str
    build: Callable[..., Task]

    @classmethod
    def on(cls, family: str, inner_name: str, inner: Entry, build: Callable[..., Task]) -> "CompositeTask":
        """Make the row; the dataset is that of the other task."""
        return cls(family, inner.dataset, inner, inner_name, build)

    def make(self, name: str, folders: Folders) -> Task:
        """Load the data and build the task."""
        return self.build(self.inner.make(self.inner_name, folders), name=name)

    def blank(self, name: str) -> Task:
        """Build the task on data of the right shapes without content."""
        return self.build(self.inner.blank(self.inner_name), name=name)
