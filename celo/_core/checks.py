"""Checks of arguments. An annotation such as `Decay` says what an option may be; `check_options` reads it."""

from __future__ import annotations

import dataclasses
import math
import types
import typing
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.core import Tracer

from celo._core.names import unknown_name

LOSS_MISSING = """\
this optimizer reads the loss: call update(grads, state, params, value=loss). A wrapper that drops it, such
as optax.MultiSteps within optax.chain, goes outermost. flax's TrainState drops it too: use this subclass, and
call state.apply_gradients(grads=grads, value=loss):

class LossTrainState(flax.training.train_state.TrainState):
    def apply_gradients(self, *, grads, value):
        updates, opt_state = self.tx.update(grads, self.opt_state, self.params, value=value)
        params = optax.apply_updates(self.params, updates)
        return self.replace(step=self.step + 1, params=params, opt_state=opt_state)"""


@dataclasses.dataclass(frozen=True)
class Real:
    """A finite number, traced or not.

    Attributes:
        expected: which one, for the message.
        holds: whether a finite number is one.
        whole: whether it must be whole.
        static: whether it must be known before tracing.
    """

    expected: str = "a finite number"
    holds: Callable[[float], bool] = lambda x: True
    whole: bool = False
    static: bool = False

    def __call__(self, value: Any) -> bool:
        """Whether a value is as expected."""
        if isinstance(value, Tracer):
            return not self.static
        if isinstance(value, bool | np.bool_) or not isinstance(
            value, int | float | np.ndarray | np.generic | Array
        ):
            return False
        if self.static and not isinstance(value, int | np.integer):
            return False
        if np.shape(value) or np.iscomplexobj(value):
            return False
        try:
            number = float(value)
        except (OverflowError, TypeError, ValueError):
            return False
        return math.isfinite(number) and self.holds(number) and (not self.whole or number.is_integer())


@dataclasses.dataclass(frozen=True)
class OneOf:
    """One of some values, of their type, known before tracing; or, where that is allowed, a traced one."""

    choices: tuple[Any, ...]
    description: str = ""
    traced: bool = False

    @property
    def expected(self) -> str:
        """The choices, for the message."""
        return self.description or f"one of {', '.join(map(repr, self.choices))}"

    def __call__(self, value: Any) -> bool:
        """Whether a value is one of them; True and 1.0 are not 1."""
        if self.traced and isinstance(value, Array) and value.dtype == bool:
            return value.ndim == 0
        return any(type(value) is type(choice) and value == choice for choice in self.choices)


Number = Annotated[float | Array, Real()]
NonNegative = Annotated[float | Array, Real("a number of at least 0", lambda x: x >= 0.0)]
Positive = Annotated[float | Array, Real("a number above 0", lambda x: x > 0.0)]
Decay = Annotated[float | Array, Real("a number in [0, 1)", lambda x: 0.0 <= x < 1.0)]
DecayOrSum = Annotated[float | Array, Real("a number in [0, 1]", lambda x: 0.0 <= x <= 1.0)]
Size = Annotated[
    int, Real("a whole number of at least 1", lambda x: 1.0 <= x < 2.0**31, whole=True, static=True)
]
WholeNumber = Annotated[
    int, Real("a whole number of at least 0", lambda x: 0.0 <= x < 2.0**31, whole=True, static=True)
]
Count = Annotated[int | Array, Real("a whole number of at least 0", lambda x: 0.0 <= x < 2.0**31, whole=True)]
Flag = Annotated[bool, OneOf((False, True))]
TracedFlag = Annotated[bool | Array, OneOf((False, True), traced=True)]


def check_options(owner: Any, values: Mapping[str, Any]) -> None:
    """Refuses values that do not keep what the annotations of a function or class say.

    Args:
        owner: a function or a dataclass with annotations such as `Decay` or ``Decay | None``.
        values: arguments or fields by name; those without such an annotation are not checked.

    Raises:
        ValueError: naming the first that does not, its value and what was expected.
    """
    hints = typing.get_type_hints(owner, include_extras=True)
    for name, value in values.items():
        hint = hints.get(name)
        branches = (hint, *typing.get_args(hint))
        checks = [check for branch in branches for check in getattr(branch, "__metadata__", ())]
        if not checks or (value is None and type(None) in branches):
            continue
        if not checks[0](value):
            raise ValueError(f"{name} is {_shown(value)}; expected {checks[0].expected}")


def _shown(value: Any) -> str:
    """The value, or its size where Python refuses to write it out or nobody would read it."""
    if isinstance(value, int) and abs(value) >= 10**30:
        return f"a whole number of {value.bit_length()} bits"
    return repr(value)


def whole(low: int, high: int) -> Real:
    """The whole numbers from low to high, to annotate a field with."""
    return Real(f"a whole number from {low} to {high}", lambda x: low <= x <= high, whole=True, static=True)


_PLAIN: Mapping[Any, Real] = {int: Real("a whole number", whole=True, static=True), float: Real()}


def check_fields(instance: Any) -> None:
    """Check every field of a dataclass that users fill in; call it in ``__post_init__``.

    Fields are annotated with bool, int, float, str, ``Literal`` choices, a class, ``tuple[X, ...]`` or
    ``X | None``; numbers perhaps with a `Real`. A bool is not a number, and a float is not a whole number. A
    string is not empty unless its default is, and holds no null byte.

    Raises:
        TypeError: a value has another type; the message has the field, the value and what is expected.
        ValueError: a value is out of range, or not one of the choices.

    Example:
        >>> @dataclasses.dataclass
        ... class Settings:
        ...     keep: Annotated[int, whole(1, 10)] = 3
        >>> check_fields(Settings())
        >>> check_fields(Settings(keep=0))
        Traceback (most recent call last):
        ...
        ValueError: keep is 0; expected a whole number from 1 to 10
    """
    hints = typing.get_type_hints(type(instance), include_extras=True)
    for field in dataclasses.fields(instance):
        _check_field(field.name, getattr(instance, field.name), hints[field.name], field.default == "")


def _check_field(name: str, value: Any, hint: Any, empty: bool = False) -> None:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        if value is None:
            return
        hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
    number = getattr(hint, "__metadata__", (None,))[0] or _PLAIN.get(hint)
    kind = typing.get_origin(hint) or hint
    if number is not None:
        if not number(value):
            error = ValueError if type(value) in (int, float) else TypeError
            raise error(f"{name} is {_shown(value)}; expected {number.expected}")
    elif kind is Literal:
        if not isinstance(value, str) or value not in typing.get_args(hint):
            raise unknown_name(name.replace("_", " "), value, typing.get_args(hint))
    elif not isinstance(value, kind):
        raise TypeError(f"{name} is {value!r}; expected a {'string' if kind is str else kind.__name__}")
    elif kind is tuple:
        for i, entry in enumerate(value):
            _check_field(f"{name}[{i}]", entry, typing.get_args(hint)[0])
    elif kind is str and ("\0" in value or not (value or empty)):
        raise ValueError(f"{name} is {value!r}; expected a string that is not empty, without null bytes")


def check_num_steps(num_steps: float | Array) -> Array:
    """The horizon as a float32 scalar.

    Raises:
        ValueError: if it is not a finite number of at least 1 or not a scalar (traced values: shape only).
        TypeError: if it is not a number, or not a whole one; 1e3 is fine.
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
    if value.ndim or not jnp.issubdtype(value.dtype, jnp.number) or np.iscomplexobj(value):
        raise ValueError(f"num_steps has shape {value.shape} and dtype {value.dtype}; expected a real scalar")
    number = float(value)
    if not 1.0 <= number <= float(np.finfo(np.float32).max):
        raise ValueError(f"num_steps is {value.item()}; expected a finite number of at least 1")
    if not number.is_integer():
        raise TypeError(f"num_steps is {number}; expected a whole number of steps")
    return jnp.asarray(value, jnp.float32)


def check_learning_rate(learning_rate: Any) -> None:
    """Refuses what is neither a scalar rate of at least 0, traced or not, nor a schedule.

    Raises:
        TypeError: if it is neither number nor schedule.
        ValueError: if it is an array that is no scalar, negative or not finite.
    """
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


def check_params(params: Any) -> Any:
    """Raises ValueError if ``update`` was called without the parameters, which learned optimizers read."""
    if params is None:
        raise ValueError(
            "a learned optimizer reads the parameters: call update(grads, state, params, value=loss)"
        )
    return params


def check_value(value: Any) -> Array:
    """The loss as a float32 scalar.

    Raises:
        ValueError: if it is missing or not a scalar.
        TypeError: if it is not a real floating-point number.
    """
    if value is None:
        raise ValueError(LOSS_MISSING)
    wrong = f"value is {value!r}; expected the scalar loss, a floating-point number"
    if isinstance(value, str):  # jnp.asarray warns of it
        raise TypeError(wrong)
    try:
        loss = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        raise TypeError(wrong) from error
    if not jnp.issubdtype(loss.dtype, jnp.floating):
        raise TypeError(wrong)
    if loss.ndim:
        raise ValueError(f"value has shape {loss.shape}; expected the scalar loss (reduce it first)")
    return loss.astype(jnp.float32)
