"""Signals that ask to stop: raised where the process is, or at the end of what defers them, and once."""

from __future__ import annotations

import os
import signal

import pytest

from sdft_exp.stopping import SIGNALS, Stopped, asked, deferred

pytestmark = pytest.mark.usefixtures("listening")


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_raises_where_the_process_is(number: signal.Signals) -> None:
    with pytest.raises(Stopped) as stopped:
        os.kill(os.getpid(), number)
    assert stopped.value.number == number


def test_a_deferred_signal_waits_for_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(Stopped), deferred():
        os.kill(os.getpid(), signal.SIGUSR2)
        assert asked()
        print("saved")
    assert capsys.readouterr().out == "saved\n"


def test_an_error_inside_is_not_hidden_by_the_signal() -> None:
    with pytest.raises(ValueError), deferred():
        os.kill(os.getpid(), signal.SIGUSR2)
        raise ValueError


def test_a_second_signal_does_not_disturb_the_way_out() -> None:
    with pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGUSR2)
    os.kill(os.getpid(), signal.SIGTERM)
    assert asked()
