"""Calls that may never return are reported while they last: nobody else could tell that they hang."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from ltxcore._process.log import Log

#: A call is reported when it has lasted for so many seconds, and again whenever it has lasted twice as long.
REPORT_AFTER = 20.0
#: How often calls that last are looked at, in seconds. While there are none, nothing wakes up.
_INTERVAL = 5.0


class WatchedCall:
    """Around work of one kind, by one thread at a time. A context manager, to be used again and again.

    Args:
        what: such as ``"upload of app.db has not finished a file for"``; the log has the seconds behind it.
        log: where calls that last are reported.
    """

    def __init__(self, what: str, log: Log) -> None:
        self._what = what
        self._log = log
        self._began: float | None = None
        self._report_at = REPORT_AFTER

    @property
    def seconds(self) -> float | None:
        """How long it has lasted since the last advance; ``None`` if nothing is under way."""
        began = self._began
        return None if began is None else time.monotonic() - began

    def __enter__(self) -> Self:
        self.advance()
        _watchdog.watch(self)
        return self

    def advance(self) -> None:
        """Something was done: the time counts from here."""
        self._report_at = REPORT_AFTER
        self._began = time.monotonic()

    def __exit__(self, *exc_info: object) -> None:
        self._began = None
        _watchdog.forget(self)

    def check(self) -> None:
        """Report the call if it is time to."""
        lasted = self.seconds
        if lasted is not None and lasted >= self._report_at:
            self._report_at = lasted * 2
            self._log.warning("%s %.0f s", self._what, lasted)


class _Watchdog:
    """One thread for all calls of the process, started by the first one."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Begin afresh: a forked child has none of the threads, and locks that nobody may ever release."""
        self._calls: set[WatchedCall] = set()
        self._busy = threading.Event()
        self._lock = threading.Lock()
        self._is_running = False

    def watch(self, call: WatchedCall) -> None:
        """A call has begun."""
        self._calls.add(call)
        if not self._busy.is_set():
            self._busy.set()
        if not self._is_running:
            # Without a thread nothing is reported, which is no reason for the call to fail.
            with contextlib.suppress(RuntimeError):
                self._start()

    def forget(self, call: WatchedCall) -> None:
        """A call has returned."""
        self._calls.discard(call)

    def _start(self) -> None:
        with self._lock:
            if not self._is_running:
                threading.Thread(target=self._run, name="ltxcore-watchdog", daemon=True).start()
                self._is_running = True

    def _run(self) -> None:
        try:
            while self._busy.wait():
                self._busy.clear()
                while calls := tuple(self._calls):
                    for call in calls:
                        call.check()
                    time.sleep(_INTERVAL)
        finally:
            # Where the clock is bent `sleep` may fail; the next call starts it again.
            self._is_running = False


_watchdog = _Watchdog()
os.register_at_fork(after_in_child=_watchdog.reset)
