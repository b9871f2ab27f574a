"""The thread that uploads local L0 files, and whoever waits for it."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, Protocol

from ltxcore._process.backoff import Backoff, as_exception, keep_going
from ltxcore._process.log import Log
from ltxcore._process.times import from_millis
from ltxcore._process.wakeup import Wakeup
from ltxcore.db._status import ReplicaStatus
from ltxcore.errors import Error, InternalError, LeaseLostError, NotOpenError, ReplicaTimeoutError
from ltxcore.replica._costs import RequestMeter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from ltxcore._process.log import Logger
    from ltxcore.db._agreement import Party
    from ltxcore.db._destination import Destination
    from ltxcore.db._presence import Presence
    from ltxcore.ltx import TXID, FileInfo
    from ltxcore.replica import HeldLease, Replica

#: Between two attempts while somebody waits for the result, in seconds.
RETRY_INTERVAL = 0.5
#: The longest wait for the next attempt after a commit, in seconds: in a directory, and where an attempt is requests.
_LOCAL_NEWS_DELAY, _NEWS_DELAY = 1.0, 5.0
#: How often an idle directory is looked at, in seconds.
_IDLE_INTERVAL = 30.0
#: What is under way when the last attempt begins gets so many seconds, even if ``close`` gives less.
LEAST_ATTEMPT = 2.0
#: Whoever waits looks whether the thread is still there every so many seconds.
_CHECK_INTERVAL = 5.0
#: What has lasted so long may never return, and nor may whatever else looks at the same directory.
_HANGS_AFTER = 5.0


class MakeDestination(Protocol):
    """Makes what fills the replica.

    Args:
        check_lease: called before anything is written; raises if it must not be.
        advanced: called whenever more is known to be in the replica.
    """

    def __call__(self, *, check_lease: Callable[[], None], advanced: Callable[[], None]) -> Destination: ...


class Uploader:
    """Runs the passes of a :class:`Destination`, when there is something to do and when somebody waits.

    Args:
        replica: where to.
        path: the database file.
        presence: whether the database file is there.
        party: what it has to say to the other destinations.
        make: makes what fills the replica, in its layout.
        ended: called when the thread ends.
        logger: where failures, and what was lost, are reported.
    """

    def __init__(
        self,
        replica: Replica,
        path: Path,
        presence: Presence,
        party: Party,
        make: MakeDestination,
        *,
        ended: Callable[[], None],
        logger: Logger,
    ) -> None:
        self.replica = replica
        self._path = path
        self._presence = presence
        self._party = party
        self._on_end = ended
        self._log = Log(logger)
        self._is_local = replica.client.capabilities.is_local
        self._backoff = Backoff("upload", path, replica.sync_interval, logger, is_local=self._is_local)
        self._wakeup = Wakeup()
        self._meter = RequestMeter(replica.client.requests_sent)
        self._logger = logger
        self._claim = _Claim(replica)
        self._destination = make(check_lease=self._claim.check, advanced=self._wakeup.notify)
        self._lock = threading.Lock()
        # Everything below is guarded by it.
        self._pending = False
        self._passes = 0
        # Who waits: a set, because Ctrl-C can come before and after every line.
        self._waiting: set[object] = set()
        self._not_before = self._upload_from = 0.0
        self._last_pass = float("-inf")
        self._finish_by: float | None = None
        self._finish_from = 0
        self._ended = False
        self._death: BaseException | None = None
        self._thread = threading.Thread(target=self._main, name=f"ltxcore-upload {path.name}", daemon=True)

    @property
    def has_ended(self) -> bool:
        """Whether the thread has ended."""
        return self._ended

    @property
    def death(self) -> BaseException | None:
        """What has ended the uploads for good: a fault of ours, or another writer that no retry can end."""
        return self._death or self._conflict

    @property
    def failure(self) -> BaseException | None:
        """What the latest pass failed with, or what has ended the uploads; ``None`` if neither did."""
        return self.death or self._backoff.error

    @property
    def error(self) -> BaseException | None:
        """The same, or why the lease is not renewed, or what keeps the replica from being restored."""
        return self.failure or (None if self._lease is None else self._lease.error) or self._obstacle

    @property
    def _obstacle(self) -> BaseException | None:
        known = self._destination.known
        return None if known is None else known.obstacle

    @property
    def known_txid(self) -> TXID | None:
        """How far a restore from the replica comes, as far as is known without asking it."""
        known = self._destination.known
        return None if known is None else known.reach

    def status(self, txid: TXID) -> ReplicaStatus:
        """What is known of the destination, where the newest local file is that of ``txid``."""
        return ReplicaStatus(
            replica=self.replica,
            txid=self.known_txid,
            # A mirror that hangs must not make a question hang that is about the database.
            is_current=self._is_known_to_hold(txid) if self._party.number else self.is_current(txid),
            last_upload=from_millis(self._destination.last_upload_ms)
            if self._destination.last_upload_ms
            else None,
            last_error=self.error,
            uploading_for=self._destination.busy_for,
            requests=self._meter.costs(),
            has_ended=self.death is not None,
        )

    def is_current(self, txid: TXID) -> bool:
        """Whether a restore from the replica contains ``txid``, as far as can be told for nothing.

        If that has to be found out, the thread is told to.
        """
        return self._holds(txid, self._destination.is_settled)

    def remote_txid(self) -> TXID:
        """The TXID after which the local history has to continue, as the replica is now."""
        return self._destination.remote_txid()

    def report_unknown(self, error: Exception) -> None:
        """Say that :meth:`remote_txid` failed, where the database is opened nevertheless."""
        self._log.warning("%s is opened without knowing where the mirror ends: %s", self._path, error)

    def adopt_chain(self, txid: TXID) -> None:
        """Let the engine know what the replica holds at ``txid``, so that only pages that differ are uploaded."""
        self._destination.adopt_chain(txid)

    def start(self) -> None:
        """Start the thread. It is idle until it is notified. Before that, acquire the lease if the replica has to have one.

        The thread of a mirror acquires it, as nobody waits for a mirror.

        Raises:
            ConfigError: the storage cannot hold a lease.
            LeaseHeldError: another program holds it.
            ReplicaError: the storage failed.
        """
        if self._party.number == 0:
            self._acquire_lease()
        self._thread.start()

    def _acquire_lease(self) -> None:
        if self.replica.lease and self._lease is None:
            held = self._claim.held = self.replica.acquire_lease(logger=self._logger)
            held.watch(self.notify)

    @property
    def _lease(self) -> HeldLease | None:
        return self._claim.held

    def leave(self) -> None:
        """Give back the lease, within a few seconds. If something is still being uploaded, let it expire instead."""
        if self._lease is not None:
            is_idle = self._thread.ident is None
            self._wakeup.wait_until(lambda: self._ended or is_idle, time.monotonic() + LEAST_ATTEMPT)
            self._lease.end(gives_back=self._ended or is_idle)
            self._lease.join()

    def notify(self) -> None:
        """Say that there may be something to do."""
        with self._lock:
            self._pending = True
            self._not_before = min(self._not_before, self._news_from())
        self._wakeup.notify()

    def wait_pass(self, timeout: float) -> None:
        """Wait until one pass is over, whether or not it worked."""
        deadline = time.monotonic() + timeout
        self._wakeup.wait_until(lambda: self._passes > 0 or self._ended, deadline)

    def wait(self, txid: TXID, deadline: float | None) -> None:
        """Wait until a restore from the replica contains ``txid``; see ``DB.wait`` for what is raised when."""
        began, passes = time.monotonic(), self._passes
        me = object()
        try:
            self._waiting.add(me)
            if self._holds(txid, lambda: self._destination.is_confirmed(began)):
                return
            self.notify()
            while True:
                version = self._wakeup.version
                if self._holds(txid, lambda: self._destination.is_confirmed(began)):
                    return
                if deadline is not None and time.monotonic() >= deadline and self.is_current(txid):
                    # There was no time for a better look.
                    return
                self._check_wait(txid, passes, deadline)
                # Never so long that a thread which is not there any more is not noticed.
                left = _CHECK_INTERVAL if deadline is None else deadline - time.monotonic()
                self._wakeup.wait(version, min(left, _CHECK_INTERVAL))
        finally:
            self._waiting.discard(me)

    def _wait_until_sent(self, txid: TXID) -> None:
        """Wait until the local files up to ``txid`` are in the replica, whether or not it can be restored.

        Raises:
            Error: what the first attempt failed with.
        """
        passes, me = self._passes, object()
        try:
            self._waiting.add(me)
            self.notify()
            while True:
                version = self._wakeup.version
                if self._destination.sent >= txid:
                    return
                if self.failure is not None and self._passes > passes:
                    raise self.failure
                has_ended = self._ended
                self._check_alive()
                if has_ended:
                    raise self._closed(txid)
                self._wakeup.wait(version, _CHECK_INTERVAL)
        finally:
            self._waiting.discard(me)

    def begin_to_finish(self, timeout: float) -> None:
        """Have what is left uploaded, trying again until ``timeout`` seconds are over."""
        with self._lock:
            self._finish_by = time.monotonic() + timeout
            self._finish_from = self._passes
            self._pending = True
        self._wakeup.notify()

    def finish(self, timeout: float) -> BaseException | None:
        """Wait until that is done; the error it ended with.

        What is under way when ``timeout`` seconds are over is left to itself.
        """
        self._wakeup.wait_until(lambda: self._ended, time.monotonic() + max(timeout, LEAST_ATTEMPT))
        if not self._ended:
            self.abandon()
            late = ReplicaTimeoutError("the last upload did not end in time", op="close")
            return self.failure or self._obstacle or late
        return self.failure or self._obstacle

    def abandon(self) -> None:
        """End without another attempt; one that is under way is left to itself."""
        self._destination.is_abandoned = True
        with self._lock:
            self._finish_by = float("-inf")
        self._wakeup.notify()

    def snapshot(self) -> FileInfo:
        """Upload the whole database as one file of level 9."""
        self._refuse_conflict()
        try:
            return self._destination.snapshot(self._wait_until_sent)
        finally:
            self.notify()

    def compact(self, level: int) -> FileInfo | None:
        """Merge new files of the level below into one of ``level``."""
        self._refuse_conflict()
        try:
            return self._destination.compact(level)
        finally:
            self.notify()

    @property
    def _conflict(self) -> Error | None:
        """That another writer has continued the history in the replica, or has the lease."""
        return self._destination.conflict or (None if self._lease is None else self._lease.lost)

    def _refuse_conflict(self) -> None:
        """Nothing is written into a replica that another writer has continued, or has the lease of."""
        if self._conflict is not None:
            raise self._conflict

    def _holds(self, txid: TXID, is_confirmed: Callable[[], bool]) -> bool:
        """Whether a restore contains ``txid``, and that is confirmed; if only that is not, the thread has to find out."""
        if not self._is_known_to_hold(txid):
            return False
        busy_for = self._destination.busy_for
        if not self._is_local or busy_for is None or busy_for < _HANGS_AFTER:
            # What the storage fails with now, the thread will find, and report.
            with contextlib.suppress(Exception):
                if is_confirmed():
                    # Meanwhile the thread may have found the opposite.
                    return self._is_known_to_hold(txid)
        self.notify()
        return False

    def _is_known_to_hold(self, txid: TXID) -> bool:
        known = self._destination.known
        return known is not None and known.holds(txid)

    def _check_wait(self, txid: TXID, passes: int, deadline: float | None) -> None:
        """Raise what ends a wait, if anything does."""
        # Read first: the reason for an end is there before the end is.
        has_ended = self._ended
        self._check_alive()
        # A lease that was not renewed for the moment is no reason while it is held.
        error = self.failure or self._obstacle
        if deadline is None and error is not None and self._passes > passes:
            raise error
        if deadline is not None and time.monotonic() >= deadline:
            raise self._late(txid, error) from error
        if has_ended:
            raise self._closed(txid) from error

    def _check_alive(self) -> None:
        """Raise what has ended the uploads, or keeps the thread from them for good."""
        # Asked first: whatever a thread that is not there any more has ended with is known by then.
        is_there = self._thread.is_alive()
        if not is_there and self.death is None and not self._ended:
            self._death = InternalError(f"the upload thread of {self._path} is not running", op="wait")
        if self.death is not None:
            raise self.death
        if self._presence.is_gone():
            raise self._presence.error("wait")

    def _closed(self, txid: TXID) -> NotOpenError:
        return NotOpenError(
            f"{self._path} was closed before transaction {txid} was in the replica",
            op="wait",
            path=os.fspath(self._path),
            max_txid=txid,
        )

    def _late(self, txid: TXID, error: BaseException | None) -> ReplicaTimeoutError:
        said = "" if error is None else f": {error}"
        hint = getattr(error, "hint", None)
        limit = self.replica.limit
        if error is None and limit is not None and (delay := limit.delay()) > 0:
            said = f": max_requests_per_hour={limit.per_hour} allows the next request in {delay:.0f} s"
            hint = "wait for longer, or raise the limit"
        return ReplicaTimeoutError(
            f"transaction {txid} of {self._path} is not in the replica yet{said}",
            op="wait",
            path=os.fspath(self._path),
            max_txid=txid,
            hint=hint,
        )

    def _main(self) -> None:
        try:
            keep_going(self._turn, self.notify)
            if self._conflict is not None:
                self._log.error("upload of %s has ended: %s", self._path, self._conflict)
        except BaseException as error:
            self._death = InternalError(
                f"the upload thread of {self._path} has ended: {error!r}", op="upload"
            )
            self._death.__cause__ = error
        finally:
            self._ended = True
            if self._lease is not None:
                self._lease.end()
            self._wakeup.notify()
            self._on_end()
            self._leave()

    def _leave(self) -> None:
        """The other destinations need not consider a mirror that has ended for good."""
        if self.death is not None and self._party.number:
            # An engine that is closed by now has nothing to forget.
            with contextlib.suppress(Error):
                self._party.leave()

    def _turn(self) -> bool:
        """Wait for the next pass and run it; false when it is time to end."""
        has_stored, delay = False, 0.0
        try:
            if not self._next_pass():
                return False
            self._acquire_lease()
            has_stored = self._destination.run(
                is_awaited=bool(self._waiting), is_last=self._finish_by is not None
            )
            self._backoff.succeeded()
        except BaseException as error:
            self._destination.forget()
            if self._conflict is not None:
                return False
            delay = self._backoff.failed(as_exception(error))
        self._end_pass(delay, has_stored=has_stored)
        return True

    def _next_pass(self) -> bool:
        """Wait until there is something to do; false when it is time to end."""
        while True:
            version = self._wakeup.version
            with self._lock:
                if self._is_finished():
                    return False
                left = self._due() - time.monotonic()
                if left <= 0:
                    self._pending = False
                    return True
            self._wakeup.wait(version, left)

    def _end_pass(self, delay: float, *, has_stored: bool) -> None:
        """Note when the next pass may begin: ``delay`` seconds from now after a failure, else once the uploads have rested."""
        with self._lock:
            self._last_pass = time.monotonic()
            if has_stored:
                self._upload_from = self._last_pass + self.replica.sync_interval
            self._not_before = self._last_pass + delay if delay else self._upload_from
            if self._pending:
                # Somebody has said so while the pass ran.
                self._not_before = min(self._not_before, self._news_from())
            self._pending = self._pending or self._backoff.error is not None or self._destination.is_held
            self._passes += 1
        self._meter.note()
        self._wakeup.notify()

    def _is_urgent(self) -> bool:
        return bool(self._waiting) or self._finish_by is not None

    def _news_from(self) -> float:
        """When a pass may start because there may be something to do, on the monotonic clock."""
        delay = _LOCAL_NEWS_DELAY if self._is_local else _NEWS_DELAY
        return self._last_pass + max(delay, self.replica.sync_interval)

    def _due(self) -> float:
        """When the next pass may start, on the monotonic clock."""
        due, limit = self._due_without_limit(), self.replica.limit
        if limit is None or self._finish_by is not None or due == float("inf"):
            return due
        return max(due, time.monotonic() + limit.delay())

    def _due_without_limit(self) -> float:
        if self._is_urgent():
            at_once = self._pending and self._backoff.error is None
            return self._last_pass + (0.0 if at_once else RETRY_INTERVAL)
        if self._pending:
            return self._not_before
        idle = self._last_pass + _IDLE_INTERVAL if self._is_local and self._passes else float("inf")
        return min(idle, self._destination.due)

    def _is_finished(self) -> bool:
        if self._destination.is_abandoned or self._conflict is not None:
            return True
        if self._finish_by is None or self._passes == self._finish_from:
            return False
        if self._backoff.error is None:
            return not self._pending
        return time.monotonic() + RETRY_INTERVAL > self._finish_by


class _Claim:
    """The lease of a destination, while it is in use, if it has to have one."""

    def __init__(self, replica: Replica) -> None:
        self.held: HeldLease | None = None
        self._replica = replica

    def check(self) -> None:
        """Refuse to write without it."""
        if self.held is not None:
            self.held.check()
        elif self._replica.lease:
            raise LeaseLostError(
                f"the lease of {self._replica.client!r} is not held yet",
                op="lease",
                hint="uploads begin when another program has given it back",
                transient=True,
            )
