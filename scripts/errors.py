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

    Set CELO_TRACEBACK=1 to see the traceback. A reader that closes the pipe early, such as ``head``, ends the
    program silently with code 1.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # Python flushes once more at exit
        sys.exit(1)
    except _EXPECTED as error:
        if os.environ.get("CELO_TRACEBACK"):
            raise
        print(f"error: {str(error) or type(error).__name__}", file=sys.stderr)
        sys.exit(2)
