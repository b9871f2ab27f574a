"""Connections that read: as many as are needed at once, kept for the next one."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Protocol

from ltxcore.blob_store import _forks, _options
from ltxcore.blob_store._bell import Bell
from ltxcore.blob_store._failures import translated
from ltxcore.blob_store._hold import Hold
from ltxcore.blob_store._options import Options
from ltxcore.blob_store._place import Place
from ltxcore.errors import ForkedError, StoreBusyError, StoreClosedError

FORKED = "the store was opened by the parent process, and cannot be used after a fork"


class Pool(Protocol):
    """Where cursors to read with come from. A cursor is one thread's until it is given back."""

    #: Whether a read transaction keeps what it saw while others write.
    has_snapshots: bool
    #: Makes small reads fast while there are many.
    hold: Hold
    #: Held by whoever writes.
    guard: contextlib.AbstractContextManager[object]
    #: Cursors of blobs that are open. If only those held them, and they became garbage, Python might close a cursor's
    #: connection first, and the blob give it back then.
    pinned: set[sqlite3.Cursor]

    def look(self) -> None:
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

    def hold_still(
        self, stack: contextlib.ExitStack, deadline: float, hold_readers: Callable[[], int]
    ) -> None:
        """See :class:`_forks.Forkable`.

        Args:
            stack: as there.
            deadline: as there.
            hold_readers: holds the blobs that are open; how many cursors of this pool they have, and keep meanwhile.
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


def let_go(pool: Pool, cursor: sqlite3.Cursor) -> None:
    """End a read transaction, and give its cursor back."""
    pool.pinned.discard(cursor)
    with contextlib.suppress(sqlite3.Error):
        if cursor.connection.in_transaction:
            cursor.execute("ROLLBACK")
    pool.give(cursor)


@contextlib.contextmanager
def reading(pool: Pool) -> Iterator[sqlite3.Cursor]:
    """A cursor for a while; what SQLite raises becomes ours."""
    pool.look()
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
        place: Place | None,
        *,
        is_wal: bool,
    ) -> None:
        self.has_snapshots = is_wal
        self._place = place
        # Without a WAL it would keep everybody from writing.
        self.hold = Hold(connect, options.hold_reads if is_wal else 0.0, self.look if place else None)
        self.guard: contextlib.AbstractContextManager[object] = self.hold
        self._connect = connect
        self._options = options
        self.pinned: set[sqlite3.Cursor] = set()
        self._idle: list[sqlite3.Cursor] = []
        #: All that there are. One that a signal keeps from being given back is garbage, and makes room for another.
        self._made: weakref.WeakSet[sqlite3.Cursor] = weakref.WeakSet()
        self._making = threading.RLock()
        #: One of each thread that waits.
        self._bells: deque[Bell] = deque()
        self._is_closed = False
        self._is_forked = False
        #: The hot path: one call into C, and no lock.
        self.take = self._idle.pop

    def look(self) -> None:
        """See :class:`Pool`."""
        if self._place is not None:
            self._place.look()

    def wait(self) -> sqlite3.Cursor:
        """See :class:`Pool`."""
        deadline = time.monotonic() + self._options.busy_timeout
        if self._is_forked:
            raise ForkedError(FORKED)
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
                    _options.set_connection(connection, self._options)
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
        elif self._bells:
            self._ring()

    def _wait_for_one(self) -> None:
        bell = Bell()
        self._bells.append(bell)
        try:
            # One may have been given back between the last look and this; so look again soon.
            bell.wait(0.001 if self._idle else 0.05)
        finally:
            with contextlib.suppress(ValueError):
                self._bells.remove(bell)

    def _ring(self) -> None:
        with contextlib.suppress(IndexError):
            self._bells.popleft().ring()

    @property
    def is_at_rest(self) -> bool:
        """See :class:`Pool`."""
        return self._is_closed and not self._made

    def close(self) -> None:
        """Close what is idle now, and the rest when it is given back."""
        self._is_closed = True
        while self._bells:
            self._ring()
        self.hold.close()
        self._close_idle()

    def hold_still(
        self, stack: contextlib.ExitStack, deadline: float, hold_readers: Callable[[], int]
    ) -> None:
        """See :class:`Pool`."""
        _forks.acquire(self._making, stack, deadline)
        self.hold.hold_still(stack, deadline)
        taken = 0
        # Again and again: meanwhile blobs may be opened, and closed.
        while taken + hold_readers() < len(self._made) and time.monotonic() < deadline:
            try:
                # Whoever comes to read finds none, and nobody can make one.
                stack.callback(self.give, self._idle.pop())
                taken += 1
            except IndexError:
                time.sleep(0.0005)

    def abandon(self) -> list[sqlite3.Connection]:
        """In a forked child: the parent's connections, which must be left alone."""
        self._is_forked = True
        # Whoever held it does not exist here.
        self._making = threading.RLock()
        connections = [cursor.connection for cursor in self._idle]
        self._idle.clear()
        return connections + self.hold.abandon()

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
        self.hold = Hold(lambda: connection, 0.0)
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
            raise ForkedError(FORKED)
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

    def look(self) -> None:
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

    def hold_still(
        self, stack: contextlib.ExitStack, deadline: float, _hold_readers: Callable[[], int]
    ) -> None:
        """See :class:`Pool`."""
        _forks.acquire(self._lock, stack, deadline)

    def abandon(self) -> list[sqlite3.Connection]:
        """In a forked child: nothing may be read any more."""
        self._is_forked = True
        return []
