"""The thread that turns commits into local L0 files."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from ltxcore._backoff import Backoff, as_exception
from ltxcore._log import Log
from ltxcore._wakeup import Wakeup
from ltxcore.errors import InternalError, NotReadyError, PreviousIOError, ReplicaTimeoutError
from ltxcore.ltx import TXID

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from ltxcore import _ltxcore
    from ltxcore._presence import Presence

#: follow() returns by itself after so many seconds; commits and interrupt() end it at once.
_FOLLOW_SECONDS = 5.0
#: What was abandoned and is gone as well is looked for so often.
_ABSENT_SECONDS = 1.0


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
        self._seen = 0
        self._death: BaseException | None = None
        self._wakeup = Wakeup()
        self._has_tried = self._has_ended = False
        self._is_stopping = self._is_late = False
        self._thread = threading.Thread(
            target=self._main, name=f"ltxcore-follow {os.path.basename(self._path)}", daemon=True
        )

    @property
    def is_ready(self) -> bool:
        """Whether the database file has been found, and is being followed."""
        return self._engine.page_size is not None

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
        while not self._has_tried and (left := deadline - time.monotonic()) > 0:
            version = self._wakeup.version
            if not self._has_tried:
                self._wakeup.wait(version, left)

    def sync(self, timeout: float | None = None) -> None:
        """Turn all that is committed now into local L0 files, from any thread.

        Args:
            timeout: how long to wait until another thread has opened the database, in seconds.

        Raises:
            NotReadyError: there is no database file.
            DatabaseError: it cannot be read.
            ReplicaTimeoutError: the replica, which is asked first, has not answered that thread.
        """
        try:
            self._sync(timeout)
        except NotReadyError as error:
            if self._presence.is_gone():
                raise self._presence.error("sync") from error
            raise
        finally:
            self._report_notices()
        self._presence.note()
        self._backoff.succeeded()
        # Whatever kept the thread from following is over, so it need not sit out its pause.
        self._wakeup.notify()
        self._notify()

    def _sync(self, timeout: float | None) -> None:
        self._ensure_open(timeout)
        try:
            return self._engine.sync()
        except PreviousIOError as error:
            self._forget(error)
        # The meta directory was removed, or files of it: with a new one all is as at a start.
        self._ensure_open(timeout)
        try:
            self._engine.sync()
        except PreviousIOError as error:
            self._forget(error)
            raise

    def stop(self, timeout: float) -> bool:
        """End the thread, and wait up to ``timeout`` seconds for it.

        Returns:
            Whether it has ended. If it has not, it lets the engine go when it does.
        """
        self._is_stopping = True
        if self._thread.ident is None:
            return True  # never started
        self._wakeup.notify()
        deadline = time.monotonic() + timeout
        while not self._has_ended and (left := deadline - time.monotonic()) > 0:
            version = self._wakeup.version
            # More than once, since it may have been between two waits when it was told.
            self._engine.interrupt()
            if not self._has_ended:
                self._wakeup.wait(version, min(left, 0.05))
        self._is_late = not self._has_ended
        return self._has_ended

    def _main(self) -> None:
        try:
            while not self._is_stopping:
                self._turn()
        except BaseException as error:
            self._death = InternalError(
                f"the thread that follows {self._path} has ended: {error!r}", op="follow", path=self._path
            )
            self._death.__cause__ = error
        finally:
            self._has_tried = self._has_ended = True
            self._wakeup.notify()
            if self._is_late:
                self._engine.abandon()

    def _turn(self) -> None:
        delay, version = 0.0, self._wakeup.version
        try:
            if not self._is_open and self._presence.is_gone():
                delay = _ABSENT_SECONDS
            else:
                self._step()
            self._backoff.succeeded()
        except BaseException as error:
            delay = self._backoff.failed(as_exception(error))
            self._forget(error)
        self._report_notices()
        if self.is_ready:
            self._presence.note()
        self._presence.report()
        if not self._has_tried:
            self._has_tried = True
            self._wakeup.notify()
            version = self._wakeup.version
        if delay and not self._is_stopping:
            self._wakeup.wait(version, delay)

    def _step(self) -> None:
        if self._ensure_open(None):
            if self.is_ready:
                self.sync()
            return
        # Also waits for a database file that does not exist yet.
        new = self._engine.follow(_FOLLOW_SECONDS)
        txid = self._engine.pos[0]
        if new or txid != self._seen:
            self._seen = txid
            self._notify()

    def _ensure_open(self, timeout: float | None) -> bool:
        """Open the database; true if that had still to be done."""
        if not self._opening.acquire(timeout=-1 if timeout is None else timeout):
            raise ReplicaTimeoutError(
                f"the replica of {self._path} has not answered yet", op="open", path=self._path
            )
        try:
            if self._is_open:
                return False
            if self._presence.is_gone():
                raise self._presence.error("open")
            self._engine.open(self._remote_txid())
            self._adopt_chain()
            self._is_open = True
            return True
        finally:
            self._opening.release()

    def _adopt_chain(self) -> None:
        wanted = self._engine.chain_wanted
        if wanted is not None:
            try:
                self._adopt(TXID(wanted))
            except BaseException:
                self._engine.abandon()
                raise

    def _forget(self, error: BaseException) -> None:
        if isinstance(error, PreviousIOError):
            # The engine answers nothing else from now on; what is true has to be found out again.
            with self._opening:
                self._is_open = False
                self._engine.abandon()

    def _report_notices(self) -> None:
        for notice in self._engine.take_notices():
            self._log.warning("%s", notice)
