"""Errors of the dataset loaders, and the one place where errors of foreign parsers become ours."""

import contextlib
from collections.abc import Iterator


class DatasetNotFoundError(FileNotFoundError):
    """A known dataset that is neither embedded, nor in a folder or cache, nor on the hub."""


class DatasetFormatError(ValueError):
    """A file of a dataset that is truncated, corrupt, or has other columns or shapes than expected."""


@contextlib.contextmanager
def reading(what: object, expected: str) -> Iterator[None]:
    """Raise any error of a parser as a `DatasetFormatError` that names the file and what was expected.

    Every parser of a foreign file runs inside it: libraries raise nearly anything for a damaged file
    (`SyntaxError` for a PNG, `RecursionError` for nested JSON, a Rust panic, which is not an `Exception`).

    Example:
        >>> import json
        >>> with reading("tokenizer.json", "JSON"):
        ...     json.loads("[" * 100_000)
        Traceback (most recent call last):
        ...
        celo.meta.data.errors.DatasetFormatError: tokenizer.json is not JSON (RecursionError: ...)
    """
    try:
        yield
    except (DatasetFormatError, DatasetNotFoundError, ImportError):
        raise
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
            raise  # an interrupt, or the end of a generator
        reason = f"{type(error).__name__}: {error!s:.300}"
        raise DatasetFormatError(f"{what} is not {expected} ({reason})") from error
