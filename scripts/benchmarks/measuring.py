"""What all benchmarks share: a child process that measures on request, and the file of figures."""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import queue
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

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
        self._command = [sys.executable, "-m", "celo.scripts.benchmarks.measuring"]
        self._limit = time_limit
        hidden = () if cached else ("JAX_COMPILATION_CACHE_DIR",)
        self._environment = {name: value for name, value in os.environ.items() if name not in hidden}
        self._child: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._lines: queue.Queue[str] = queue.Queue()

    def __enter__(self) -> MeasuringProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def ask(self, function: Callable[..., Any], **arguments: Any) -> Any:
        """Returns what the function returns in the child process.

        Args:
            function: a function at the top level of a module.
            **arguments: its arguments; they and the result must be values that JSON can hold.

        Raises:
            UnansweredError: the function ran out of memory, the process died, or the time limit passed.
        """
        child = self._child or self._start()
        request = {"function": f"{function.__module__}:{function.__qualname__}", "arguments": arguments}
        assert child.stdin is not None  # it is a pipe
        try:
            child.stdin.write(json.dumps(request) + "\n")
            child.stdin.flush()
            line = self._lines.get(timeout=self._limit)
        except queue.Empty:
            self._end()
            raise UnansweredError(f"no result within {self._limit:g} s") from None
        except BrokenPipeError:
            line = ""
        if not line:
            raise UnansweredError(self._cause_of_death(child))
        answer = json.loads(line)
        if "error" in answer:
            raise UnansweredError(answer["error"])
        return answer["result"]

    def _start(self) -> subprocess.Popen[str]:
        pipe, self._lines = subprocess.PIPE, queue.Queue()
        self._child = subprocess.Popen(
            self._command, env=self._environment, stdin=pipe, stdout=pipe, text=True
        )
        self._reader = threading.Thread(target=_read, args=(self._child.stdout, self._lines), daemon=True)
        self._reader.start()
        return self._child

    def _cause_of_death(self, child: subprocess.Popen[str]) -> str:
        code = child.wait()
        self._end()
        if code == -signal.SIGKILL:
            return "the process was killed (signal SIGKILL), as happens when memory runs out"
        if code < 0:
            return f"the process was ended by signal {signal.Signals(-code).name}"
        return f"the process ended with exit code {code}"

    def _end(self) -> None:
        """Kills the process and closes its pipes."""
        child, self._child = self._child, None
        if child is not None and self._reader is not None:
            child.kill()
            self._reader.join()  # it stops at the end of the pipe
            with contextlib.suppress(BrokenPipeError):  # an unsent request is of no use any more
                child.__exit__(None, None, None)


def _read(stream: IO[str], lines: queue.Queue[str]) -> None:
    for line in stream:
        lines.put(line)
    lines.put("")


def publish(figures: dict[str, Any], path: str) -> None:
    """Prints figures as JSON, and writes them to a file unless its name is empty."""
    text = json.dumps(figures, indent=2)
    print(text)
    if path:
        write_atomically(Path(path), f"{text}\n".encode())


def answer(request: dict[str, Any]) -> dict[str, Any]:
    """Calls the function of a request; running out of memory is an answer too."""
    import jax

    module, _, name = request["function"].partition(":")
    try:
        return {"result": getattr(importlib.import_module(module), name)(**request["arguments"])}
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        return {"error": str(error).partition("\n")[0]}


def main() -> None:
    """Answers requests on stdin until it ends, a line of JSON each way."""
    answers = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):  # stdout carries nothing but answers
        for line in sys.stdin:
            print(json.dumps(answer(json.loads(line))), file=answers, flush=True)


if __name__ == "__main__":
    main()
