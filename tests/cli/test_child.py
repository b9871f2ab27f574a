"""The process of `replicate --exec`, and the queue of events."""

import os
import signal
import sys
import time

import pytest

from ltxcore.cli._child import Child, Events, Finished, Signalled
from ltxcore.errors import Error

pytestmark = pytest.mark.process


def python(code):
    return Child([sys.executable, "-c", code])


@pytest.mark.parametrize("code", [0, 1, 3, 255])
def test_the_exit_code_is_the_childs(code):
    assert python(f"raise SystemExit({code})").wait() == code


def test_a_child_that_is_killed_by_others(tmp_path):
    assert python("import os, signal; os.kill(os.getpid(), signal.SIGKILL)").wait() == 128 + signal.SIGKILL


def test_a_child_that_dies_of_what_it_was_sent():
    child = python("import time; time.sleep(60)")
    child.forward(signal.SIGTERM)
    assert child.wait() == 0


def test_a_child_may_answer_a_signal_with_a_code(tmp_path):
    ready = tmp_path / "ready"
    child = python(
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        # Python may sleep on if a signal comes right before a sleep.
        "while True: time.sleep(0.1)"
    )
    while not ready.exists():
        time.sleep(0.01)
    child.forward(signal.SIGTERM)
    assert child.wait() == 7


def test_a_signal_to_a_child_that_is_gone():
    child = python("")
    assert child.wait() == 0
    child.forward(signal.SIGTERM)


def test_a_program_that_is_not_there():
    with pytest.raises(Error, match="cannot start ltxcore-has-no-such-program") as caught:
        Child(["ltxcore-has-no-such-program"])
    assert isinstance(caught.value.__cause__, FileNotFoundError)


def test_signals_become_events_and_handlers_come_back():
    before = signal.getsignal(signal.SIGTERM)
    with Events() as events:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert {events.next(), events.next()} == {Signalled(signal.SIGTERM), Signalled(signal.SIGINT)}
    assert signal.getsignal(signal.SIGTERM) is before


def test_the_end_of_a_thread_is_an_event():
    with Events() as events:
        events.start(lambda: 5)
        assert events.next() == Finished(5)
        failure = ValueError("no")
        events.start(lambda: (_ for _ in ()).throw(failure))
        assert events.next() == Finished(error=failure)
        events.start(lambda: 6, "the second")
        assert events.next() == Finished(6, what="the second")


def test_a_signal_wakes_the_waiting_thread():
    with Events() as events:
        events.start(lambda: time.sleep(0.05) or os.kill(os.getpid(), signal.SIGTERM))
        assert {events.next(), events.next()} == {Signalled(signal.SIGTERM), Finished()}
