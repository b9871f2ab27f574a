"""FollowedDatabase: a restored database, and the thread that keeps it up with its replica."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING, Literal, Self

from ltxcore._process import runtime
from ltxcore._process.awaiting import to_thread
from ltxcore._process.backoff import Backoff, keep_going
from ltxcore._process.log import Log
from ltxcore._restore.followed_file import FollowedFile, StoppedError
from ltxcore._restore.history import History, Ready
from ltxcore._restore.position import Page1, Position, Sidecars
from ltxcore.errors import DatabaseError, DivergedError, NoSnapshotError, NotOpenError, ReplicaTimeoutError
from ltxcore.ltx import TXID, Pos
from ltxcore.replica import Replica

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable
    from pathlib import Path

    from ltxcore import _ltxcore
    from ltxcore._restore.restore import RestoreResult
    from ltxcore.clients import ReplicaClient

#: What to do when the replica does not continue the database.
OnDivergence = Literal["error", "restore"]

#: Every so many passes, other levels are searched although level 0 has simply nothing new.
THOROUGH_EVERY = 10
#: After so many seconds of waiting for readers this is worth a warning, and then again.
SLOW_READER = 30.0
#: For so many seconds a replica has to be diverged in the same way: one that is being deleted is shorter at every look.
SETTLING = 5.0
#: Not to restore all the time beside a program that writes to the database, in seconds.
START_OVER_INTERVAL = 60.0
#: The longest pause after trouble with the database file itself, in seconds: to look at it costs nothing.
LOCAL_DELAY = 5.0


class FollowedDatabase:
    """A database that a background thread keeps up with a replica; :func:`ltxcore.follow` makes one.

    Read it with any SQLite, in any process; each change of state is one transaction to readers. Nobody may write to
    it, or set its ``journal_mode``. It is in rollback-journal mode, whatever its original is in.

    Attributes:
        path: the database.
        restored: what the first restore made, or ``None`` if an earlier one was continued.
    """

    def __init__(
        self,
        client: ReplicaClient,
        path: Path,
        position: Position,
        restored: RestoreResult | None,
        *,
        interval: float,
        on_divergence: OnDivergence,
        logger: logging.Logger,
    ) -> None:
        self.path = path
        self.restored = restored
        self._client = client
        self._position = self._saved = position
        self._txid = position.txid
        self._interval = interval
        self._on_divergence = on_divergence
        self._log = Log(logger)
        self._sidecars = Sidecars(path)
        self._local = FollowedFile(path)
        self._file = self._local.native
        self._history = History(client, self._local, logger)
        self._ready: Ready | None = None
        self._passes = 0
        self._diverged = "", 0.0
        self._start_over_from = 0.0
        self._warned_at = 0.0
        self._kept_waiting: DatabaseError | None = None
        self._ended: BaseException | None = None
        self._backoff = Backoff("following", path, interval, logger)
        self._moved = threading.Condition()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._generation = runtime.generation()
        self._thread = threading.Thread(target=self._run, name=f"ltxcore-apply {path.name}", daemon=True)
        self._local.claim()

    def __repr__(self) -> str:
        return f"FollowedDatabase({os.fspath(self.path)!r}, txid={self._txid})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        # A child that was forked inside the block leaves it too, and has nothing to close.
        if not runtime.is_inherited(self._generation):
            self.close()

    @property
    def txid(self) -> TXID:
        """The newest transaction in the database."""
        return self._txid

    @property
    def error(self) -> BaseException | None:
        """The error of the last attempt, or what the follower waits for; ``None`` if all is well. Attempts never stop."""
        return self._ended or self._backoff.error or self._kept_waiting

    def wait(self, txid: int | None = None, timeout: float | None = None) -> Pos:
        """Wait until the database has a transaction. A closed one returns if it has the transaction already.

        Args:
            txid: the transaction to wait for; the default is the newest one in the replica now.
            timeout: the longest time in seconds; ``None`` waits for ever.

        Returns:
            The position of the database.

        Raises:
            ReplicaTimeoutError: the time is over; the cause is the error of the last attempt.
            NotOpenError: the object is closed.
            DatabaseError: following has ended with an error.
        """
        runtime.check(self._generation)
        wanted = Replica(self._client).newest_txid() if txid is None else TXID(txid)
        deadline = None if timeout is None else time.monotonic() + timeout
        self._wake.set()
        with self._moved:
            while self._txid < wanted:
                if self._stop.is_set():
                    raise NotOpenError(
                        f"no longer followed: {self.path}",
                        path=os.fspath(self.path),
                        hint="call follow() again; it resumes where it stopped",
                    )
                if self._ended is not None:
                    raise self._thread_ended() from self._ended
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise ReplicaTimeoutError(
                        f"{self.path} is at TXID {self._txid}, not yet at {wanted}", op="follow"
                    ) from self.error
                self._moved.wait(None if left is None else min(left, threading.TIMEOUT_MAX))
        return Pos(self._txid)

    async def wait_async(self, txid: int | None = None, timeout: float | None = None) -> Pos:  # noqa: ASYNC109
        """:meth:`wait`, without blocking the event loop. Cancelling it does not end the thread that waits."""
        return await to_thread(self.wait, txid, timeout)

    def join(self) -> None:
        """Wait until following has ended: the object was closed, or :attr:`error` says why."""
        self._thread.join()

    def close(self, *, timeout: float | None = 30.0) -> None:
        """Stop following. The database stays, and :func:`follow` can resume it. Does nothing if it was called before.

        Args:
            timeout: the longest time to wait for a running step, in seconds; ``None`` waits for ever.

        Raises:
            DatabaseError: following had ended with an error before.
        """
        runtime.check(self._generation)
        is_first = not self._stop.is_set()
        self._stop.set()
        self._wake.set()
        with self._moved:
            self._moved.notify_all()
        if self._thread.ident is not None:
            self._thread.join(None if timeout is None else min(timeout, threading.TIMEOUT_MAX))
        runtime.unregister(self)
        if not self._thread.is_alive():
            self._local.release()
        if is_first and self._ended is not None:
            raise self._thread_ended() from self._ended

    def check_place(self) -> None:
        """Check that :attr:`path` still names the database that is, or was, followed.

        Raises:
            DatabaseError: another file has this name.
            RestoreError: no file has this name.
        """
        self._local.check_place()

    def _start(self, watch: Callable[[int, int], None]) -> None:
        """Prove that the replica continues the database, and start the thread."""
        # Raised here, not in the background: a history that is not there will hardly come back.
        self._look_after_file()
        self._ready = self._next_step(watch, thorough=True)
        runtime.register(self)
        self._thread.start()

    def _run(self) -> None:
        try:
            keep_going(self._turn)
        except BaseException as error:
            self._ended = error
        finally:
            with self._moved:
                self._moved.notify_all()
            if self._stop.is_set():
                self._local.release()

    def _turn(self) -> bool:
        """Make an attempt and wait until the next one; false when it is time to end."""
        if self._stop.is_set():
            return False
        self._wake.wait(self._attempt())
        self._wake.clear()
        return True

    def _attempt(self) -> float:
        """One pass; how long to wait until the next one, in seconds."""
        try:
            self._pass()
        except StoppedError:
            return 0.0
        except BaseException as error:
            return self._failed(error)
        self._backoff.succeeded()
        return self._interval

    def _failed(self, error: BaseException) -> float:
        delay = self._backoff.failed(error)
        return min(delay, LOCAL_DELAY) if isinstance(error, DatabaseError) else delay

    def _pass(self) -> None:
        self._look_after_file()
        thorough = self._passes % THOROUGH_EVERY == 0
        self._passes += 1
        while not self._stop.is_set():
            ready, self._ready = self._ready, None
            ready = ready or self._next_step(self._watch, thorough=thorough)
            if ready is None:
                return
            self._apply(ready)

    def _look_after_file(self) -> None:
        self._local.check_place()
        self._position = self._local.recover(self._position)
        self._sidecars.twin.unlink(missing_ok=True)
        self._position = self._local.leave_wal(self._position)
        self._save()

    def _next_step(self, watch: Callable[[int, int], None], *, thorough: bool) -> Ready | None:
        try:
            found = self._history.next_step(self._position, watch, thorough=thorough)
        except DivergedError as error:
            if self._on_divergence == "error":
                raise
            found = self._start_over(error, 0.0 if self._thread.ident is None else SETTLING)
        if isinstance(found, Ready):
            return found
        self._position = found
        self._save()
        return None

    def _start_over(self, diverged: DivergedError, settling: float) -> Ready:
        """Restore in place, unless the replica may still be changing, or that has just been done."""
        now, seen = time.monotonic(), str(diverged)
        if self._diverged[0] != seen:
            self._diverged = seen, now
        if now < max(self._diverged[1] + settling, self._start_over_from):
            raise diverged
        try:
            ready = self._history.start_over()
        except NoSnapshotError as error:
            raise diverged from error
        self._start_over_from = time.monotonic() + START_OVER_INTERVAL
        self._log.warning("replacing the content of %s: %s", self.path, diverged)
        return ready

    def _apply(self, ready: Ready) -> None:
        try:
            with self._local.exclusive(self._stop, self._waiting):
                self._local.check_alone(ready.shape)
                self._file.save(ready.step, self._sidecars.twin)
                self._file.write(ready.step)
                shape = self._local.shape()
                self._file.commit()
        finally:
            self._kept_waiting = None
        self._sidecars.twin.unlink(missing_ok=True)
        self._position = Position(TXID(ready.step.txid), ready.mark, shape, self._page_1(ready.step))
        # Last: a position that lags only means that the same pages are written once more.
        self._save()

    def _page_1(self, step: _ltxcore.Step) -> Page1 | None:
        """Page 1 as the replica has it after a step; ``None`` if it cannot be made from the one that the database has."""
        if (found := step.page_1) is not None:
            return Page1(*found)
        old = self._position.page_1
        return old if old is not None and old.head is not None else None

    def _save(self) -> None:
        """Keep the position if it has changed, and tell those who wait for it."""
        if self._position != self._saved:
            self._sidecars.write(self._position)
            self._saved = self._position
        with self._moved:
            self._txid = self._position.txid
            self._moved.notify_all()

    def _watch(self, _done: int, _total: int) -> None:
        if self._stop.is_set():
            raise StoppedError

    def _waiting(self, passed: float) -> None:
        if self._local.is_wal():
            raise self._local.in_wal_mode()
        if passed < self._warned_at:
            self._warned_at = 0.0
        if passed - self._warned_at >= SLOW_READER:
            self._warned_at = passed
            self._kept_waiting = self._local.error(
                f"{self.path} has been kept from changing for {passed:.0f} s by a transaction that reads it",
                "end that transaction, or close its connection",
            )
            self._log.warning("%s", self._kept_waiting)

    def _thread_ended(self) -> DatabaseError:
        return self._local.error(
            f"the thread that follows with {self.path} has ended: {self._ended!r}",
            "close it and follow again",
        )
