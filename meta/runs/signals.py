"""SIGTERM and SIGINT as requests to stop at the next checkpoint."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """The first signal received, in ``signal``, or None."""

    def __init__(self) -> None:
        self.signal: signal.Signals | None = None

    @property
    def requested(self) -> bool:
        """Whether to stop at the next point from which the work can resume."""
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """128 plus the number of the signal, as in shells (SIGINT 130, SIGTERM 143), or 0 without one."""
        return 0 if self.signal is None else 128 + self.signal

    def _receive(self, number: int, _frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.requested:
            self.signal = signal.Signals(number)
            # print() is not safe here: the signal may interrupt another print().
            os.write(
                2, f"\n{self.signal.name}: stopping at the next checkpoint; Ctrl-C stops at once\n".encode()
            )


@contextlib.contextmanager
def stop_on_signals() -> Iterator[StopRequest]:
    """Turn the first SIGTERM or SIGINT into a request to stop; a Ctrl-C after it interrupts at once.

    Check ``requested`` in the loop, and exit with ``exit_code`` after the last checkpoint. The previous
    handlers return on exit. RuntimeError outside the main thread, the only one Python lets handle signals.

    Example:
        >>> with stop_on_signals() as stop:
        ...     for step in range(3):
        ...         if stop.requested:
        ...             break
        >>> stop.requested, stop.exit_code
        (False, 0)
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "stop_on_signals was called outside the main thread, the only one that receives signals"
        )
    stop = StopRequest()
    old = {number: signal.signal(number, stop._receive) for number in _SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
