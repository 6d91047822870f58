"""What tests of meta-training and of run folders share: started processes, and runs that compile nothing."""

import subprocess
from collections.abc import Callable, Generator

import pytest

from celo.meta import trainer
from tests.conftest import ROOT
from tests.meta.tiny_recipe import StoppedError
from tests.meta.trainer_child import environment

Start = Callable[[list[str]], subprocess.Popen[str]]


@pytest.fixture
def stops(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs begin, and end with a `StoppedError` where something would be compiled."""

    def stop(*args: object, **kwargs: object) -> None:
        raise StoppedError

    monkeypatch.setattr(trainer, "StageProgram", stop)


@pytest.fixture
def start() -> Generator[Start, None, None]:
    """Start a command in the checkout; whatever still runs at the end of the test is killed."""
    children: list[subprocess.Popen[str]] = []

    def started(command: list[str]) -> subprocess.Popen[str]:
        pipe = subprocess.PIPE
        child = subprocess.Popen(command, cwd=ROOT, env=environment(), text=True, stdout=pipe, stderr=pipe)
        children.append(child)
        return child

    yield started
    for child in children:
        child.kill()
        child.communicate()
