"""The thread that turns commits into local L0 files."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

from ltxcore._backoff import Backoff, as_exception, keep_going
from ltxcore._log import Log
from ltxcore._presence import has_content
from ltxcore._wakeup import Wakeup
from ltxcore.errors import (
    Error,
    InternalError,
    NotOpenError,
    NotReadyError,
    PreviousIOError,
    ReplicaTimeoutError,
)
from ltxcore.ltx import TXID, Checksum, Pos

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from ltxcore import _ltxcore
    from ltxcore._presence import Presence

#: follow() returns by itself after so many seconds; commits and interrupt() end it at once.
_FOLLOW_SECONDS = 5.0
#: What was abandoned and is gone as well is looked for so often.
_ABSENT_SECONDS = 1.0
#: After a failure, what is open is looked at so often until the next attempt.
_LOOK_SECONDS = 1.0
#: Whoever waits for the thread looks so often whether it is still there.
_CHECK_SECONDS = 5.0
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
        interval: float,
        logger: logging.Logger,
    ) -> None:
        self._engine = engine
        self._path = os.fspath(path)
        self._presence = presence
        self._remote_txid = remote_txid
        self._notify = notify
        self._adopt = adopt
        self._log = Log(logger)
        self._backoff = Backoff("following", path, interval, logger, is_local=True)
        self._opening = threading.Lock()
        self._is_open = False
        # There was no database file at the last attempt to open it.
        self._is_awaited = False
        self._seen = self._reported = 0
        #: L0 files with every page, with the pages that differed, and with what the WAL added.
        self._counted = (0, 0, 0)
        self._death: BaseException | None = None
        #: What the last sync failed with, see :meth:`finish`.
        self.failure: Exception | None = None
        # For the thread: it need not sit out its pause. For the others: it has got further.
        self._call, self._progress = Wakeup(), Wakeup()
        self._call_seen = self._call.version
        self._delay = 0.0
        self._attempts = 0
        self._finish_by: float | None = None
        self._is_stopping = self._is_late = self._has_ended = False
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
        return self._is_open

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

    def wait_attempt(self, timeout: float) -> None:
        """Wait until the first attempt is over, whether or not it worked."""
        deadline = time.monotonic() + timeout
        while not self._has_tried() and (left := deadline - time.monotonic()) > 0:
            version = self._progress.version
            if not self._has_tried():
                self._progress.wait(version, left)

    def sync(self, timeout: float | None = None) -> Pos:
        """Turn all that is committed now into local L0 files, from any thread.

        Args:
            timeout: how long to wait until the database is open, in seconds.

        Returns:
            The position afterwards. Behind it the database may be another one already, with another position.

        Raises:
            NotReadyError: there is no database file.
            DatabaseError: it cannot be read.
            ReplicaError: the replica, which is asked before the database is opened, cannot be listed.
            ReplicaTimeoutError: the database was not open in time.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        try:
            txid, checksum = self._sync(deadline)
        except NotReadyError as error:
            if self._presence.is_gone():
                raise self._presence.error("sync") from error
            raise
        finally:
            self._report_notices()
        self._report_repair(txid)
        self._presence.note()
        self._backoff.succeeded()
        # Whatever kept the thread from following is over.
        self._call.notify()
        self._notify()
        return Pos(TXID(txid), Checksum(checksum))

    def _has_tried(self) -> bool:
        return self._attempts > 0 or self._has_ended

    def _sync(self, deadline: float | None) -> tuple[int, int]:
        self._await_open(deadline)
        try:
            return self._engine.sync()
        except PreviousIOError as error:
            self._log.warning("%s is opened again: %s", self._path, error)
            self._forget(error)
        except NotOpenError:
            # Another thread has found that, and let go of it between the two lines above.
            if self._is_stopping:
                raise
        # The meta directory was removed, or files of it: with a new one all is as at a start.
        self._await_open(deadline)
        try:
            return self._engine.sync()
        except PreviousIOError as error:
            self._forget(error)
            raise

    def _await_open(self, deadline: float | None) -> None:
        """Have the thread open the database, which may take as long as the replica takes to be listed."""
        if threading.current_thread() is self._thread:
            self._ensure_open()
            return
        attempts = self._attempts
        if not self._is_open:
            self._call.notify()
            self._engine.interrupt()
        while True:
            version = self._progress.version
            if self._is_open or self._is_absent():
                return
            if self._attempts > attempts and self.error is not None:
                raise self.error
            if self._has_ended:
                raise self._death or NotOpenError(f"not open: {self._path}", op="open", path=self._path)
            left = _CHECK_SECONDS if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise ReplicaTimeoutError(
                    f"{self._path} is still being opened", op="open", path=self._path
                ) from self.error
            self._progress.wait(version, min(left, _CHECK_SECONDS))

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
            if self._is_late:
                self._engine.abandon()

    def _last_sync(self, deadline: float) -> None:
        """Try until it works or the time is over, at least once."""
        while True:
            try:
                # A file that never came leaves nothing to replicate.
                with contextlib.suppress(NotReadyError):
                    self.sync()
            except Exception as error:
                self.failure = error
                if time.monotonic() + _RETRY_SECONDS > deadline:
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
            if not self._is_open and self._presence.is_gone():
                self._delay = _ABSENT_SECONDS
            else:
                self._step()
            self._backoff.succeeded()
        except BaseException as error:
            self._delay = self._backoff.failed(as_exception(error))
            self._forget(error)
        self._report_notices()
        if self.is_ready:
            self._presence.note()
        self._presence.report()
        self._attempts += 1
        self._progress.notify()
        return not self._is_stopping

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
            self._report_notices()
        self._call_seen = self._call.version

    def _step(self) -> None:
        if self._is_awaited and not self._engine.follow(_FOLLOW_SECONDS):
            return
        if self._ensure_open():
            if self.is_ready:
                self.sync()
            return
        new = self._engine.follow(_FOLLOW_SECONDS)
        txid = self._engine.pos[0]
        if new or txid != self._seen:
            self._seen = txid
            self._report_repair(txid)
            self._notify()

    def _ensure_open(self) -> bool:
        """Open the database; true if that had still to be done."""
        with self._opening:
            if self._is_open or self._is_absent():
                return False
            if self._presence.is_gone():
                raise self._presence.error("open")
            # The replica may take its time to answer.
            self._engine.attach()
            self._is_awaited = not self._engine.open(self._remote_txid())
            if not self._is_awaited:
                self._adopt_chain()
                self._is_open = True
            return True

    def _is_absent(self) -> bool:
        """Whether there was no database file, and is none."""
        return self._is_awaited and not has_content(self._path)

    def _adopt_chain(self) -> None:
        wanted = self._engine.chain_wanted
        if wanted is not None:
            self._log.info("%s is compared with its replica at TXID %s", self._path, TXID(wanted))
            try:
                self._adopt(TXID(wanted))
            except BaseException:
                self._engine.abandon()
                raise

    def _forget(self, error: BaseException) -> None:
        # The engine answers nothing else from now on; what is true has to be found out again. If that is going on, it is not
        # to be disturbed.
        if isinstance(error, PreviousIOError) and self._opening.acquire(blocking=False):
            try:
                self._is_open = self._is_awaited = False
                self._engine.abandon()
            finally:
                self._opening.release()

    def _report_repair(self, txid: int) -> None:
        """Say why a file does not simply hold what the WAL added."""
        if txid == self._reported:
            return
        self._reported = txid
        with contextlib.suppress(Error):
            facts = self._engine.status()
            now = facts["full_syncs"], facts["diff_syncs"], facts["incremental_syncs"]
            what = _repair(self._counted, now)
            self._counted = now
            # That the first file of all is whole needs no reason.
            if what is not None and txid > 1 and facts["reason"] is not None:
                message = "%s: the file for TXID %s holds %s: %s"
                self._log.info(message, self._path, TXID(txid), what, facts["reason"])

    def _report_notices(self) -> None:
        for notice in self._engine.take_notices():
            self._log.warning("%s", notice)


def _repair(before: tuple[int, int, int], now: tuple[int, int, int]) -> str | None:
    """What the newest file holds if it is no ordinary one, by the counts of full, differing and ordinary files."""
    # What was opened again counts from 0.
    if now == before or any(new < old for new, old in zip(now, before, strict=True)):
        before = (0, 0, 0)
    if now[0] > before[0]:
        return "every page"
    return "the pages that differ" if now[1] > before[1] else None
