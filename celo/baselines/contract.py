"""What every hand-designed optimizer owes its caller: checked arguments, float32 state, extra arguments."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import Array
from jax.core import Tracer

from celo._core import parameters

Number = float | Array
Rate = optax.ScalarOrSchedule
Transformation = optax.GradientTransformation
Build = Callable[..., Transformation]
Factory = Callable[..., optax.GradientTransformationExtraArgs]


def _widen(x: Any) -> Any:
    """Half-precision arrays as float32; anything else unchanged."""
    dtype = getattr(x, "dtype", None)
    if dtype is not None and jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32:
        return jnp.asarray(x, jnp.float32)
    return x


def _bounded(g: Any) -> Any:
    """A float32 gradient with finite entries clipped to where sums of squares are finite; others stay.

    So do doubles, under JAX_ENABLE_X64, whose squares are finite much further. Beyond, moments overflow:
    Adam's never come back from infinity, Yogi's become NaN. What is not finite is left for those who look for
    it, as `optax.apply_if_finite` does.
    """
    if getattr(g, "dtype", None) != jnp.float32:
        return g
    largest = parameters.LARGEST_GRADIENT
    return jnp.where(jnp.isfinite(g), jnp.clip(g, -largest, largest), g)


def in_float32(inner: optax.GradientTransformation) -> optax.GradientTransformationExtraArgs:
    """Runs a transformation in float32 where gradients or parameters have half precision.

    A bfloat16 average with decay 0.999 stands still: it has 8 bits, the step needs 10. Updates come back in
    the dtype of the parameters. Gradients are clipped at 1e15, whose squares are finite. Callers may work
    under strict dtype promotion; optax's ``b1**count`` cannot, so the transformation itself runs under the
    standard rules.

    Args:
        inner: the transformation; it gets the extra arguments of `update` if it takes any.

    Returns:
        The same transformation with float32 state, which never sees a tensor without entries. Its ``init``
        raises ValueError for parameters that are not floating-point numbers, its ``update`` for gradients
        that do not fit the parameters, if it is given any.
    """
    inner = optax.with_extra_args_support(inner)

    def shown(tree: Any) -> Any:
        # As arrays first: a Python float, or a double of NumPy, gets the dtype it has in JAX.
        return jax.tree.map(lambda x: _widen(jnp.asarray(x)), parameters.without_empty(tree))

    def init(params: optax.Params) -> optax.OptState:
        parameters.check_parameters(params)
        with jax.numpy_dtype_promotion("standard"):
            return inner.init(shown(params))

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, optax.OptState]:
        like = updates if params is None else params
        if params is not None:
            parameters.check_gradients(updates, params)
        with jax.numpy_dtype_promotion("standard"):
            grads = jax.tree.map(_bounded, shown(updates))
            new, state = inner.update(grads, state, shown(params), **extra_args)
        return parameters.updates_like(new, like), state

    return optax.GradientTransformationExtraArgs(init, update)


def _check_finite(name: str, value: Any) -> None:
    """Refuses NaN and infinities among values that are known before tracing."""
    if isinstance(value, (bool, str, type(None), Tracer)) or callable(value):
        return
    if isinstance(value, (int, float, np.ndarray, np.generic, jax.Array)) and not np.all(np.isfinite(value)):
        raise ValueError(f"{name} is {value}; expected a finite number")


def check_learning_rate(learning_rate: Any) -> None:
    """Refuses what is neither a scalar rate of at least 0, traced or not, nor a schedule."""
    if callable(learning_rate):
        return
    if isinstance(learning_rate, bool) or not isinstance(
        learning_rate, (int, float, np.ndarray, np.generic, jax.Array)
    ):
        raise TypeError(f"learning_rate is {learning_rate!r}; expected a number or an optax schedule")
    if np.shape(learning_rate) != ():
        shape = np.shape(learning_rate)
        raise ValueError(
            f"learning_rate has shape {shape}; expected a scalar (use jax.vmap for several rates)"
        )
    if isinstance(learning_rate, Tracer):
        return
    if not 0.0 <= float(learning_rate) < math.inf:
        raise ValueError(f"learning_rate is {learning_rate}; expected a finite number, at least 0")


def baseline(build: Build) -> Factory:
    """Turns a constructor of an optax transformation into one of a hand-designed optimizer.

    Args:
        build: takes the learning rate and keyword options.

    Returns:
        A function of the same signature, which checks numbers that are known, accepts half-precision ones and
        returns the transformation `in_float32`.
    """

    @functools.wraps(build)
    def factory(
        learning_rate: optax.ScalarOrSchedule, **options: Any
    ) -> optax.GradientTransformationExtraArgs:
        check_learning_rate(learning_rate)
        for name, value in options.items():
            _check_finite(name, value)
        options = {name: _widen(value) for name, value in options.items()}
        return in_float32(build(_widen(learning_rate), **options))

    return factory
