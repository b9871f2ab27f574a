"""What threads of ours, and whoever waits for them, wait for."""

from __future__ import annotations

import _thread
import contextlib
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class Wakeup:
    """Something has changed: everybody who waits looks again.

    It is made of bare locks: Ctrl-C in the middle of a ``Condition`` or an ``Event`` can leave it locked for ever.
    """

    def __init__(self) -> None:
        #: Another object after each change: a number could be given twice by threads that count at the same time. Read it
        #: before what may change, and hand it to :meth:`wait`.
        self.version = object()
        # Everybody adds a lock and takes it out again; nobody replaces the list, in which another thread may be adding one.
        self._waiting: list[_thread.LockType] = []

    def notify(self) -> None:
        """Say that something has changed."""
        self.version = object()
        for lock in list(self._waiting):
            # It is open already if another thread does the same.
            with contextlib.suppress(RuntimeError):
                lock.release()

    def wait(self, version: object, timeout: float) -> None:
        """Wait until something has changed since ``version``, for ``timeout`` seconds at most."""
        lock = _thread.allocate_lock()
        lock.acquire()
        try:
            self._waiting.append(lock)
            # A change that came before the line above wakes nobody.
            if self.version is version:
                lock.acquire(timeout=min(max(timeout, 0.0), _thread.TIMEOUT_MAX))
        finally:
            # A signal may have come before it was added.
            with contextlib.suppress(ValueError):
                self._waiting.remove(lock)

    def wait_until(self, condition: Callable[[], bool], deadline: float) -> None:
        """Wait until ``condition`` is true, which is looked at after each change; until ``deadline`` on the monotonic clock."""
        while True:
            version = self.version
            left = deadline - time.monotonic()
            if condition() or left <= 0:
                return
            self.wait(version, left)
