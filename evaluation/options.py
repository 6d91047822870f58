"""Options of an optimizer under test, ``NAME[option=value,option=value|value]``, taken apart."""

from __future__ import annotations

import math
from collections.abc import Mapping

from celo.evaluation.spec import is_file

Value = float | bool | str | None

_MOST_CHARACTERS = 2000
_WORDS: Mapping[str, Value] = {"true": True, "false": False, "none": None}


def split_options(text: str) -> tuple[str, dict[str, tuple[Value, ...]]]:
    """The text before the brackets, and the values of each option within; no options without brackets.

    A value is a number, ``true``, ``false``, ``none`` or a word; ``|`` separates the values of a grid. The
    path of an existing file has no options, even if it ends with a bracket.

    Raises:
        ValueError: the brackets are not closed at the end of the text, or hold something else than
            ``NAME=VALUE``, one option twice, or too much.

    Example:
        >>> split_options("adamw@1e-3[weight_decay=0|0.1,schedule=cosine]")
        ('adamw@1e-3', {'weight_decay': (0, 0.1), 'schedule': ('cosine',)})
    """
    head, opened, inside = text.partition("[")
    if text.endswith("]"):
        head, opened, inside = text.rpartition("[")
    elif "/" in text:  # a bracket in the middle of a path
        opened = ""
    if not opened or is_file(text) or is_file(text.partition(":")[2]):
        return text, {}
    if not inside.endswith("]") or not head:
        raise ValueError(
            f"the options of {_short(text)} do not end with ']'; expected NAME[option=value,...]"
        )
    if len(inside) > _MOST_CHARACTERS:
        raise ValueError(
            f"the options of {_short(text)} are too long; expected at most {_MOST_CHARACTERS:,} characters"
        )
    found: dict[str, tuple[Value, ...]] = {}
    for part in inside[:-1].split(","):
        name, equals, values = (piece.strip() for piece in part.partition("="))
        if not (name.isidentifier() and equals and values):
            raise ValueError(f"the option {part.strip()!r} of {_short(text)} is not of the form NAME=VALUE")
        if name in found:
            raise ValueError(f"the option {name} of {_short(text)} is given twice; expected NAME=VALUE|VALUE")
        found[name] = _values(name, values)
    return head, found


def written(options: Mapping[str, tuple[Value, ...]]) -> str:
    """Options in their brackets, as `split_options` reads them; "" without any."""
    words = {value: word for word, value in _WORDS.items() if not isinstance(value, str)}

    def shown(value: Value) -> str:
        return words[value] if value is None or isinstance(value, bool) else str(value)

    parts = [f"{name}={'|'.join(map(shown, values))}" for name, values in options.items()]
    return f"[{','.join(parts)}]" if parts else ""


def _values(name: str, text: str) -> tuple[Value, ...]:
    """The values of a grid ``a|b|c``, each different."""
    values = tuple(_value(name, part.strip()) for part in text.split("|"))
    if len({(isinstance(value, bool), value) for value in values}) < len(values):
        raise ValueError(f"the option {name} has equal values: {text}")
    return values


def _value(name: str, word: str) -> Value:
    if word.lower() in _WORDS:
        return _WORDS[word.lower()]
    if word.isidentifier() and word.lower() not in ("nan", "inf", "infinity"):
        return word
    try:
        number = float(word)
    except ValueError:
        number = math.nan
    if not math.isfinite(number) or "_" in word:
        raise ValueError(f"the option {name} is {word!r}; expected a finite number or a word")
    return int(word) if word.lstrip("+-").isdecimal() and len(word) < 19 else number


def _short(text: str) -> str:
    return repr(text if len(text) <= 200 else f"{text[:200]}...")
