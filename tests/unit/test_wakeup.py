"""What threads of ours wait for: that nobody misses a change, and that nothing is left of a wait."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from ltxcore._process.wakeup import Wakeup


class Watched(Wakeup):
    """Calls back where another thread, or a signal, might come in between."""

    def __init__(self) -> None:
        self.given: list[object] = []
        self.on_version_read: Callable[[], None] | None = None
        self.on_version_set: Callable[[], None] | None = None
        self.on_list_read: Callable[[], None] | None = None
        super().__init__()

    def _call(self, name: str) -> None:
        callback = getattr(self, name)
        setattr(self, name, None)
        if callback is not None:
            callback()

    @property
    def version(self) -> Any:
        found = self.given[-1]
        self._call("on_version_read")
        return found

    @version.setter
    def version(self, value: object) -> None:
        self.given.append(value)
        self._call("on_version_set")

    @property
    def _waiting(self) -> Any:
        found = self._locks
        self._call("on_list_read")
        return found

    @_waiting.setter
    def _waiting(self, value: Any) -> None:
        self._locks = value


def test_a_wait_that_times_out_leaves_nothing() -> None:
    """One lock was kept for every second that a database was absent."""
    wakeup = Wakeup()
    for _ in range(3):
        wakeup.wait(wakeup.version, 0.001)
    assert wakeup._waiting == []


def test_a_wait_leaves_nothing_when_it_is_woken_or_late() -> None:
    wakeup = Wakeup()
    version = wakeup.version
    threads = [threading.Thread(target=wakeup.wait, args=(version, 20)) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.05)
    wakeup.notify()
    wakeup.notify()
    for thread in threads:
        thread.join(5)
    wakeup.wait(version, 20)  # the change is older than the wait
    assert not any(thread.is_alive() for thread in threads)
    assert wakeup._waiting == []


@pytest.fixture
def interrupted() -> Iterator[None]:
    """A signal that raises in the main thread in a moment, as Ctrl-C does."""

    def handle(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGUSR1, handle)
    main = threading.main_thread().ident
    assert main is not None
    timer = threading.Timer(0.1, signal.pthread_kill, (main, signal.SIGUSR1))
    timer.start()
    yield
    timer.join()
    signal.signal(signal.SIGUSR1, before)


@pytest.mark.usefixtures("interrupted")
def test_a_wait_that_is_interrupted_leaves_nothing() -> None:
    wakeup = Wakeup()
    with pytest.raises(KeyboardInterrupt):
        wakeup.wait(wakeup.version, 20)
    assert wakeup._waiting == []


def test_a_signal_handler_may_notify_in_the_middle_of_a_notify() -> None:
    """Both counted to the same number, and whoever had read it in between was not woken."""
    wakeup = Watched()
    wakeup.on_version_read = wakeup.notify
    wakeup.notify()
    assert not any(one == other for n, one in enumerate(wakeup.given) for other in wakeup.given[:n])


def test_who_begins_to_wait_during_a_change_hears_of_the_next() -> None:
    """It was put into a list that had just been replaced, and nobody looked there again."""
    wakeup = Watched()
    has_list, go_on = threading.Event(), threading.Event()

    def pause() -> None:
        has_list.set()
        go_on.wait(10)

    def wait() -> None:
        version = wakeup.version
        wakeup.on_list_read = pause
        wakeup.wait(version, 10)

    waiting = threading.Thread(target=wait)

    def begin_to_wait() -> None:
        waiting.start()
        has_list.wait(10)

    wakeup.on_version_set = begin_to_wait
    wakeup.notify()
    go_on.set()
    waiting.join(0.1)
    assert waiting.is_alive()
    wakeup.notify()
    waiting.join(5)
    assert not waiting.is_alive()
