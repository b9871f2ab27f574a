"""Failures in a row: how long to wait after them, how often to speak about them, and which of them end a thread."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

from ltxcore._process.log import Log
from ltxcore.errors import Error

if TYPE_CHECKING:
    from collections.abc import Callable

    from ltxcore._process.log import Logger

#: No wait between two attempts is longer, in seconds.
MAX_DELAY = 300.0
#: The same where an attempt costs nothing: files of this machine.
MAX_LOCAL_DELAY = 5.0
#: A failure that lasts is logged at most this often, in seconds.
LOG_INTERVAL = 30.0
#: A thread ends when so many turns in a row let an error out.
_MAX_FAILURES = 3
#: By so much a delay may be shorter or longer, so that many who failed together do not return together.
_JITTER = 0.25


class Backoff:
    """The failures in a row of one activity, such as ``"upload"``, of one database.

    Args:
        what: the activity, for the log.
        path: the database, for the log.
        base: the first delay, in seconds.
        logger: where failures, and their end, are written; see :class:`Log`.
        is_local: attempts cost nothing, so no delay is long; others are spread by chance.
    """

    def __init__(
        self, what: str, path: object, base: float, logger: Logger, *, is_local: bool = False
    ) -> None:
        self.error: BaseException | None = None
        self._what = what
        self._path = path
        self._base = max(base, 0.5)
        self._log = Log(logger)
        self._is_local = is_local
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
            self._log.error("%s of %s failed: %s", self._what, self._path, error)
        delay = self._base * 2.0 ** min(self._failures - 1, 30)
        if self._is_local:
            return min(delay, MAX_LOCAL_DELAY)
        return min(delay, MAX_DELAY) * random.uniform(1 - _JITTER, 1 + _JITTER)  # noqa: S311 - no secret

    def succeeded(self) -> None:
        """Note a success."""
        if self._is_known:
            self._log.info("%s of %s works again", self._what, self._path)
        self.error = None
        self._failures = 0
        self._is_known = False


def keep_going(turn: Callable[[], bool], after_failure: Callable[[], None] = lambda: None) -> None:
    """Do what a thread of ours is there for, until ``turn`` answers false.

    An exception that another thread throws into this one arrives anywhere, also where errors are dealt with, and ends nothing.
    What fails in several turns in a row is a fault of ours.

    Args:
        turn: one attempt, which deals with what it expects.
        after_failure: called when something came out of it nevertheless.

    Raises:
        BaseException: what came out of the last of these turns.
    """
    failures = 0
    while True:
        try:
            while turn():
                failures = 0
            return
        except BaseException:
            failures += 1
            if failures == _MAX_FAILURES:
                raise
            after_failure()


def as_exception(error: BaseException) -> Exception:
    """An error from a thread, fit to be raised in another one: what ends a program there must not do so here."""
    if isinstance(error, Exception):
        return error
    raised = Error(f"{type(error).__name__} was raised in a thread that replicates: {error}")
    raised.__cause__ = error
    return raised
