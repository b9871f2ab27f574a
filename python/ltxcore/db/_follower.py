"""The thread that turns commits into local L0 files."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING, TypeVar

from ltxcore._process.backoff import Backoff, as_exception, keep_going
from ltxcore._process.log import Log
from ltxcore._process.wakeup import Wakeup
from ltxcore.db._opening import Opening
from ltxcore.db._reports import Reports
from ltxcore.db._requests import Request, Requests
from ltxcore.db._status import CheckpointResult
from ltxcore.errors import (
    Error,
    InternalError,
    NotOpenError,
    NotReadyError,
    PreviousIOError,
    ReplicaTimeoutError,
)

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from ltxcore import _ltxcore
    from ltxcore.db._presence import Presence
    from ltxcore.db._status import CheckpointMode
    from ltxcore.ltx import TXID, Pos

_T = TypeVar("_T")

#: follow() returns by itself after so many seconds; commits and interrupt() end it at once.
_FOLLOW_SECONDS = 5.0
#: What was abandoned and is gone as well is looked for so often.
_ABSENT_SECONDS = 1.0
#: After a failure, what is open is looked at so often until the next attempt.
_LOOK_SECONDS = 1.0
#: Whoever waits for the thread looks so often whether it is still there.
_CHECK_SECONDS = 5.0
#: How often whoever waits looks whether there is a reason not to, in seconds.
_POLL_SECONDS = 0.01
#: What takes no longer than this is waited for also if the timeout is shorter, in seconds.
_SHORT_SECONDS = 5.0
#: Between two attempts to sync for the last time.
_RETRY_SECONDS = 0.5


class Follower:
    """Opens the database as soon as it exists, and then waits for commits.

    Args:
        engine: the native database.
        path: the database file.
        presence: notes whether it is there.
        remote_txid: asks where the replica ends, when the database is about to be opened.
        notify: called when there are new local L0 files.
        adopt: called with a TXID of the replica when nothing is known of the pages there: gives their checksums to the engine.
        ended: called when the thread ends.
        interval: the first pause after a failure, in seconds.
        logger: where failures go, and what the engine has to say.
    """

    def __init__(
        self,
        engine: _ltxcore.Database,
        path: str | os.PathLike[str],
        presence: Presence,
        *,
        remote_txid: Callable[[], TXID],
        notify: Callable[[], None],
        adopt: Callable[[TXID], None],
        ended: Callable[[], None],
        interval: float,
        logger: logging.Logger,
    ) -> None:
        self._engine = engine
        self._path = os.fspath(path)
        self._presence = presence
        self._notify = notify
        self._on_end = ended
        self._log = Log(logger)
        self._backoff = Backoff("following", path, interval, logger, is_local=True)
        self._requests = Requests()
        self._opening = Opening(engine, self._path, presence, remote_txid, adopt, self._log)
        self._reports = Reports(engine, self._path, self._log)
        self._seen = 0
        self._death: BaseException | None = None
        #: What the last sync failed with, see :meth:`finish`.
        self.failure: Exception | None = None
        # For the thread: it need not sit out its pause. For the others: it has got further.
        self._call, self._progress = Wakeup(), Wakeup()
        self._call_seen = self._call.version
        self._delay = 0.0
        self._attempts = 0
        self._finish_by: float | None = None
        self._is_stopping = self._is_cancelled = self._is_late = self._has_ended = self._is_last = False
        self._thread = threading.Thread(
            target=self._main, name=f"ltxcore-follow {os.path.basename(self._path)}", daemon=True
        )

    @property
    def is_ready(self) -> bool:
        """Whether the database file has been found, and is being followed."""
        return self._engine.page_size is not None

    @property
    def is_open(self) -> bool:
        """Whether the engine was given the database to follow. Never waits."""
        return self._opening.is_open

    @property
    def has_ended(self) -> bool:
        """Whether the thread has ended."""
        return self._has_ended

    @property
    def death(self) -> BaseException | None:
        """What ended the thread, if it did not end because it was told to."""
        return self._death

    @property
    def error(self) -> BaseException | None:
        """What the latest attempt failed with, or ``None``."""
        if self._death is None and self._presence.is_gone():
            return self._presence.error("follow")
        return self._death or self._backoff.error

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def wait_attempt(self, timeout: float, *, unless: Callable[[], bool]) -> bool:
        """Wait until the first attempt is over, whether or not it worked.

        Args:
            timeout: for how long, in seconds.
            unless: a reason not to wait, which is looked at all the time.

        Returns:
            Whether it is over.
        """
        deadline = time.monotonic() + timeout
        while not self._has_tried() and (left := deadline - time.monotonic()) > 0:
            version = self._progress.version
            if unless():
                return False
            if not self._has_tried():
                self._progress.wait(version, min(left, _POLL_SECONDS))
        return self._has_tried()

    def sync(self, timeout: float | None = None) -> Pos:
        """Turn all that is committed now into local L0 files, from any thread.

        Args:
            timeout: how long to wait for that, in seconds.

        Returns:
            The position afterwards. Behind it the database may be another one already, with another position.

        Raises:
            NotReadyError: there is no database file.
            DatabaseError: it cannot be read.
            ReplicaError: the replica, which is asked before the database is opened, cannot be listed.
            ReplicaTimeoutError: it was not done in time.
        """
        return self.call(self._sync, timeout)

    def checkpoint(self, mode: CheckpointMode) -> CheckpointResult:
        """Run a checkpoint, from any thread. What is raised is as for :meth:`sync`."""
        done = self.call(lambda: self._on_open(lambda: self._engine.checkpoint(mode)))
        return CheckpointResult(done.busy, done.wal_frames, done.checkpointed_frames)

    def call(self, work: Callable[[], _T], timeout: float | None = None) -> _T:
        """Have the thread do ``work``, and wait for it. It alone drives the engine; whoever waits can be interrupted.

        Raises:
            ReplicaTimeoutError: it was not done within ``timeout`` seconds.
            NotOpenError: the thread has ended, or was told to.
            Exception: what ``work`` raises.
        """
        if threading.current_thread() is self._thread:
            # A handler of its log messages, for one.
            return work()
        request = Request(work)
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            self._requests.add(request)
            self._call.notify()
            self._engine.interrupt()
            while True:
                version = self._progress.version
                if request.is_done:
                    return request.answer()
                if self._has_ended:
                    raise self._death or NotOpenError(f"not open: {self._path}", op="open", path=self._path)
                left = _CHECK_SECONDS if deadline is None else deadline - time.monotonic()
                if left <= 0 and (left < -_SHORT_SECONDS or self._is_long()):
                    raise ReplicaTimeoutError(
                        f"{self._path} is still being {self._activity()}", op="sync", path=self._path
                    ) from self.error
                self._progress.wait(version, min(max(left, _POLL_SECONDS), _CHECK_SECONDS))
        finally:
            self._requests.withdraw(request)

    def _is_long(self) -> bool:
        """Whether what the thread is at may take for ever: the answer of a replica, or a pass over all pages."""
        return not self._opening.is_open or self._engine.status().scan is not None

    def _activity(self) -> str:
        """What the thread is at, to follow "is being"."""
        scan = self._engine.status().scan
        if scan is not None:
            return f"read: {scan.pages_done} of {scan.pages} pages so far"
        return "synced" if self._opening.is_open else "opened"

    def _has_tried(self) -> bool:
        return self._attempts > 0 or self._has_ended

    def _sync(self) -> Pos:
        try:
            pos = self._on_open(self._engine.sync)
        except NotReadyError as error:
            if self._presence.is_gone():
                raise self._presence.error("sync") from error
            raise
        finally:
            self._reports.notices()
        self._reports.repair(pos.txid)
        self._presence.note()
        self._backoff.succeeded()
        self._notify()
        return pos

    def _on_open(self, work: Callable[[], _T]) -> _T:
        """Do ``work`` on the database, which is opened first if it is not open."""
        self._ensure_open()
        try:
            return work()
        except PreviousIOError as error:
            self._log.warning("%s is opened again: %s", self._path, error)
            self._opening.forget()
        # The meta directory was removed, or files of it: with a new one all is as at a start.
        self._ensure_open()
        return work()

    def finish(self, timeout: float) -> bool:
        """Have the thread sync for the last time and end; :attr:`failure` has the error that it ended with.

        Args:
            timeout: for so many seconds a sync that fails is tried again, and the thread is waited for.

        Returns:
            Whether it has ended. If it has not, it lets the engine go when it does.
        """
        self._finish_by = time.monotonic() + timeout
        return self.stop(timeout)

    def stop(self, timeout: float) -> bool:
        """End the thread, and wait up to ``timeout`` seconds for it.

        Returns:
            Whether it has ended. If it has not, it lets the engine go when it does.
        """
        self._is_stopping = True
        if self._thread.ident is None:
            return True  # never started
        self._call.notify()
        deadline = time.monotonic() + timeout
        while not self._has_ended and (left := deadline - time.monotonic()) > 0:
            version = self._progress.version
            # More than once, since it may have been between two waits when it was told.
            self._engine.interrupt()
            if not self._has_ended:
                self._progress.wait(version, min(left, 0.05))
        self._is_late = not self._has_ended
        return self._has_ended

    def cancel(self, timeout: float) -> bool:
        """The same, but without waiting for what takes as long as the database is large."""
        self._is_cancelled = True
        self._engine.cancel()
        return self.stop(timeout)

    def _main(self) -> None:
        try:
            keep_going(self._turn)
            if self._finish_by is not None and not self._presence.is_gone():
                self._last_sync(self._finish_by)
        except BaseException as error:
            self._death = InternalError(
                f"the thread that follows {self._path} has ended: {error!r}", op="follow", path=self._path
            )
            self._death.__cause__ = error
        finally:
            self._has_ended = True
            self._progress.notify()
            self._on_end()
            if self._is_late:
                self._engine.abandon()

    def _last_sync(self, deadline: float) -> None:
        """Try until it works or the time is over, at least once."""
        self._is_last = True
        while True:
            try:
                # A file that never came leaves nothing to replicate.
                with contextlib.suppress(NotReadyError):
                    self._sync()
            except Exception as error:
                self.failure = error
                if self._is_cancelled or time.monotonic() + _RETRY_SECONDS > deadline:
                    return
                time.sleep(_RETRY_SECONDS)
            else:
                self.failure = None
                return

    def _turn(self) -> bool:
        """Wait until the next attempt and make it; false when it is time to end."""
        try:
            self._pause()
            if self._is_stopping:
                return False
            if self._serve():
                return True
            if not self._opening.is_open and self._presence.is_gone():
                self._delay = _ABSENT_SECONDS
            else:
                self._step()
            self._backoff.succeeded()
        except BaseException as error:
            self._fail(as_exception(error))
        self._reports.notices()
        if self.is_ready:
            self._presence.note()
        self._presence.report()
        self._attempts += 1
        self._progress.notify()
        return not self._is_stopping

    def _serve(self) -> bool:
        """Do what another thread waits for, if one does."""
        request = self._requests.next()
        if request is None:
            return False
        error = request.run()
        # What goes wrong with a database that is open is for whoever has asked; what keeps it from being opened, for all.
        is_open = self._opening.is_open and not isinstance(error, PreviousIOError)
        if error is not None and not is_open and not isinstance(error, NotReadyError):
            self._fail(error)
        self._progress.notify()
        return True

    def _fail(self, error: Exception) -> None:
        """Take note of an attempt that failed; one that was ended by :meth:`cancel` did not."""
        if not self._is_cancelled:
            self._delay = self._backoff.failed(error)
        if isinstance(error, PreviousIOError):
            self._opening.forget()

    def _pause(self) -> None:
        """After a failure: wait, unless somebody has called since that attempt began. The files are looked at meanwhile."""
        delay, self._delay = self._delay, 0.0
        until = time.monotonic() + delay
        while (left := until - time.monotonic()) > 0 and not self._is_stopping:
            self._call.wait(self._call_seen, min(left, _LOOK_SECONDS))
            if self._call.version is not self._call_seen:
                break
            # What is wrong with them is for the attempt to say.
            with contextlib.suppress(Error):
                self._engine.verify()
            self._engine.attach()
            self._reports.notices()
        self._call_seen = self._call.version

    def _step(self) -> None:
        if not self._opening.may_try():
            return
        if self._ensure_open():
            if self.is_ready:
                self._sync()
            return
        new = self._engine.follow(_FOLLOW_SECONDS)
        txid = self._engine.pos.txid
        if new or txid != self._seen:
            self._seen = txid
            self._reports.repair(txid)
            self._notify()

    def _ensure_open(self) -> bool:
        return self._opening.ensure(lambda: self._is_stopping, is_last=self._is_last)
