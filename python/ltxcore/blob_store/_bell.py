"""What a thread waits for when another one has something for it."""

from __future__ import annotations

import _thread
import contextlib


class Bell:
    """Rung by anybody, heard by one. To ring twice before it is heard is to ring once.

    It is a bare lock, which is held while there is nothing to hear: a signal can leave a ``Condition`` locked for ever.
    """

    __slots__ = ("_silence",)

    def __init__(self) -> None:
        self._silence = _thread.allocate_lock()
        self._silence.acquire()

    def ring(self) -> None:
        """Wake who waits, or who will."""
        with contextlib.suppress(RuntimeError):
            self._silence.release()

    def wait(self, timeout: float = -1) -> bool:
        """Wait until it is rung; whether it was within ``timeout`` seconds, where -1 is for ever."""
        return self._silence.acquire(timeout=timeout)
