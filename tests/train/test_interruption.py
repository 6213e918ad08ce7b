"""Signals that ask a training to stop, and those that it does not obey."""

from __future__ import annotations

import signal

import pytest

from stylize_video_train.interruption import stop_on_signals


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("ignored", [False, True])
def test_what_is_ignored_stays_ignored(number: signal.Signals, ignored: bool) -> None:
    """As SIGINT is in the background of a script, and SIGHUP under nohup."""
    handler = signal.SIG_IGN if ignored else signal.default_int_handler
    before = signal.signal(number, handler)
    try:
        with stop_on_signals() as stop:
            signal.raise_signal(number)
        assert stop.signal_number == (0 if ignored else number)
        assert signal.getsignal(number) == handler
    finally:
        signal.signal(number, before)
