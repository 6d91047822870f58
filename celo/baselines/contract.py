"""The contract of every hand-designed optimizer: checked arguments, float32 state, extra arguments."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from celo._core import checks, parameters
from celo._core.checks import Decay, Flag, NonNegative, Number

Rate = optax.ScalarOrSchedule
Transformation = optax.GradientTransformation
Build = Callable[..., Transformation]
Factory = Callable[..., optax.GradientTransformationExtraArgs]

# What an option may be, by optax's names.
KINDS: Mapping[str, Any] = MappingProxyType(
    dict.fromkeys(("b1", "b2", "b3", "beta", "decay", "rho", "momentum", "adam_b1", "adam_b2"), Decay)
    | dict.fromkeys(("eps", "eps_root", "weight_decay", "adam_weight_decay", "weight_lr_power"), NonNegative)
    | {"nesterov": Flag, "adapt_lower_bound": Flag, "lower_bound": Number}
)


def _widen(x: Any) -> Any:
    """A parameter, gradient or option as JAX has it, half precision as float32; other objects unchanged."""
    if isinstance(x, jax.ShapeDtypeStruct):
        return jax.ShapeDtypeStruct(x.shape, _wide(x.dtype), sharding=x.sharding)
    if isinstance(x, float | np.ndarray | np.generic):  # doubles get the dtype they have in JAX
        x = jnp.asarray(x)
    return jnp.asarray(x, _wide(x.dtype)) if isinstance(x, jax.Array) else x


def _option(x: Any) -> Any:
    """A hyperparameter; Python's numbers keep their precision."""
    return _widen(x) if isinstance(x, jax.Array | np.ndarray) else x


def _wide(dtype: Any) -> Any:
    half = jnp.issubdtype(dtype, jnp.floating) and jnp.finfo(dtype).bits < 32
    return jnp.float32 if half else dtype


def _bounded(g: Any) -> Any:
    """A float32 gradient with finite entries clipped to where sums of squares are finite; others stay.

    So do doubles, under JAX_ENABLE_X64, whose squares are finite much further. Beyond, moments overflow:
    Adam's never come back from infinity, Yogi's become NaN. What is not finite stays for those who look for
    it, such as `optax.apply_if_finite`.
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
        raises ValueError for parameters that are not floating-point numbers. Its ``update`` raises TypeError
        for gradients that are not, and ValueError for gradients that do not fit the parameters, if there are
        any.
    """
    inner = optax.with_extra_args_support(inner)

    def shown(tree: Any) -> Any:
        return jax.tree.map(_widen, parameters.without_empty(tree))

    def init(params: optax.Params) -> optax.OptState:
        parameters.check_parameters(params)
        with jax.numpy_dtype_promotion("standard"):
            return inner.init(shown(params))

    def update(
        updates: optax.Updates, state: optax.OptState, params: optax.Params | None = None, **extra_args: Any
    ) -> tuple[optax.Updates, optax.OptState]:
        like = updates if params is None else params
        parameters.check_gradients(updates, params)
        with jax.numpy_dtype_promotion("standard"):
            grads = jax.tree.map(_bounded, shown(updates))
            new, state = inner.update(grads, state, shown(params), **extra_args)
        return parameters.updates_like(new, like), state

    return optax.GradientTransformationExtraArgs(init, update)


def in_auto_mode(inner: Transformation) -> Transformation:
    """Lets XLA place the products and sums of a transformation, also on a mesh with explicit axes."""
    inner = optax.with_extra_args_support(inner)

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        run = functools.partial(inner.update, **extra)
        return parameters.in_auto_mode(run, (updates, state), updates, state, params)

    return optax.GradientTransformationExtraArgs(inner.init, update)


def from_optax(make: Build, kinds: Mapping[str, Any] = KINDS, **defaults: Any) -> Factory:
    """Turns a constructor of optax, whose names its options keep, into one of a hand-designed optimizer.

    Args:
        make: takes the learning rate and options by name.
        kinds: annotations of options that are not in `KINDS`, or differ there, see `celo._core.checks`.
        **defaults: the options there are, with their defaults; one whose default is None takes None.

    Returns:
        A function of the learning rate and keyword options, as its signature shows. It checks its arguments,
        accepts half-precision ones and returns the transformation `in_float32`.
    """

    def factory(learning_rate: Rate, **options: Any) -> optax.GradientTransformationExtraArgs:
        signature.bind(learning_rate, **options)  # optax's constructors take more
        checks.check_learning_rate(learning_rate)
        checks.check_options(factory, options)
        given = {name: _option(x) for name, x in options.items()}
        return in_float32(make(_option(learning_rate), **defaults | given))

    hints = {name: {**KINDS, **kinds}[name] for name in defaults}
    hints = {name: hint | None if defaults[name] is None else hint for name, hint in hints.items()}
    options = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=defaults[name], annotation=hint)
        for name, hint in hints.items()
    ]
    rate = inspect.Parameter("learning_rate", inspect.Parameter.POSITIONAL_OR_KEYWORD, annotation=Rate)
    factory.__annotations__ = hints
    vars(factory)["__signature__"] = signature = inspect.Signature([rate, *options])
    return factory
