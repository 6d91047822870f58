"""What every learned optimizer shares: the contract, its checks, and how a tree of tensors is walked."""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.core import Tracer

from celo._core import parameters, trees

PyTree = Any
Stage = int


@runtime_checkable
class LearnedOptimizer(Protocol):
    """A learned optimizer: a small frozen dataclass holding its configuration, and three functions."""

    def init(self, key: Array) -> PyTree:
        """Draws meta-parameters: a pytree of float32 arrays."""
        ...

    def optimizer(self, theta: PyTree, num_steps: float | Array) -> optax.GradientTransformationExtraArgs:
        """The optimizer with these meta-parameters for a training of ``num_steps`` steps."""
        ...

    def trainable(self, theta: PyTree, stage: Stage) -> PyTree:
        """A pytree of bools shaped like ``theta``: what meta-training trains in this stage (1 or 2)."""
        ...


def mask(theta: dict[str, PyTree], keys: Sequence[str]) -> PyTree:
    """Bools shaped like ``theta``, true below the given top-level keys."""
    return {name: jax.tree.map(lambda _, on=name in keys: on, part) for name, part in theta.items()}


def check_stage(stage: Stage) -> None:
    """Raises ValueError unless ``stage`` is 1 or 2."""
    if type(stage) is not int or stage not in (1, 2):  # True and 1.0 are equal to 1
        raise ValueError(f"stage is {stage!r}; expected 1 (update rule alone) or 2 (with scheduler)")


def check_choice(what: str, value: object, choices: Sequence[object]) -> None:
    """Raises ValueError unless ``value`` is one of ``choices``."""
    if value not in choices:
        raise ValueError(f"{what} is {value!r}; expected one of {', '.join(map(repr, choices))}")


def check_size(what: str, value: object) -> None:
    """Raises ValueError unless ``value`` is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ValueError(f"{what} is {value!r}; expected a whole number of at least 1")


def check_number(what: str, value: object, expected: str, holds: Callable[[float], bool]) -> None:
    """Raises ValueError, saying what was expected, unless ``value`` is finite, real and as ``holds`` says."""
    real = isinstance(value, int | float | np.integer | np.floating)
    if real and not isinstance(value, bool) and abs(value) <= sys.float_info.max and holds(float(value)):
        return
    raise ValueError(f"{what} is {value!r}; expected {expected}")


def check_num_steps(num_steps: float | Array) -> Array:
    """The horizon as a float32 scalar.

    Raises:
        ValueError: if it is not a finite number of at least 1 or not a scalar (traced values: shape only).
        TypeError: if it is not a number.
    """
    if isinstance(num_steps, Tracer):
        if num_steps.ndim:
            raise ValueError(
                f"num_steps has shape {num_steps.shape}; expected a scalar (use vmap for several)"
            )
        return num_steps.astype(jnp.float32)
    if isinstance(num_steps, (bool, str)) or num_steps is None:
        raise TypeError(f"num_steps is {num_steps!r}; expected the number of training steps, at least 1")
    value = np.asarray(num_steps)
    if value.ndim or not (np.issubdtype(value.dtype, np.number)) or np.iscomplexobj(value):
        raise ValueError(f"num_steps has shape {value.shape} and dtype {value.dtype}; expected a real scalar")
    if not math.isfinite(value.item()) or value.item() < 1:
        raise ValueError(f"num_steps is {value.item()}; expected a finite number of at least 1")
    return jnp.asarray(value, jnp.float32)


@functools.lru_cache(maxsize=64)
def theta_shapes(learned: LearnedOptimizer) -> PyTree:
    """Shapes and dtypes of the meta-parameters of a configuration, without computing them."""
    return jax.eval_shape(learned.init, jax.eval_shape(lambda: jax.random.key(0)))


def check_theta(learned: LearnedOptimizer, theta: PyTree) -> None:
    """Checks that meta-parameters fit a configuration.

    Raises:
        ValueError: naming the leaf, the expected and the found shape and dtype, of each that does not fit.
    """
    expected, found = (_specs(tree) for tree in (theta_shapes(learned), theta))
    wrong = trees.mismatches(expected, found)
    if wrong:
        raise ValueError(f"theta does not fit {learned}: {wrong}")


def _specs(tree: PyTree) -> dict[str, str]:
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {trees.path_name(path): trees.spec(leaf) for path, leaf in leaves}


def check_params(params: PyTree | None) -> PyTree:
    """Raises ValueError if ``update`` was called without the parameters, which learned optimizers read."""
    if params is None:
        raise ValueError(
            "a learned optimizer reads the parameters: call update(grads, state, params, value=loss)"
        )
    return params


def check_value(value: Array | float | None) -> Array:
    """The loss as a float32 scalar.

    Raises:
        ValueError: if it is missing or not a scalar.
        TypeError: if it is not a number.
    """
    if value is None:
        raise ValueError(
            "this optimizer reads the loss: call update(grads, state, params, value=loss). A wrapper that "
            "does not hand it on, as optax.MultiSteps within optax.chain, goes outermost"
        )
    try:
        loss = jnp.asarray(value, jnp.float32)
    except (TypeError, ValueError) as error:
        raise TypeError(f"value is {value!r}; expected the scalar loss") from error
    if loss.ndim:
        raise ValueError(f"value has shape {loss.shape}; expected the scalar loss (reduce it first)")
    return loss


def float32_zeros(params: PyTree) -> PyTree:
    """Zeros in float32 of the shapes and sharding of ``params``, whatever their dtype."""
    return jax.tree.map(lambda p: jnp.zeros_like(p, jnp.float32), params)


def bounded(g: Array, limit: float = parameters.LARGEST_GRADIENT) -> Array:
    """A gradient in float32, each entry clipped to +-limit; by default its square just stays finite."""
    return jnp.clip(jnp.asarray(g, jnp.float32), -limit, limit)


def owned(state: PyTree) -> PyTree:
    """A copy of a state whose arrays share no buffer with each other or with meta-parameters.

    A caller may then donate it: `jax.jit` refuses one buffer given twice, and frees what it was given.
    """
    return jax.tree.map(lambda x: jnp.array(x, copy=True), state)


def map_tensors(
    results: int, function: Callable[..., tuple[Any, ...]], params: PyTree, *trees: PyTree
) -> tuple[PyTree, ...]:
    """Applies ``function(p, *leaves) -> tuple`` to every tensor and returns a tuple of trees, one per result.

    Args:
        results: number of values that ``function`` returns.
        function: takes one leaf of ``params`` and the matching part of each other tree.
        params: decides the structure; None leaves stay None.
        trees: pytrees that have the structure of ``params`` as a prefix.

    Returns:
        ``results`` trees with the structure of ``params``.

    Raises:
        ValueError: if the structure of a tree differs from that of ``params``.
    """
    leaves, structure = jax.tree.flatten(params)
    columns = [structure.flatten_up_to(tree) for tree in trees]
    rows = [function(*row) for row in zip(leaves, *columns, strict=True)]
    return tuple(structure.unflatten([row[i] for row in rows]) for i in range(results))
