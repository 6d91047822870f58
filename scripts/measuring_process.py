"""A child process that measures on request: one that hangs or dies costs an answer, not the program."""

from __future__ import annotations

import contextlib
import json
import queue
import signal
import subprocess
import sys
import threading
from typing import IO, Any


class UnansweredError(RuntimeError):
    """A request that got no answer: the reason."""


class MeasuringProcess:
    """Asks `python -m scripts.benchmark WORKER` one thing at a time, a line of JSON each way.

    The process is started when it is first asked, and anew after it was lost.

    Args:
        worker: name of the subcommand.
        time_limit: seconds to wait for an answer.
    """

    def __init__(self, worker: str, time_limit: float):
        self._command = [sys.executable, "-m", "celo.scripts.benchmark", worker]
        self._limit = time_limit
        self._child: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._lines: queue.Queue[str] = queue.Queue()

    def __enter__(self) -> MeasuringProcess:
        return self

    def __exit__(self, *exception: object) -> None:
        self._end()

    def ask(self, request: dict[str, Any]) -> dict[str, Any]:
        """The answer to a request.

        Raises:
            UnansweredError: if the process says so, dies, or does not answer in time.
        """
        child = self._child or self._start()
        assert child.stdin is not None  # a pipe was asked for
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
            raise UnansweredError(self._obituary())
        answer = json.loads(line)
        if "error" in answer:
            raise UnansweredError(answer["error"])
        return answer

    def _start(self) -> subprocess.Popen[str]:
        self._lines = queue.Queue()
        pipe = subprocess.PIPE
        self._child = subprocess.Popen(self._command, stdin=pipe, stdout=pipe, text=True)
        self._reader = threading.Thread(target=_read, args=(self._child.stdout, self._lines), daemon=True)
        self._reader.start()
        return self._child

    def _obituary(self) -> str:
        """How the process ended by itself."""
        assert self._child is not None  # it was asked something
        self._child.wait()
        code = self._child.returncode
        self._end()
        if code == -signal.SIGKILL:
            return "the process was killed (signal SIGKILL), as happens when memory runs out"
        if code < 0:
            return f"the process was ended by signal {signal.Signals(-code).name}"
        return f"the process ended with exit code {code}"

    def _end(self) -> None:
        """Ends the process, if it is there, and closes its pipes."""
        if self._child is None or self._reader is None:
            return
        self._child.kill()
        self._reader.join()  # it stops at the end of the pipe
        with contextlib.suppress(BrokenPipeError):  # what was not sent is not wanted any more
            self._child.__exit__(None, None, None)
        self._child = self._reader = None


def _read(stream: IO[str], lines: queue.Queue[str]) -> None:
    """Hands over lines; an empty one at the end."""
    for line in stream:
        lines.put(line)
    lines.put("")
