"""Backing off: how long to wait after failures in a row, and how often to speak about them."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import logging

#: No wait between two attempts is longer, in seconds.
MAX_DELAY = 300.0
#: A failure that lasts is logged at most this often, in seconds.
LOG_INTERVAL = 30.0


class Backoff:
    """The failures in a row of one activity, such as ``"upload"``, of one database."""

    def __init__(self, what: str, path: object, base: float, logger: logging.Logger) -> None:
        self.error: BaseException | None = None
        self._what = what
        self._path = path
        self._base = max(base, 0.5)
        self._logger = logger
        self._failures = 0
        self._logged_at = float("-inf")
        self._is_known = False

    def failed(self, error: BaseException) -> float:
        """Note a failure; the number of seconds to wait before the next attempt, doubled with each in a row."""
        self.error = error
        self._failures += 1
        now = time.monotonic()
        if now - self._logged_at >= LOG_INTERVAL:
            self._logged_at = now
            self._is_known = True
            self._logger.error("%s of %s failed: %s", self._what, self._path, error)
        return min(self._base * 2.0 ** min(self._failures - 1, 30), MAX_DELAY)

    def succeeded(self) -> None:
        """Note a success."""
        if self._is_known:
            self._logger.info("%s of %s works again", self._what, self._path)
        self.error = None
        self._failures = 0
        self._is_known = False
