"""A read transaction that is kept for some milliseconds while reads follow one another closely.

Half of a small read's time goes to the two system calls that take and release the lock of its WAL transaction. SQLite
counts the locks of a process's connections, and asks the system for the first and the last of them only. So while one
connection stays in a transaction, the reads of all others do without those calls.

What stays in a transaction holds the WAL back: it cannot be begun anew, nor checkpointed to its end. So every write of
this process ends it first, and time does, after which there is a gap for the checkpoints of others. If others have
written meanwhile, the gap is long: they have to find the moment in which nothing is read for both a checkpoint and the
write after it, or their WAL grows.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import threading
import time
from collections.abc import Callable

from ltxcore.blob_store import _forks
from ltxcore.blob_store._bell import Bell
from ltxcore.errors import StoreMovedError

#: As many reads within so many seconds, without a write among them, are close to one another.
BURST = 64
BURST_SECONDS = 0.01
#: How much of the time that a transaction was kept none is kept afterwards.
GAP = 0.25
#: Seconds for which none is kept after a failure, or a write of others.
PAUSE = 1.0
NEVER = sys.maxsize


class Hold(contextlib.AbstractContextManager[None]):
    """The transaction. As a context manager it is what ends it for the time of a write.

    Nothing is wrong with reads while there is none, nor while there is one that is out of date: whatever fails here
    only makes reads slower.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        seconds: float,
        look: Callable[[], None] | None = None,
    ) -> None:
        """``seconds`` is how long a transaction is kept; 0 is never. ``look`` is called before it is considered."""
        #: The number of reads at which :meth:`consider` is to be called.
        self.due = 0 if seconds or look else NEVER
        self._look = look
        self._connect = connect
        self._seconds = seconds
        self._connection: sqlite3.Connection | None = None
        # A store may be found to be garbage, and be closed, wherever this is held.
        self._lock = threading.RLock()
        self._is_writing = False
        self._is_closed = not seconds
        #: When the first of some reads was, if all followed it closely.
        self._since = 0.0
        self._not_before = 0.0
        self._version = 0
        self._thread: threading.Thread | None = None
        self._begun, self._end = Bell(), Bell()

    @property
    def is_held(self) -> bool:
        """Whether there is a transaction."""
        connection = self._connection
        return connection is not None and connection.in_transaction

    def consider(self, reads: int) -> None:
        """Begin the transaction if reads are frequent; ``reads`` is how many there were."""
        if self._look is not None:
            self._look()
        if not self._seconds:
            self.due = reads + BURST
            return
        with self._lock:
            now = time.monotonic()
            if now - self._since < BURST_SECONDS and now >= self._not_before and not self._is_writing:
                self.due = NEVER
                self._take(now)
            elif not self.is_held:
                self._since, self.due = now, reads + BURST

    def _take(self, now: float) -> None:
        if self._is_closed:
            return
        try:
            if self._connection is None:
                self._connection = self._connect()
                self._connection.execute("PRAGMA busy_timeout = 0")
            if self._thread is None:
                thread = threading.Thread(target=self._run, name="ltxcore-blob-hold", daemon=True)
                thread.start()
                self._thread = thread
            # First: whatever happens from here on, the transaction ends in time.
            self._begun.ring()
            self._connection.execute("BEGIN")
            self._version = self._data_version(self._connection)
        except StoreMovedError:
            self._let_go()
            raise
        except (sqlite3.Error, RuntimeError):
            self._let_go()
            self._not_before = now + PAUSE

    @staticmethod
    def _data_version(connection: sqlite3.Connection) -> int:
        """Another one whenever something else has been committed; a read like any other."""
        found: int = connection.execute("PRAGMA data_version").fetchone()[0]
        return found

    def _let_go(self) -> None:
        connection = self._connection
        if connection is not None and connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        if not self._is_closed:
            self._since, self.due = 0.0, 0

    def __enter__(self) -> None:
        with self._lock:
            self._is_writing = True
            self._let_go()

    def __exit__(self, *problem: object) -> None:
        self._is_writing = False

    def _run(self) -> None:
        while True:
            self._begun.wait()
            if self._end.wait(self._seconds):
                return
            with self._lock:
                self._time_out()

    def _time_out(self) -> None:
        connection = self._connection
        if connection is None or not connection.in_transaction:
            return
        self._let_go()
        gap = PAUSE
        with contextlib.suppress(sqlite3.Error):
            if self._data_version(connection) == self._version:
                gap = self._seconds * GAP
        self._not_before = time.monotonic() + gap

    def close(self) -> None:
        """No more."""
        with self._lock:
            is_first, self._is_closed, self.due = not self._is_closed, True, NEVER
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()
        if is_first:
            self._begun.ring()
            self._end.ring()
            if self._thread is not None and self._thread is not threading.current_thread():
                self._thread.join()

    def hold_still(self, stack: contextlib.ExitStack, deadline: float) -> None:
        """See :class:`_forks.Forkable`."""
        _forks.acquire(self._lock, stack, deadline)

    def abandon(self) -> list[sqlite3.Connection]:
        """In a forked child: the parent's connection, which must be left alone."""
        self._lock, self._is_closed, self.due = threading.RLock(), True, NEVER
        connection, self._connection = self._connection, None
        return [] if connection is None else [connection]
