"""What tests of commands share: a task that compiles fast, and the message of a refused command."""

import re

import pytest

from celo.evaluation import sweep
from tests.scripts.made import BOWL, TASK


@pytest.fixture
def bowl(monkeypatch, tmp_path):
    """A parabola in place of the task of the same name, the devices of this process, and an empty cache."""
    real = sweep.make
    monkeypatch.setattr(sweep, "make", lambda name, *a, **k: BOWL if name == TASK else real(name, *a, **k))
    monkeypatch.setattr("celo.scripts.devices.set_up", lambda devices: None)
    monkeypatch.setenv("CELO_CACHE", str(tmp_path.with_name("cache")))


@pytest.fixture
def refused(capsys):
    """Runs a command that must refuse its arguments; the message without frames and line breaks."""

    def run(main, argv):
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in argv])
        captured = capsys.readouterr()
        assert (ended.value.code, captured.out) == (2, ""), captured
        assert "Traceback" not in captured.err
        return re.sub(r"[\s│]+", " ", captured.err).strip()

    return run
