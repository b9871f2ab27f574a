"""The thread that turns commits into local L0 files."""

from __future__ import annotations

import os
import threading
import time
from typing import TYPE_CHECKING

from ltxcore._backoff import Backoff
from ltxcore.errors import PreviousIOError
from ltxcore.ltx import TXID

if TYPE_CHECKING:
    import logging
    from collections.abc import Callable

    from ltxcore import _ltxcore

#: follow() returns by itself after so many seconds; commits and interrupt() end it at once.
_FOLLOW_SECONDS = 30.0


class Follower:
    """Opens the database as soon as it exists, and then waits for commits.

    Args:
        engine: the native database.
        path: the database file, for messages.
        remote_txid: asks for the highest TXID in the replica, when the database is about to be opened.
        notify: called when there are new local L0 files.
        adopt: called with a TXID of the replica when nothing is known of the pages there: gives their checksums to the engine.
        interval: the first pause after a failure, in seconds.
        logger: where failures go.
    """

    def __init__(
        self,
        engine: _ltxcore.Database,
        path: str | os.PathLike[str],
        *,
        remote_txid: Callable[[], TXID],
        notify: Callable[[], None],
        adopt: Callable[[TXID], None],
        interval: float,
        logger: logging.Logger,
    ) -> None:
        #: Set once the first attempt is over, whether or not it worked.
        self.attempted = threading.Event()
        self._engine = engine
        self._path = os.fspath(path)
        self._remote_txid = remote_txid
        self._notify = notify
        self._adopt = adopt
        self._backoff = Backoff("following", path, interval, logger)
        self._opening = threading.Lock()
        self._is_open = False
        self._seen = 0
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._thread = threading.Thread(
            target=self._run, name=f"ltxcore-follow {os.path.basename(self._path)}", daemon=True
        )

    @property
    def is_ready(self) -> bool:
        """Whether the database file has been found, and is being followed."""
        return self._engine.page_size is not None

    @property
    def error(self) -> BaseException | None:
        """What the latest attempt failed with, or ``None``."""
        return self._backoff.error

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def sync(self) -> None:
        """Turn all that is committed now into local L0 files, from any thread.

        Raises:
            NotReadyError: there is no database file yet.
            DatabaseError: it cannot be read.
        """
        self._ensure_open()
        self._engine.sync()
        self._backoff.succeeded()
        # Whatever kept the thread from following is over, so it need not sit out its pause.
        self._wake.set()
        self._notify()

    def stop(self, timeout: float) -> bool:
        """End the thread, and wait up to ``timeout`` seconds for it; false if it is still busy then."""
        self._stop.set()
        self._wake.set()
        deadline = time.monotonic() + timeout
        while self._thread.is_alive() and time.monotonic() < deadline:
            # More than once, since it may have been between two waits when it was told.
            self._engine.interrupt()
            self._thread.join(0.05)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while not self._stop.is_set():
            delay = 0.0
            try:
                self._step()
                self._backoff.succeeded()
            except BaseException as error:
                delay = self._backoff.failed(error)
                self._forget(error)
            self.attempted.set()
            self._wake.wait(delay)
            self._wake.clear()

    def _step(self) -> None:
        if self._ensure_open():
            if self.is_ready:
                self.sync()
            return
        # Also waits for a database file that does not exist yet.
        new = self._engine.follow(_FOLLOW_SECONDS)
        txid = self._engine.pos[0]
        if new or txid != self._seen:
            self._seen = txid
            self._notify()

    def _ensure_open(self) -> bool:
        """Open the database; true if that had still to be done."""
        with self._opening:
            if self._is_open:
                return False
            self._engine.open(self._remote_txid())
            self._adopt_chain()
            self._is_open = True
            return True

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
