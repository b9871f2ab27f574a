"""Blobs as files that are there: to read, to change in place."""

from __future__ import annotations

import contextlib
import io
import sqlite3
import threading
from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING

from ltxcore.blob_store import _forks
from ltxcore.blob_store._chunks import Part, open_chunk, read_at
from ltxcore.blob_store._failures import translated
from ltxcore.blob_store._readers import FORKED, Pool, let_go, reading, snapshot, take
from ltxcore.errors import BlobChangedError, ForkedError, StoreClosedError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer


#: Bytes that are read at once of what is read whole.
PIECE = 1 << 20


class Reader(io.RawIOBase):
    """A blob, or several in a row, as they were when this was opened.

    Over WAL it holds a connection and its snapshot until it is closed: what is written, deleted or evicted meanwhile
    changes nothing here, and the WAL cannot start anew. Otherwise nothing is held, and a blob that is gone
    raises :class:`BlobChangedError`.
    """

    holds_snapshot = True

    def __init__(
        self,
        name: str,
        pool: Pool,
        locate: Callable[[sqlite3.Cursor], list[Part]],
        note: Callable[[Reader], None],
        forget: Callable[[Reader], None],
    ) -> None:
        super().__init__()
        self.name = name
        self._pool = pool
        self._forget = forget
        self._use = threading.RLock()
        self._position = 0
        self._blob: sqlite3.Blob | None = None
        self._open_chunk = -1
        self._cursor: sqlite3.Cursor | None = None
        self._is_let_go = False
        self._is_forked = False
        #: Kept, so that it is not closed for want of anyone who holds it.
        self.store: object = None
        self._parts: list[Part] = []
        # First: a fork has to find whoever has a cursor.
        note(self)
        try:
            self._open(locate)
        except BaseException:
            forget(self)
            super().close()
            raise
        self._starts = [part[0] for part in self._parts]
        #: Length in bytes.
        self.size = sum(part[1] for part in self._parts)

    def _open(self, locate: Callable[[sqlite3.Cursor], list[Part]]) -> None:
        if self.holds_snapshot and self._pool.has_snapshots:
            cursor = take(self._pool)
            try:
                cursor.execute("BEGIN")
                self._parts = locate(cursor)
                self._pool.pinned.add(cursor)
            except BaseException as error:
                let_go(self._pool, cursor)
                if isinstance(error, sqlite3.Error):
                    raise translated(error) from error
                raise
            self._cursor = cursor
        else:
            with snapshot(self._pool) as cursor:
                self._parts = locate(cursor)

    @property
    def has_cursor(self) -> bool:
        """Whether it reads by a cursor of its own."""
        return self._cursor is not None

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """Offset in bytes of what comes next."""
        self._check_open()
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move to an offset, which may lie behind the end; the new one."""
        self._check_open()
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}.get(whence)
        if start is None:
            raise ValueError(f"whence is 0, 1 or 2, not {whence}")
        if start + offset < 0:
            raise ValueError(f"there is no offset {start + offset}")
        self._position = start + offset
        return self._position

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fill the buffer, as far as there are bytes; how many."""
        with self._use:
            self._check()
            view = memoryview(buffer).cast("B")
            done = 0
            try:
                while done < len(view) and self._position < self.size:
                    done += self._read_chunk(view[done:])
            except sqlite3.Error as error:
                raise translated(error) from error
            return done

    def readall(self) -> bytes:
        """All that is left."""
        whole = io.BytesIO()
        while piece := self.read(PIECE):
            whole.write(piece)
        return whole.getvalue()

    def _read_chunk(self, view: memoryview) -> int:
        """As much as is in one chunk."""
        index = bisect_right(self._starts, self._position) - 1
        while self._parts[index][1] <= self._position - self._starts[index]:
            index += 1  # past chunks without bytes
        start, size, chunk = self._parts[index]
        first = self._position - start
        length = min(size - first, len(view))
        if self._cursor is not None:
            view[:length] = read_at(self._chunk(self._cursor.connection, chunk, size), first, length)
        else:
            with reading(self._pool) as cursor, self._fresh(cursor.connection, chunk, size) as blob:
                view[:length] = read_at(blob, first, length)
        self._position += length
        return length

    def _chunk(self, connection: sqlite3.Connection, chunk: int, size: int) -> sqlite3.Blob:
        """A chunk of the snapshot; the one that was read last is kept open."""
        if self._blob is None or self._open_chunk != chunk:
            if self._blob is not None:
                self._blob.close()
            self._blob = None  # should the next one fail
            self._blob = open_chunk(connection, chunk, size)
            self._open_chunk = chunk
        return self._blob

    def _fresh(self, connection: sqlite3.Connection, chunk: int, size: int) -> sqlite3.Blob:
        try:
            return open_chunk(connection, chunk, size)
        except sqlite3.OperationalError as error:
            if "no such rowid" not in str(error):
                raise
            raise BlobChangedError(
                f"{self.name!r} was replaced, deleted or evicted while it was open"
            ) from error

    def hold_still(self, stack: contextlib.ExitStack, deadline: float) -> None:
        """See :class:`_forks.Forkable`."""
        _forks.acquire(self._use, stack, deadline)

    def abandon(self) -> list[object]:
        """In a forked child: what belongs to the parent and must be left alone."""
        self._is_forked = True
        kept: list[object] = [self._blob, self._cursor]
        self._blob = self._cursor = None
        # Whoever held it does not exist here.
        self._use = threading.RLock()
        return kept

    def _check(self) -> None:
        if self._is_forked:
            raise ForkedError(FORKED)
        if self._is_let_go:
            raise StoreClosedError("the store is closed")
        self._check_open()

    def _check_open(self) -> None:
        # Not more: a buffer in front of this moves about while it is closed, which may be after the store was.
        if self.closed:
            raise ValueError("I/O operation on closed file")

    def close(self) -> None:
        """Give the snapshot back."""
        if not self.closed:
            with self._use:
                self._release()
                super().close()

    def let_go(self) -> None:
        """The store is being closed."""
        with self._use:
            self._is_let_go = True
            self._release()

    def _release(self) -> None:
        cursor, self._cursor = self._cursor, None
        if cursor is not None:
            # First: should a signal come between any two of these, nothing holds the cursor.
            self._pool.pinned.discard(cursor)
        blob, self._blob = self._blob, None
        if blob is not None:
            blob.close()
        if cursor is not None:
            let_go(self._pool, cursor)
        self._forget(self)


class Updater(Reader):
    """A blob whose bytes can be changed where they are. Its size stays, and every write is a transaction."""

    holds_snapshot = False
    write_at: Callable[[int, memoryview], None]

    def writable(self) -> bool:
        """Yes."""
        return True

    def write(self, data: ReadableBuffer) -> int:
        """Replace bytes at the position; how many."""
        self._check()
        view = memoryview(data).cast("B")
        self.write_at(self._position, view)
        self._position += len(view)
        return len(view)
