"""Names and options that are looked up in a registry, and the errors for those that are not there."""

from __future__ import annotations

import ast
import difflib
import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, TypeVar

Entry = TypeVar("Entry")


def nearest(name: object, known: Iterable[str]) -> str:
    """A question for an error message: the known names nearest to the one given, or nothing if none is near.

    >>> nearest("adm", ["sgd", "adam"])
    " Did you mean 'adam'?"
    """
    near = difflib.get_close_matches(str(name), sorted(known), n=3, cutoff=0.5)
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def hint(name: object, known: Iterable[str]) -> str:
    """The end of an error message: the known names nearest to the one given, and all of them.

    >>> hint("adm", ["sgd", "adam"])
    " Did you mean 'adam'? Known: adam, sgd."
    """
    known = sorted(known)
    return f"{nearest(name, known)} Known: {', '.join(known) or 'none'}."


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Builds the error for a name outside a registry.

    Args:
        kind: what the name should be, such as "dataset".
        name: the name that was given.
        known: every name there is.

    Returns:
        A ValueError that names the nearest known names and lists all of them.
    """
    return ValueError(f"Unknown {kind} {name!r}.{hint(name, known)}")


def lookup(kind: str, name: object, registry: Mapping[str, Entry]) -> Entry:
    """The entry of a registry.

    Args:
        kind: what the name should be, for the message.
        name: the name that was given; it may be anything, also what no dictionary takes as a key.
        registry: the entries, by name.

    Raises:
        ValueError: as `unknown_name` builds it, if there is none of that name.
    """
    if not isinstance(name, str) or name not in registry:
        raise unknown_name(kind, name, registry)
    return registry[name]


def options(factory: Callable[..., Any], reserved: Collection[str] = ()) -> list[str]:
    """Names of the arguments that a factory leaves open.

    Args:
        factory: a function, a class, or a `functools.partial`, whose keywords count as settled.
        reserved: arguments that are no options.
    """
    settled = factory.keywords if isinstance(factory, functools.partial) else {}
    return [name for name in inspect.signature(factory).parameters if name not in {*settled, *reserved}]


def check_options(owner: str, config: Mapping[str, Any], known: Collection[str]) -> None:
    """Refuses options that do not exist.

    Args:
        owner: the name of what is configured.
        config: the options given, by name.
        known: the options there are.

    Raises:
        TypeError: naming the first option that is not known, the nearest known ones and all of them.
    """
    for option in config:
        if option not in known:
            raise TypeError(f"{owner} has no option {option!r}.{hint(option, known)}")


def parse_option(text: str) -> tuple[str, Any]:
    """Name and value of an option written as ``NAME=VALUE``.

    >>> parse_option("ff_mult=100.0"), parse_option("form=linear")
    (('ff_mult', 100.0), ('form', 'linear'))

    Args:
        text: the option; its value is a Python literal, or else a string.

    Raises:
        ValueError: if it is not of that form.
    """
    name, equals, value = text.partition("=")
    if not (name and equals):
        raise ValueError(f"option {text!r} of the optimizer is not of the form NAME=VALUE")
    try:
        return name, ast.literal_eval(value)
    except (ValueError, SyntaxError):
        return name, value
