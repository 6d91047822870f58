"""What all benchmarks share: a child process that measures on request, and the file of figures."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import signal
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from celo._core.files import write_atomically


class UnansweredError(RuntimeError):
    """A measurement without a result: the reason."""


class MeasuringProcess:
    """A child process that calls functions of this package, one at a time.

    A function that hangs, runs out of memory or dies costs one answer; the next request starts a new process.

    Args:
        time_limit: seconds to wait for an answer; None = no limit.
        cached: whether the process may use JAX's compilation cache on disk.
    """

    def __init__(self, time_limit: float | None = None, cached: bool = True):
        self.time_limit, self._cached = time_limit, cached
        self._child: Any = None

    def __enter__(self) -> MeasuringProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def ask(self, function: Callable[..., Any], **arguments: Any) -> Any:
        """Returns what a function at the top level of a module returns in the child process.

        Raises:
            UnansweredError: the function ran out of memory, the process died, or the time limit passed.
        """
        if self._child is None:
            context = multiprocessing.get_context("spawn")  # a fork would share JAX's threads
            self._pipe, far = context.Pipe()
            self._child = context.Process(target=_answer, args=(far, self._cached), daemon=True)
            self._child.start()
            far.close()
        try:
            self._pipe.send((function, arguments))
            if not self._pipe.poll(self.time_limit):
                self._end()
                raise UnansweredError(f"no result within {self.time_limit:g} s")
            result, error = self._pipe.recv()
        except (EOFError, OSError):
            self._child.join()
            raise UnansweredError(_cause_of_death(self._end())) from None
        if error:
            raise UnansweredError(error)
        return result

    def _end(self) -> int:
        """Kills the process, and returns its exit code."""
        child, self._child = self._child, None
        if child is None:
            return 0
        child.kill()
        child.join()
        self._pipe.close()
        return child.exitcode


def _cause_of_death(code: int) -> str:
    if code == -signal.SIGKILL:
        return "the process was killed (signal SIGKILL), as happens when memory runs out"
    if code < 0:
        return f"the process was ended by signal {signal.Signals(-code).name}"
    return f"the process ended with exit code {code}"


def _answer(pipe: Connection, cached: bool) -> None:
    """Answers requests until the other end closes; running out of memory is an answer too."""
    import jax

    if not cached:
        jax.config.update("jax_compilation_cache_dir", None)
    with contextlib.redirect_stdout(sys.stderr), contextlib.suppress(EOFError):  # stdout is for figures
        while True:
            function, arguments = pipe.recv()
            try:
                answer = (function(**arguments), "")
            except (MemoryError, jax.errors.JaxRuntimeError) as error:
                answer = (None, str(error).partition("\n")[0] or type(error).__name__)
            pipe.send(answer)


def publish(figures: dict[str, Any], path: str) -> None:
    """Prints figures as JSON, and writes them to a file unless its name is empty."""
    text = json.dumps(figures, indent=2)
    print(text)
    if path:
        write_atomically(Path(path), f"{text}\n".encode())
