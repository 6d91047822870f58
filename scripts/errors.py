"""How programs end when something is wrong: one clear message, no traceback, exit code 2."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

# RuntimeError covers RecursionError and the error of JAX for a device with too little memory.
_EXPECTED = (
    ValueError,
    TypeError,
    OSError,
    RuntimeError,
    ImportError,
    MemoryError,
    OverflowError,
    SystemError,
)


@contextlib.contextmanager
def exit_with() -> Iterator[None]:
    """Turn the errors that bad input causes into a message on stderr and exit code 2.

    Set CELO_TRACEBACK=1 to see the traceback.
    """
    try:
        yield
    except _EXPECTED as error:
        if os.environ.get("CELO_TRACEBACK"):
            raise
        print(f"error: {str(error) or type(error).__name__}", file=sys.stderr)
        sys.exit(2)
