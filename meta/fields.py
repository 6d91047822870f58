"""One check for the fields of every dataclass that users fill in: by the annotations of its fields."""

from __future__ import annotations

import dataclasses
import functools
import math
import types
import typing
from typing import Any, Literal

from celo._core.names import unknown_name


@dataclasses.dataclass(frozen=True)
class Range:
    """What a number may be; written as ``Annotated[int, Range(1, 100)]``.

    Attributes:
        low: smallest value.
        high: largest value.
        above: whether ``low`` itself is excluded.
    """

    low: float
    high: float = math.inf
    above: bool = False

    def describe(self, whole: bool) -> str:
        """What is expected, in words."""
        if whole:
            return f"a whole number from {self.low} to {self.high}"
        if math.isinf(self.high):
            return f"a number above {self.low}" if self.above else f"a number of at least {self.low}"
        return f"a number from {self.low} to {self.high}"

    def holds(self, value: float) -> bool:
        """Whether a number lies within."""
        return (value > self.low if self.above else value >= self.low) and value <= self.high


def check_fields(instance: Any) -> None:
    """Check type and range of every field of a dataclass; call it in ``__post_init__``.

    Fields are annotated with bool, int, float, str, ``Literal`` choices, a class, ``tuple[X, ...]`` or
    ``X | None``; numbers with a `Range`. A bool is not a number, a float is not a whole number, and NaN is
    not a number. A string is not empty unless its default is, and holds no null byte.

    Raises:
        TypeError: a value has another type; the message has the field, the value and what is expected.
        ValueError: a value is out of range, or not one of the choices.

    Example:
        >>> @dataclasses.dataclass
        ... class Settings:
        ...     keep: typing.Annotated[int, Range(1, 10)] = 3
        >>> check_fields(Settings())
        >>> check_fields(Settings(keep=0))
        Traceback (most recent call last):
        ...
        ValueError: keep is 0; expected a whole number from 1 to 10
    """
    hints = _hints(type(instance))
    for field in dataclasses.fields(instance):
        value = getattr(instance, field.name)
        _check(field.name, value, hints[field.name], empty=field.default == "")


@functools.cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _check(name: str, value: Any, hint: Any, empty: bool = False) -> None:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        hint = next(part for part in typing.get_args(hint) if part is not types.NoneType)
        if value is None:
            return
    within = [part for part in getattr(hint, "__metadata__", ()) if isinstance(part, Range)]
    hint = typing.get_args(hint)[0] if hasattr(hint, "__metadata__") else hint
    if hint in (int, float):
        _check_number(name, value, hint is int, within[0] if within else Range(-math.inf))
    elif typing.get_origin(hint) is Literal:
        if not isinstance(value, str) or value not in typing.get_args(hint):
            raise unknown_name(name.replace("_", " "), value, typing.get_args(hint))
    elif typing.get_origin(hint) is tuple:
        _expect(name, value, isinstance(value, tuple), "a tuple")
        for i, entry in enumerate(value):
            _check(f"{name}[{i}]", entry, typing.get_args(hint)[0])
    elif hint is str:
        _expect(name, value, isinstance(value, str), "a string")
        if "\0" in value or not (value or empty):
            raise ValueError(f"{name} is {value!r}; expected a string that is not empty, without null bytes")
    else:
        _expect(name, value, isinstance(value, hint), f"a {hint.__name__}")


def _check_number(name: str, value: Any, whole: bool, within: Range) -> None:
    expected = within.describe(whole)
    _expect(name, value, type(value) is int or (type(value) is float and not whole), expected)
    if not (math.isfinite(value) if type(value) is float else True) or not within.holds(value):
        raise ValueError(f"{name} is {_shown(value)}; expected {expected}")


def _expect(name: str, value: Any, right: bool, expected: str) -> None:
    if not right:
        raise TypeError(f"{name} is {value!r}; expected {expected}")


def _shown(value: float) -> str:
    """The value, or its size where Python refuses to write it out or nobody would read it."""
    if isinstance(value, int) and abs(value) >= 10**30:
        return f"a whole number of {value.bit_length()} bits"
    return repr(value)
