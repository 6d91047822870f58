"""How a task of a name is built: rows of the registry, and tasks from a user's own module."""

import abc
import contextlib
import dataclasses
import importlib
import inspect
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from celo._core.names import nearest
from celo.meta.data.errors import DatasetNotFoundError
from celo.meta.tasks.base import Params, Task

Folders = Mapping[str, Any]
"""Where data are looked for: the arguments `data_dir` and `cache_dir` of the loaders."""

_USERS_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*:[^\W\d]\w*(\.[^\W\d]\w*)*")


@dataclasses.dataclass(frozen=True)
class Entry(abc.ABC):
    """One row of the registry; nothing is loaded before `make`.

    Attributes:
        family: name of the family, such as "image_mlp".
        dataset: short name of the dataset, or None where the task needs none.
        build: `build(data, name=..., **config)` is the task on its data.
        config: further arguments of `build`.
    """

    family: str
    dataset: str | None
    build: Callable[..., Task]
    config: Mapping[str, Any]

    @abc.abstractmethod
    def load(self, folders: Folders) -> Any:
        """Load the data."""

    @abc.abstractmethod
    def blank_data(self) -> Any:
        """Return data of the right shapes without content."""

    def make(self, name: str, folders: Folders) -> Task:
        """Load the data and build the task."""
        return self.build(self.load(folders), name=name, **self.config)

    def blank(self, name: str) -> Task:
        """Build the task on data of the right shapes without content."""
        return self.build(self.blank_data(), name=name, **self.config)

    def parameter_shapes(self) -> Params:
        """Return the parameters as a pytree of `jax.ShapeDtypeStruct`; no data are loaded."""
        task, key = self.blank(""), jax.eval_shape(lambda: jax.random.key(0))
        return jax.eval_shape(lambda key: task.init(key)[0], key)

    @property
    def loss_unit(self) -> str:
        """Unit of the task's loss; no data are loaded."""
        return self.blank("").loss_unit


@dataclasses.dataclass(frozen=True)
class CompositeEntry(Entry):
    """A task made of another one; the data are the other task.

    Attributes:
        inner: row of the other task.
        inner_name: name of the other task.
    """

    inner: Entry
    inner_name: str

    @classmethod
    def on(
        cls, family: str, inner_name: str, inner: Entry, build: Callable[..., Task], **config: Any
    ) -> "CompositeEntry":
        """Make the row; the dataset is that of the other task."""
        return cls(family, inner.dataset, build, config, inner, inner_name)

    def load(self, folders: Folders) -> Task:
        """Make the other task."""
        return self.inner.make(self.inner_name, folders)

    def blank_data(self) -> Task:
        """Make the other task on data without content."""
        return self.inner.blank(self.inner_name)


@dataclasses.dataclass(frozen=True)
class UserEntry(Entry):
    """A task of a user's module, named `module:object`.

    Attributes:
        path: the name.
    """

    path: str

    @classmethod
    def of(cls, path: str) -> "UserEntry":
        """Make the entry, or raise a ValueError unless `path` has the form `module:object`."""
        if not _USERS_NAME.fullmatch(path):
            raise ValueError(f"A task of your own is named module:object, such as ripple:task; got {path!r}")
        return cls("user", None, _named, {}, path)

    def load(self, folders: Folders) -> Task:
        """Import the module and return its task, or call its function."""
        with _working_folder_on_path():
            found = _resolve(self.path)
            return _check_task(
                self.path, found if isinstance(found, Task) else _call(self.path, found, folders)
            )

    def blank_data(self) -> Task:
        """Return the task itself: a user's task has no form without data."""
        return self.load({})


def _named(task: Task, name: str) -> Task:
    return dataclasses.replace(task, label=dataclasses.replace(task.label, text=name)) if name else task


@contextlib.contextmanager
def _working_folder_on_path() -> Iterator[None]:
    folder = os.getcwd()
    sys.path.insert(0, folder)
    importlib.invalidate_caches()
    try:
        yield
    finally:
        sys.path.remove(folder)


def _resolve(path: str) -> Any:
    """Import `module:object`."""
    module_name, _, attributes = path.partition(":")
    try:
        found: Any = importlib.import_module(module_name)
    except Exception as error:  # whatever a user's module raises: the cause is chained
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(
            f"Task {path!r}: cannot import {module_name!r} ({reason}). Looked in the working folder "
            f"{os.getcwd()} and among the installed packages"
        ) from error
    for attribute in attributes.split("."):
        if not hasattr(found, attribute):
            raise ValueError(
                f"Task {path!r}: {found!r:.100} has no {attribute!r}.{nearest(attribute, vars(found))}"
            )
        found = getattr(found, attribute)
    return found


def _call(path: str, function: Any, folders: Folders) -> Any:
    """Call a function, with `data_dir` if it takes it; return any other object as it is."""
    if not callable(function):
        return function
    parameters = inspect.signature(function).parameters.values()
    required = [
        p.name for p in parameters if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    if set(required) - {"data_dir"}:
        raise ValueError(
            f"Task {path!r}: the function must take no arguments or data_dir alone; it requires "
            f"{', '.join(required)}"
        )
    takes_folder = any(p.name == "data_dir" for p in parameters)
    try:
        return function(data_dir=folders.get("data_dir")) if takes_folder else function()
    except DatasetNotFoundError:
        raise  # an evaluation may skip such a task
    except Exception as error:  # whatever a user's function raises: the cause is chained
        raise ValueError(f"Task {path!r}: the function raised {type(error).__name__}: {error}") from error


def _check_task(path: str, task: Any) -> Task:
    """Return the object if it is a complete task, else raise a ValueError that names what is missing."""

    def defines(method: str) -> bool:
        own = getattr(type(task), method, None)
        return own is not None and own is not getattr(Task, method)

    missing = [method for method in ("init", "loss") if not defines(method)]
    if not (defines("batch") or defines("gather")):
        missing.append("batch (or sample and gather)")
    if not isinstance(task, Task) or missing:
        lacks = f"; it lacks {', '.join(missing)}" if missing else ""
        raise ValueError(
            f"Task {path!r}: expected a celo.meta.tasks.Task or a function that returns one, got "
            f"{task!r:.100} of {type(task).__name__}{lacks}"
        )
    if jax.tree_util.all_leaves([task]):  # not registered: JAX would take the task for an array
        raise ValueError(f"Task {path!r}: decorate {type(task).__name__} with celo.meta.tasks.pytree")
    return task
