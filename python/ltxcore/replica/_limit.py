"""A limit on the requests to one replica in any hour."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: The smallest limit. With less, an upload would have to wait for ten minutes and more.
LEAST = 10
#: This part of the limit may be used at once; the rest comes evenly over the hour.
_BURST = 0.1
_HOUR = 3600.0
#: Reads do not count: a restore must not wait, and a read costs a twelfth of an upload.
_READS = frozenset({"GetObject"})


class RequestLimit:
    """Says how long the next request has to wait, so that no hour has more than ``per_hour``.

    A tenth of them may be sent at once, and what is used comes back evenly, at nine tenths of the limit an hour. Requests that
    are sent although they should wait count all the same, and put off later ones.

    Args:
        per_hour: how many requests in any hour.
        sent: how many requests were sent so far, by the name of the operation.
        clock: the time in seconds.
    """

    def __init__(
        self,
        per_hour: int,
        sent: Callable[[], Mapping[str, int]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.per_hour = per_hour
        self._sent = sent
        self._clock = clock
        self._burst = per_hour * _BURST
        self._rate = (per_hour - self._burst) / _HOUR
        self._lock = threading.Lock()
        self._left = self._burst
        self._counted, self._at = self._count(), clock()

    @property
    def interval(self) -> float:
        """The time between two requests that can be kept up for ever, in seconds."""
        return 1 / self._rate

    def delay(self) -> float:
        """How long the next request has to wait from now on, in seconds; 0 if it may be sent."""
        with self._lock:
            now, counted = self._clock(), self._count()
            self._left = min(self._left + (now - self._at) * self._rate, self._burst)
            self._left -= counted - self._counted
            self._counted, self._at = counted, now
            return max(1 - self._left, 0.0) / self._rate

    def _count(self) -> int:
        return sum(number for operation, number in self._sent().items() if operation not in _READS)
