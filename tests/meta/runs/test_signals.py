"""Signals are requests to stop, received by the main thread."""

import signal
import threading

import pytest

from celo.meta.runs.signals import stop_on_signals


def test_signals_are_requests_and_handlers_come_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    with stop_on_signals() as stop:
        assert (stop.requested, stop.exit_code, stop.signal) == (False, 0, None)
        signal.raise_signal(signal.SIGTERM)
        assert (stop.requested, stop.exit_code, stop.signal) == (True, 143, signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)  # a scheduler repeats itself; a person insists
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)] == before


def test_signals_are_received_by_the_main_thread_only() -> None:
    raised: list[BaseException] = []

    def enter() -> None:
        try:
            with stop_on_signals():
                pass
        except RuntimeError as error:
            raised.append(error)

    thread = threading.Thread(target=enter)
    thread.start()
    thread.join()
    assert "outside the main thread" in str(raised[0])
