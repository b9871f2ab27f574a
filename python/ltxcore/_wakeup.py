"""What threads of ours, and whoever waits for them, wait for."""

from __future__ import annotations

import _thread
import contextlib


class Wakeup:
    """Something has changed: everybody who waits looks again.

    It is made of bare locks: Ctrl-C in the middle of a ``Condition`` or an ``Event`` can leave it locked for ever.
    """

    def __init__(self) -> None:
        #: Another number after each change. Read it before what may change, and hand it to :meth:`wait`.
        self.version = 0
        self._waiting: list[_thread.LockType] = []

    def notify(self) -> None:
        """Say that something has changed."""
        self.version += 1
        waiting, self._waiting = self._waiting, []
        for lock in waiting:
            # It is open already if another thread does the same.
            with contextlib.suppress(RuntimeError):
                lock.release()

    def wait(self, version: int, timeout: float) -> None:
        """Wait until something has changed since ``version``, for ``timeout`` seconds at most."""
        lock = _thread.allocate_lock()
        lock.acquire()
        self._waiting.append(lock)
        # A change that came before the line above wakes nobody.
        if self.version == version:
            lock.acquire(timeout=min(max(timeout, 0.0), _thread.TIMEOUT_MAX))
