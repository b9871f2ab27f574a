"""How many requests a replica takes, and what they cost."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_HOUR, _DAY = 3600.0, 86_400.0
_DAYS_OF_MONTH = 30
#: No rate is known before so many seconds are over, and there is one sample in so many.
_SHORTEST = 60.0

#: Operations of S3 that cost nothing: those that delete, and those that give something up.
FREE = frozenset({"DeleteObject", "DeleteObjects", "AbortMultipartUpload"})
#: Those that read. All others cost as much as an upload.
READS = frozenset({"GetObject", "HeadObject", "HeadBucket"})


@dataclass(frozen=True, slots=True)
class RequestPrices:
    """What 1,000 requests cost, in US dollars.

    * ``writes``: requests that store something or list objects.
    * ``reads``: requests that read one object or ask for its size.
    """

    writes: float
    reads: float


#: S3 Standard in us-east-1, November 2026, https://aws.amazon.com/s3/pricing/. Deletions are free.
S3_STANDARD = RequestPrices(writes=0.005, reads=0.0004)


@dataclass(frozen=True, slots=True)
class RequestCosts:
    """Requests to a replica, and what they cost at the prices of S3 Standard, without storage and traffic.

    * ``requests``: how many were sent since the ``DB`` was opened, repetitions included, by the name of the operation.
    * ``per_hour``: how many are sent in an hour at the present rate, which is that of the last hour, or since the ``DB`` was
      opened; ``None`` in the first minute.
    * ``per_day``, ``per_month``: what a day, and a month of 30 days, cost at this rate, in US dollars; ``None`` in the first
      minute.
    """

    requests: Mapping[str, int]
    per_hour: float | None
    per_day: float | None
    per_month: float | None


def price(requests: Mapping[str, int], prices: RequestPrices = S3_STANDARD) -> float:
    """What these requests cost, in US dollars."""
    each = {operation: 0.0 if operation in FREE else prices.writes for operation in requests}
    each |= {operation: prices.reads for operation in requests if operation in READS}
    return sum(number * each[operation] for operation, number in requests.items()) / 1000


def request_costs(
    requests: Mapping[str, int],
    recent: Mapping[str, int],
    seconds: float,
    prices: RequestPrices = S3_STANDARD,
) -> RequestCosts:
    """Costs from counts.

    Args:
        requests: all requests, by the name of the operation.
        recent: those that show the present rate.
        seconds: the time in which these were sent.
        prices: what they cost.
    """
    if seconds < _SHORTEST:
        return RequestCosts(requests, None, None, None)
    per_day = price(recent, prices) / seconds * _DAY
    return RequestCosts(requests, sum(recent.values()) / seconds * _HOUR, per_day, per_day * _DAYS_OF_MONTH)


class RequestMeter:
    """Remembers how many requests there were at times of the last hour.

    Args:
        sent: how many requests were sent so far, by the name of the operation; ``None`` if nobody counts them.
        clock: the time in seconds.
    """

    def __init__(
        self,
        sent: Callable[[], Mapping[str, int] | None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sent = sent
        self._clock = clock
        self._lock = threading.Lock()
        self._began = clock()
        self._first = dict(sent() or {})
        # The last one that is older than an hour, and those since.
        self._samples = deque([(self._began, self._first)])

    def note(self) -> None:
        """Requests may have been sent."""
        sent = self._sent()
        if sent is None:
            return
        with self._lock:
            now = self._clock()
            if len(self._samples) > 1 and self._samples[-1][0] - self._samples[-2][0] < _SHORTEST:
                # The last one is always up to date, and all others are a minute apart.
                self._samples.pop()
            self._samples.append((now, dict(sent)))
            self._forget(now)

    def costs(self) -> RequestCosts | None:
        """The requests until now; ``None`` if nobody counts them."""
        sent = self._sent()
        if sent is None:
            return None
        with self._lock:
            now = self._clock()
            self._forget(now)
            at, before = self._samples[0]
            return request_costs(_since(self._first, sent), _since(before, sent), now - at)

    def _forget(self, now: float) -> None:
        while len(self._samples) > 1 and now - self._samples[1][0] >= _HOUR:
            self._samples.popleft()


def _since(before: Mapping[str, int], now: Mapping[str, int]) -> dict[str, int]:
    """What has been added."""
    added = {operation: number - before.get(operation, 0) for operation, number in now.items()}
    return {operation: number for operation, number in added.items() if number}
