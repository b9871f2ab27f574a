"""Connections that read: as many as are needed at once, kept for the next one; and a read hold.

A read hold is a read transaction that is kept for some milliseconds while reads follow one another closely. Half of a
small read's time goes to the two system calls that take and release the lock of its WAL transaction. SQLite counts the
locks of a process's connections, and asks the system for the first and the last of them only. So while one connection
stays in a transaction, the reads of all others do without those calls.

What stays in a transaction holds the WAL back: it cannot be reset, nor checkpointed to its end. So every write of this
process ends it first, and time does, after which there is a gap for the checkpoints of others. If others have written
meanwhile, the gap is long: they have to find the moment in which nothing is read for both a checkpoint and the write
after it, or their WAL grows.
"""

from __future__ import annotations

import contextlib
import sqlite3
import sys
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from ltxcore.blob_store._process import forks
from ltxcore.blob_store._process.forks import FORKED, NEW_STORE, AutoResetEvent
from ltxcore.blob_store._process.identity import FileIdentity
from ltxcore.blob_store._sql.sqlite import set_connection, translated
from ltxcore.blob_store._values import Options
from ltxcore.errors import ForkedError, StoreBusyError, StoreClosedError, StoreMovedError

#: As many reads within so many seconds, without a write among them, are close to one another.
BURST = 64
BURST_SECONDS = 0.01
#: How much of the time that a transaction was kept none is kept afterwards.
GAP = 0.25
#: Seconds for which none is kept after a failure, or a write of others.
PAUSE = 1.0
NEVER = sys.maxsize


class ReadHold(contextlib.AbstractContextManager[None]):
    """The transaction. As a context manager it is what ends it for the time of a write.

    Nothing is wrong with reads while there is none, nor while there is one that is out of date: whatever fails here
    only makes reads slower.
    """

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        seconds: float,
        check_file: Callable[[], None] | None = None,
    ) -> None:
        """``seconds`` is how long a transaction is kept; 0 is never. ``check_file`` is called before that is considered."""
        #: The number of reads at which :meth:`consider` is to be called.
        self.due = 0 if seconds or check_file else NEVER
        self._check_file = check_file
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
        self._begun, self._end = AutoResetEvent(), AutoResetEvent()

    @property
    def is_held(self) -> bool:
        """Whether there is a transaction."""
        connection = self._connection
        return connection is not None and connection.in_transaction

    def consider(self, reads: int) -> None:
        """Begin the transaction if reads are frequent; ``reads`` is how many there were."""
        if self._check_file is not None:
            self._check_file()
        if not self._seconds:
            self.due = reads + BURST
            return
        with self._lock:
            now = time.monotonic()
            if now - self._since < BURST_SECONDS and now >= self._not_before and not self._is_writing:
                self.due = NEVER
                self._begin(now)
            elif not self.is_held:
                self._since, self.due = now, reads + BURST

    def _begin(self, now: float) -> None:
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
            self._begun.set()
            self._connection.execute("BEGIN")
            self._version = self._data_version(self._connection)
        except StoreMovedError:
            self._end_transaction()
            raise
        except (sqlite3.Error, RuntimeError):
            self._end_transaction()
            self._not_before = now + PAUSE

    @staticmethod
    def _data_version(connection: sqlite3.Connection) -> int:
        """Another one whenever something else has been committed; a read like any other."""
        found: int = connection.execute("PRAGMA data_version").fetchone()[0]
        return found

    def _end_transaction(self) -> None:
        connection = self._connection
        if connection is not None and connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        if not self._is_closed:
            self._since, self.due = 0.0, 0

    def __enter__(self) -> None:
        with self._lock:
            self._is_writing = True
            self._end_transaction()

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
        self._end_transaction()
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
            self._begun.set()
            self._end.set()
            if self._thread is not None and self._thread is not threading.current_thread():
                self._thread.join()

    def lock_for_fork(self, stack: contextlib.ExitStack, deadline: float) -> None:
        """See :class:`forks.Forkable`."""
        forks.acquire(self._lock, stack, deadline)

    def forget_parent(self) -> list[sqlite3.Connection]:
        """In a forked child: the parent's connection, which must be left alone."""
        self._lock, self._is_closed, self.due = threading.RLock(), True, NEVER
        connection, self._connection = self._connection, None
        return [] if connection is None else [connection]


class Pool(Protocol):
    """Where cursors to read with come from. A cursor is one thread's until it is given back."""

    #: Whether a read transaction keeps what it saw while others write.
    has_snapshots: bool
    #: Makes small reads fast while there are many.
    hold: ReadHold
    #: Held by whoever writes.
    guard: contextlib.AbstractContextManager[object]
    #: Cursors of blobs that are open. If only those held them, and they became garbage, Python might close a cursor's
    #: connection first, and the blob give it back then.
    pinned: set[sqlite3.Cursor]

    def check_file(self) -> None:
        """Make sure, now and then, that the file still is where it was.

        Raises:
            StoreMovedError: it is not.
        """

    def take(self) -> sqlite3.Cursor:
        """A cursor; IndexError if :meth:`wait` has to be asked for one."""

    def wait(self) -> sqlite3.Cursor:
        """A cursor, made or waited for.

        Raises:
            StoreBusyError: all are in use for too long.
            StoreClosedError: the store is closed.
        """

    @property
    def give(self) -> Callable[[sqlite3.Cursor], object]:
        """Takes a cursor back."""

    def lock_for_fork(
        self, stack: contextlib.ExitStack, deadline: float, lock_readers: Callable[[], int]
    ) -> None:
        """See :class:`forks.Forkable`.

        Args:
            stack: as there.
            deadline: as there.
            lock_readers: locks the blobs that are open; how many cursors of this pool they have, and keep meanwhile.
        """

    @property
    def is_at_rest(self) -> bool:
        """Whether it is closed, and nobody reads any more."""

    def close(self) -> None:
        """No more."""


def take(pool: Pool) -> sqlite3.Cursor:
    """A cursor, made or waited for if none is idle."""
    try:
        return pool.take()
    except IndexError:
        return pool.wait()


def end_reading(pool: Pool, cursor: sqlite3.Cursor) -> None:
    """End a read transaction, and give its cursor back."""
    pool.pinned.discard(cursor)
    with contextlib.suppress(sqlite3.Error):
        if cursor.connection.in_transaction:
            cursor.execute("ROLLBACK")
    pool.give(cursor)


@contextlib.contextmanager
def reading(pool: Pool) -> Iterator[sqlite3.Cursor]:
    """A cursor for a while; what SQLite raises becomes ours."""
    pool.check_file()
    cursor = take(pool)
    try:
        yield cursor
    except sqlite3.Error as error:
        raise translated(error) from error
    finally:
        pool.give(cursor)


@contextlib.contextmanager
def snapshot(pool: Pool) -> Iterator[sqlite3.Cursor]:
    """A cursor whose statements all see one state of the store."""
    with reading(pool) as cursor:
        # In memory, a finalizer may read in the middle of a write of its own thread.
        begins = not cursor.connection.in_transaction
        # In this form, whenever a signal comes: SQLite's functions are called before Python looks for one again.
        try:
            if begins:
                cursor.execute("BEGIN")
            yield cursor
        finally:
            if begins:
                cursor.connection.rollback()


class FilePool:
    """A connection for everyone who reads at the same time."""

    def __init__(
        self,
        connect: Callable[[], sqlite3.Connection],
        options: Options,
        file: FileIdentity | None,
        *,
        is_wal: bool,
    ) -> None:
        self.has_snapshots = is_wal
        self._file = file
        # Without a WAL it would keep everybody from writing.
        self.hold = ReadHold(
            connect, options.hold_reads if is_wal else 0.0, self.check_file if file else None
        )
        self.guard: contextlib.AbstractContextManager[object] = self.hold
        self._connect = connect
        self._options = options
        self.pinned: set[sqlite3.Cursor] = set()
        self._idle: list[sqlite3.Cursor] = []
        #: All that there are. One that a signal keeps from being given back is garbage, and makes room for another.
        self._made: weakref.WeakSet[sqlite3.Cursor] = weakref.WeakSet()
        self._making = threading.RLock()
        #: One of each thread that waits.
        self._waiters: deque[AutoResetEvent] = deque()
        self._is_closed = False
        self._is_forked = False
        #: The hot path: one call into C, and no lock.
        self.take = self._idle.pop

    def check_file(self) -> None:
        """See :class:`Pool`."""
        if self._file is not None:
            self._file.check_if_due()

    def wait(self) -> sqlite3.Cursor:
        """See :class:`Pool`."""
        deadline = time.monotonic() + self._options.busy_timeout
        if self._is_forked:
            raise ForkedError(FORKED, hint=NEW_STORE)
        while True:
            if self._is_closed:
                raise StoreClosedError("the store is closed")
            with contextlib.suppress(IndexError):
                return self._idle.pop()
            made = self._make()
            if made is not None:
                return made
            if time.monotonic() > deadline:
                raise StoreBusyError(
                    f"all {self._options.readers} readers are in use",
                    hint="close blobs that are open for reading, or ask for more readers",
                )
            self._wait_for_one()

    def _make(self) -> sqlite3.Cursor | None:
        """One more, unless there are as many as there may be."""
        with self._making:
            if len(self._made) >= self._options.readers:
                return None
            try:
                connection = self._connect()
                try:
                    set_connection(connection, self._options)
                except BaseException:
                    connection.close()
                    raise
            except sqlite3.Error as error:
                raise translated(error) from error
            cursor = connection.cursor()
            self._made.add(cursor)
            return cursor

    def give(self, cursor: sqlite3.Cursor) -> None:
        """See :class:`Pool`."""
        self._idle.append(cursor)
        if self._is_closed:
            self._close_idle()
        elif self._waiters:
            self._wake_one()

    def _wait_for_one(self) -> None:
        event = AutoResetEvent()
        self._waiters.append(event)
        try:
            # One may have been given back between the last look and this; so look again soon.
            event.wait(0.001 if self._idle else 0.05)
        finally:
            with contextlib.suppress(ValueError):
                self._waiters.remove(event)

    def _wake_one(self) -> None:
        with contextlib.suppress(IndexError):
            self._waiters.popleft().set()

    @property
    def is_at_rest(self) -> bool:
        """See :class:`Pool`."""
        return self._is_closed and not self._made

    def close(self) -> None:
        """Close what is idle now, and the rest when it is given back."""
        self._is_closed = True
        while self._waiters:
            self._wake_one()
        self.hold.close()
        self._close_idle()

    def lock_for_fork(
        self, stack: contextlib.ExitStack, deadline: float, lock_readers: Callable[[], int]
    ) -> None:
        """See :class:`Pool`."""
        forks.acquire(self._making, stack, deadline)
        self.hold.lock_for_fork(stack, deadline)
        taken = 0
        # Again and again: meanwhile blobs may be opened, and closed.
        while taken + lock_readers() < len(self._made) and time.monotonic() < deadline:
            try:
                # Whoever comes to read finds none, and nobody can make one.
                stack.callback(self.give, self._idle.pop())
                taken += 1
            except IndexError:
                time.sleep(0.0005)

    def forget_parent(self) -> list[sqlite3.Connection]:
        """In a forked child: the parent's connections, which must be left alone."""
        self._is_forked = True
        # Whoever held it does not exist here.
        self._making = threading.RLock()
        connections = [cursor.connection for cursor in self._idle]
        self._idle.clear()
        return connections + self.hold.forget_parent()

    def _close_idle(self) -> None:
        while True:
            try:
                cursor = self._idle.pop()
            except IndexError:
                return
            cursor.connection.close()


class OnePool:
    """One connection for everybody, the writer too: a database in memory has no other."""

    has_snapshots = False

    def __init__(self, connection: sqlite3.Connection) -> None:
        self.hold = ReadHold(lambda: connection, 0.0)
        #: Whoever uses the connection has it to himself.
        self._lock = threading.RLock()
        self.guard: contextlib.AbstractContextManager[object] = self._lock
        self.pinned: set[sqlite3.Cursor] = set()
        #: One call into C, so that no signal can come before it is done: nobody else could read any more. All statements
        #: are at their end, and the cursor needs no more than to be forgotten.
        self.give: Callable[[sqlite3.Cursor], object] = self._lock.__exit__  # type: ignore[assignment] # any arguments do
        self._connection = connection
        self._is_closed = False
        self._is_forked = False

    def take(self) -> sqlite3.Cursor:
        """See :class:`Pool`."""
        if self._is_forked:
            raise ForkedError(FORKED, hint=NEW_STORE)
        try:
            self._lock.acquire()
            if self._is_closed:
                raise StoreClosedError("the store is closed")
            return self._connection.cursor()
        except BaseException:
            # It is not held if a signal came before it was.
            with contextlib.suppress(RuntimeError):
                self._lock.release()
            raise

    def check_file(self) -> None:
        """See :class:`Pool`. There is no file."""

    def wait(self) -> sqlite3.Cursor:
        """See :class:`Pool`."""
        return self.take()

    @property
    def is_at_rest(self) -> bool:
        """See :class:`Pool`."""
        return self._is_closed

    def close(self) -> None:
        """No more readers; the connection is the writer's to close."""
        with self._lock:
            self._is_closed = True

    def lock_for_fork(
        self, stack: contextlib.ExitStack, deadline: float, _lock_readers: Callable[[], int]
    ) -> None:
        """See :class:`Pool`."""
        forks.acquire(self._lock, stack, deadline)

    def forget_parent(self) -> list[sqlite3.Connection]:
        """In a forked child: nothing may be read any more."""
        self._is_forked = True
        return []
