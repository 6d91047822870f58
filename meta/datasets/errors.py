"""Errors of the dataset loaders, each saying what was asked, what was found and what would help."""

import difflib
from collections.abc import Iterable


class DatasetNotFoundError(FileNotFoundError):
    """A known dataset that is neither embedded, nor in a folder or cache, nor on the hub."""


class DatasetFormatError(ValueError):
    """A file of a dataset that is truncated, corrupt, or holds other columns or shapes than it should."""


def unknown_name(kind: str, name: object, known: Iterable[str]) -> ValueError:
    """Build the error for a name outside a registry.

    Args:
        kind: what the name should be, such as "dataset".
        name: the name that was given.
        known: every name there is.

    Returns:
        A ValueError that names the nearest known names and lists all of them.
    """
    known = sorted(known)
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(map(repr, near))}?" if near else ""
    return ValueError(f"Unknown {kind} {name!r}.{hint} Known: {', '.join(known)}.")
