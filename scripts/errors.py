"""How programs end when something is wrong: one clear message, no traceback, exit code 2."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def exit_with() -> Iterator[None]:
    """Turns the errors that users can mend into a message on stderr and exit code 2.

    Set CELO_TRACEBACK=1 to see where they come from.
    """
    try:
        yield
    except (ValueError, TypeError, OSError, RuntimeError, ImportError) as error:
        if os.environ.get("CELO_TRACEBACK"):
            raise
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
