"""What a task is, how batches are drawn from data on the device, and how tasks are stacked.

A task is a frozen dataclass that is also a pytree: its data are leaves, its configuration is static. It goes
through `jax.jit` as an argument, and a stack of tasks goes through `jax.vmap`.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Self, TypeVar, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np

from celo.meta.data.catalog import check_split

Batch = dict[str, jax.Array]
Params = Any
ModelState = Any
Aux = dict[str, jax.Array]
Loss = tuple[jax.Array, ModelState, Aux]

_CEILING = 1e6


@dataclasses.dataclass(frozen=True, eq=False)
class Label:
    """Facts that take no part in comparing tree structures: all labels are equal.

    So tasks that differ in name or corpus alone have the same structure: they stack, and share compiled code.
    A task returned by compiled code may therefore carry the label of another one; keep labels outside.

    Attributes:
        text: the name of the task.
        corpus: short name of the text dataset, or "".
        vocabulary: title of the vocabulary of the text, or "".
        note: the data in words, or "".
    """

    text: str = ""
    corpus: str = ""
    vocabulary: str = ""
    note: str = ""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Label)

    def __hash__(self) -> int:
        return hash(Label)


_Class = TypeVar("_Class")


def static(**kwargs: Any) -> Any:
    """Declare a static field of a `pytree` class: hashable configuration, part of the tree structure."""
    return dataclasses.field(metadata={"static": True}, **kwargs)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, static))
def pytree(cls: type[_Class]) -> type[_Class]:
    """Make a class a frozen dataclass and a pytree whose leaves are the fields not declared `static`."""
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True)(cls))


@pytree
class Task:
    """An optimizee: parameters, data and a loss. Every method is traceable.

    A subclass defines `init`, `loss`, and either `batch` or `sample` with `gather`; everything else has a
    default. Arrays in its fields are leaves of a pytree, fields declared `static` are configuration.

    Attributes:
        label: holds the name, and the corpus of a task on text.

    Example:
        A file `ripple.py`, whose task commands find under the name `ripple:task`:

        >>> import jax
        >>> import jax.numpy as jnp
        >>> from celo.meta.tasks import Task, pytree, static
        >>> @pytree
        ... class Ripple(Task):
        ...     width: int = static(default=16)
        ...     loss_unit = "mean squared error"
        ...
        ...     def init(self, key):
        ...         first, last = jax.random.normal(key, (2, self.width))
        ...         return {"first": first, "bias": jnp.zeros(self.width), "last": last}, ()
        ...
        ...     def batch(self, key, split):
        ...         x = jax.random.uniform(key, (64, 1), minval=-3.0, maxval=3.0)
        ...         return {"x": x, "y": jnp.sin(x[:, 0])}
        ...
        ...     def loss(self, params, model_state, key, batch):
        ...         hidden = jnp.tanh(batch["x"] * params["first"] + params["bias"])
        ...         return jnp.mean((hidden @ params["last"] - batch["y"]) ** 2), model_state, {}
        >>> task = Ripple()
        >>> params, model_state = task.init(jax.random.key(0))
        >>> batch = task.batch(jax.random.key(1), "train")
        >>> loss, model_state, aux = task.loss(params, model_state, jax.random.key(2), batch)
        >>> task.name, loss.shape
        ('Ripple', ())
    """

    label: Label = static(default=Label(), kw_only=True)

    loss_unit: ClassVar[str] = "loss"
    """Unit of the loss, such as "nats per token"."""

    examples_first: ClassVar[bool] = True
    """Whether the first axis of every array of a batch is the examples, so that a part of them is a batch."""

    @property
    def name(self) -> str:
        """Name of the task; equal names mean equal tasks. By default the name of the class."""
        return self.label.text or type(self).__name__

    @property
    def corpus(self) -> str:
        """Short name of the text dataset that the task reads; "" for a task that reads none."""
        return self.label.corpus

    @property
    def vocabulary(self) -> str:
        """How the text became tokens, such as "bytes" or "google-t5/t5-small"; "" without text."""
        return self.label.vocabulary

    def init(self, key: jax.Array) -> tuple[Params, ModelState]:
        """Draw initial parameters and the initial model state: batch statistics, or () for none."""
        raise NotImplementedError(f"{type(self).__name__} must define init")

    def sample(self, key: jax.Array, split: str) -> Any:
        """Draw what decides a batch of the static split, such as row numbers; by default its random key.

        It is small, so that the samples of a whole stretch of training can be drawn in one call.
        """
        check_split(split)
        return key

    def gather(self, split: str, sample: Any) -> Batch:
        """Make the batch of a sample; splits are "train", "inner_valid", "outer_valid" and "test"."""
        if type(self).batch is Task.batch:
            raise NotImplementedError(f"{type(self).__name__} must define batch, or sample and gather")
        return self.batch(sample, split)

    def batch(self, key: jax.Array, split: str) -> Batch:
        """Draw a batch: `gather(split, sample(key, split))`."""
        return self.gather(split, self.sample(key, split))

    def loss(self, params: Params, model_state: ModelState, key: jax.Array, batch: Batch) -> Loss:
        """Compute the mean loss of a batch, the new model state, and further scalars by name."""
        raise NotImplementedError(f"{type(self).__name__} must define loss")

    def normalizer(self, loss: jax.Array) -> jax.Array:
        """Map a loss to the bounded, finite range of the meta-objective.

        The default clips to [-1e6, 1e6] and counts NaN as 1e6. A task for meta-training needs a bound of the
        scale of its loss, such as 1.5 times the loss of a guess, or one diverged problem outweighs the rest.
        """
        return jnp.where(jnp.isnan(loss), jnp.float32(_CEILING), jnp.clip(loss, -_CEILING, _CEILING))


def draw_indices(key: jax.Array, size: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """Draw int32 numbers of the shape uniformly from 0 .. size - 1, with replacement, by 32 bits each.

    The number is `floor(bits * size / 2**32)`, computed in 16-bit halves because the product has 64 bits; no
    number is likelier than another by more than `size / 2**32`. The size, 1 .. 2**31 - 1, may be traced.
    (Lemire 2019, "Fast random integer generation in an interval", section 3, without the rejection step.)
    """
    bits = jax.random.bits(key, shape, jnp.uint32)
    return scale_bits(bits, size)


def scale_bits(bits: jax.Array, size: jax.Array) -> jax.Array:
    """Return the upper 32 of the 64 bits of `bits * size`, uint32 times 1 .. 2**31 - 1, as int32."""
    half, mask = np.uint32(16), np.uint32(0xFFFF)
    size = jnp.asarray(size).astype(jnp.uint32)
    high, low = bits >> half, bits & mask
    size_high, size_low = size >> half, size & mask
    carry = high * size_low + ((low * size_low) >> half)
    middle = low * size_high + (carry & mask)
    return (high * size_high + (carry >> half) + (middle >> half)).astype(jnp.int32)


@pytree
class Examples:
    """The examples of one split, possibly padded at the end.

    Attributes:
        arrays: arrays by name, all with the same first axis, one entry per example.
        size: int32 scalar: how many of the first examples are real; the rest is padding and never drawn.
    """

    arrays: dict[str, jax.Array]
    size: jax.Array

    @classmethod
    def of(cls, arrays: Mapping[str, np.ndarray]) -> Self:
        """Put arrays on the default device, unpadded; ValueError if they are empty or differ in length."""
        lengths = {name: len(array) for name, array in arrays.items()}
        if len(set(lengths.values())) != 1 or min(lengths.values()) < 1:
            raise ValueError(f"examples need arrays of one length of at least 1, got lengths {lengths}")
        size = next(iter(lengths.values()))
        return cls({name: jnp.asarray(array) for name, array in arrays.items()}, jnp.asarray(size, jnp.int32))

    def take(self, indices: jax.Array) -> Batch:
        """Gather rows; the shape of `indices` replaces the first axis."""
        return {name: array.at[indices].get(mode="promise_in_bounds") for name, array in self.arrays.items()}


T = TypeVar("T")


def stack_tasks(tasks: Sequence[T]) -> T:
    """Stack tasks of equal structure along a new first axis of every leaf, for `jax.vmap`.

    Splits of different lengths are padded to the longest; integer images of different widths take the widest.
    The name joins the names with "+". ValueError for no tasks, or tasks whose classes, configurations or
    shapes differ, which says where.

    Example:
        >>> from celo.meta.tasks import Quadratic
        >>> stacked = stack_tasks([Quadratic.of([1.0, 2.0], name="a"), Quadratic.of([3.0, 4.0], name="b")])
        >>> stacked.name, stacked.curvature.shape
        ('a+b', (2, 2))
    """
    if not tasks:
        raise ValueError("stack_tasks needs at least one task, got none")
    structures = [jax.tree.structure(task) for task in tasks]
    for i, structure in enumerate(structures):
        if structure != structures[0]:
            raise ValueError(
                f"Tasks 0 and {i} cannot be stacked, their structures differ:\n{structures[0]}\n{structure}"
            )
    stacked = jax.tree.map(_stack, *tasks, is_leaf=lambda node: isinstance(node, Examples))
    if not isinstance(stacked, Task):
        return stacked
    names = "+".join(task.name for task in tasks if isinstance(task, Task))
    named: Any = dataclasses.replace(stacked, label=dataclasses.replace(stacked.label, text=names))
    return named


def _stack(*nodes: Any) -> Any:
    if isinstance(nodes[0], Examples):
        length = max(len(array) for node in nodes for array in node.arrays.values())
        return jax.tree.map(_stack, *(_pad(node, length) for node in nodes))
    arrays = [jnp.asarray(node) for node in nodes]  # a field of a user's task may be a number
    shapes, dtypes = [array.shape for array in arrays], [array.dtype for array in arrays]
    if len(set(shapes)) > 1:
        raise ValueError(f"Tasks cannot be stacked, the shapes of one of their arrays differ: {shapes}")
    if len({dtype.kind for dtype in dtypes}) > 1:
        raise ValueError(f"Tasks cannot be stacked, one of their arrays has dtypes {dtypes}")
    return jnp.stack([array.astype(np.result_type(*dtypes)) for array in arrays])


def _pad(examples: Examples, length: int) -> Examples:
    """Pad every array with zeros to a common length."""
    arrays = {
        name: jnp.pad(array, [(0, length - len(array))] + [(0, 0)] * (array.ndim - 1))
        for name, array in examples.arrays.items()
    }
    return Examples(arrays, examples.size)
