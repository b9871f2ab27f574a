"""Bytes of blobs: whole, in ranges, and as files that can be read or changed in place."""

from __future__ import annotations

import contextlib
import io
import sqlite3
import threading
from bisect import bisect_right
from collections.abc import Callable
from typing import TYPE_CHECKING

from ltxcore.blob_store._process import forks
from ltxcore.blob_store._process.connections import Pool, end_reading, reading, snapshot, take
from ltxcore.blob_store._process.forks import FORKED, NEW_STORE, WeakObjects
from ltxcore.blob_store._sql import queries
from ltxcore.blob_store._sql.queries import GET, Part, open_chunk, read_at
from ltxcore.blob_store._sql.sqlite import translated
from ltxcore.blob_store._values import Stats, check_name
from ltxcore.blob_store._writer.thread import Writer
from ltxcore.errors import BlobChangedError, ForkedError, StoreClosedError

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

#: Bytes that are read at once of what is read whole.
PIECE = 1 << 20


class BlobReads:
    """Reads of blobs by name. Each of them counts as use, unless ``writer`` is None."""

    def __init__(
        self, pool: Pool, stats: Stats, open_files: WeakObjects[Reader], writer: Writer | None
    ) -> None:
        self._pool = pool
        self._stats = stats
        self._open_files = open_files
        self._writer = writer
        # The hot path of get() has these at hand.
        self._take = pool.take
        self._give = pool.give
        self._hold = pool.hold
        self._uses = None if writer is None else writer.uses

    def get(self, name: str, default: object = None) -> object:
        """See :meth:`BlobStore.get`."""
        try:
            cursor = self._take()
        except IndexError:
            cursor = self._pool.wait()
        try:
            row = cursor.execute(GET, (name,)).fetchone()
            found = None
            if row is not None and type(found := row[0]) is not bytes:
                found = self._get_long(cursor, name, found)
        except sqlite3.Error as error:
            check_name(name)
            raise translated(error) from error
        except UnicodeEncodeError:
            found = None  # the check says it better
        finally:
            self._give(cursor)
        if found is None:
            check_name(name)
            self._stats.misses += 1
            return default
        if not isinstance(name, str):
            # SQLite took a number for its digits.
            check_name(name)
        stats = self._stats
        stats.hits += 1
        stats.bytes_out += len(found)
        if stats.hits >= self._hold.due:
            self._hold.consider(stats.hits)
        uses = self._uses
        if uses is not None:
            noted = uses.noted
            try:
                noted[name] = noted.pop(name) + 1
            except KeyError:
                self._note_first_use(name)
        return found

    def _get_long(self, cursor: sqlite3.Cursor, name: str, item: int | None) -> bytes | None:
        """A blob that is too long to come with its row, or has several chunks."""
        try:
            # One chunk is read as it is: what has this id now has had it when the row was found.
            if item is not None:
                with open_chunk(cursor.connection, item, None) as blob:
                    return blob.read()
        except sqlite3.OperationalError as error:
            if "no such rowid" not in str(error):
                raise
        begins = not cursor.connection.in_transaction  # as in snapshot()
        try:
            if begins:
                cursor.execute("BEGIN")
            return queries.whole_blob(cursor.connection, name)
        finally:
            if begins:
                cursor.connection.rollback()

    def note_use(self, name: str) -> None:
        """Note that a blob was used."""
        if self._uses is not None:
            noted = self._uses.noted
            hits = noted.pop(name, 0)
            if hits:
                noted[name] = hits + 1
            else:
                self._note_first_use(name)

    def _note_first_use(self, name: str) -> None:
        if self._writer is not None:
            self._writer.uses.noted[name] = 1
            self._writer.schedule_use_flush()

    def read_range(self, name: str, offset: int, length: int, take: Callable[[bytes], object]) -> int:
        """Have bytes of a blob taken, a piece of each chunk; how many there were.

        Raises:
            BlobNotFoundError: there is no such blob.
            ValueError: ``offset`` or ``length`` is negative.
        """
        if offset < 0 or length < 0:
            raise ValueError(f"offset and length must not be negative: {offset}, {length}")
        with snapshot(self._pool) as cursor:
            item, size, parts = queries.locate(cursor, name)
            offset, length = min(offset, size), min(length, size)
            count = end = 0
            for start, part, chunk in queries.parts_within(
                cursor, item, size, parts, offset, offset + length
            ):
                first, last = max(offset - start, 0), min(offset + length - start, part)
                with open_chunk(cursor.connection, chunk, part) as blob:
                    take(read_at(blob, first, last - first))
                count, end = count + last - first, start + part
            if count != min(length, size - offset) or end > size:
                raise queries.incomplete(size)
        self._stats.range_reads += 1
        self._stats.bytes_out += count
        self.note_use(name)
        return count

    def open(self, name: str, store: object) -> io.BufferedReader:
        """See :meth:`BlobStore.open`. The file keeps ``store`` alive."""

        def locate(cursor: sqlite3.Cursor) -> list[Part]:
            return queries.parts_of(cursor.connection, *queries.locate(cursor, name))

        file = self._open(name, locate, store)
        self.note_use(name)
        return file

    def open_chunks(self, prefix: str, size: int | None, store: object) -> io.BufferedReader:
        """See :meth:`BlobStore.open_chunks`. The file keeps ``store`` alive."""
        names: list[str] = []

        def locate(cursor: sqlite3.Cursor) -> list[Part]:
            found: list[Part] = []
            for chunk in queries.consecutive(cursor.connection, prefix, size):
                names.append(chunk.name)
                for start, length, part in queries.parts_of(
                    cursor.connection, chunk.id, chunk.size, chunk.parts
                ):
                    found.append((chunk.offset + start, length, part))
            return found

        file = self._open(prefix, locate, store)
        for name in names:
            self.note_use(name)
        return file

    def _open(
        self, name: str, locate: Callable[[sqlite3.Cursor], list[Part]], store: object
    ) -> io.BufferedReader:
        self._pool.check_file()
        reader = Reader(name, self._pool, locate, self._open_files)
        reader.store = store
        self._stats.opens += 1
        return io.BufferedReader(reader, io.DEFAULT_BUFFER_SIZE * 8)

    def open_updater(self, name: str, writer: Writer, store: object) -> io.BufferedRandom:
        """A blob to be changed in place. The file keeps ``store`` alive."""
        found = 0

        def locate(cursor: sqlite3.Cursor) -> list[Part]:
            nonlocal found
            found, size, parts = queries.locate(cursor, name)
            return queries.parts_of(cursor.connection, found, size, parts)

        def write_at(offset: int, data: memoryview) -> None:
            payload = bytes(data)
            writer.call(lambda transaction: transaction.write_at(name, offset, memoryview(payload), found))

        updater = Updater(name, self._pool, locate, self._open_files)
        updater.write_at = write_at
        updater.store = store
        return io.BufferedRandom(updater)


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
        open_files: WeakObjects[Reader],
    ) -> None:
        super().__init__()
        self.name = name
        self._pool = pool
        self._open_files = open_files
        self._use = threading.RLock()
        self._position = 0
        self._blob: sqlite3.Blob | None = None
        self._open_chunk = -1
        self._cursor: sqlite3.Cursor | None = None
        self._is_invalid = False
        self._is_forked = False
        #: Kept, so that it is not closed for want of anyone who holds it.
        self.store: object = None
        self._parts: list[Part] = []
        # First: a fork has to find whoever has a cursor.
        open_files.add(self)
        try:
            self._open(locate)
        except BaseException:
            open_files.discard(self)
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
                end_reading(self._pool, cursor)
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

    def lock_for_fork(self, stack: contextlib.ExitStack, deadline: float) -> None:
        """See :class:`forks.Forkable`."""
        forks.acquire(self._use, stack, deadline)

    def forget_parent(self) -> list[object]:
        """In a forked child: what belongs to the parent and must be left alone."""
        self._is_forked = True
        kept: list[object] = [self._blob, self._cursor]
        self._blob = self._cursor = None
        # Whoever held it does not exist here.
        self._use = threading.RLock()
        return kept

    def _check(self) -> None:
        if self._is_forked:
            raise ForkedError(FORKED, hint=NEW_STORE)
        if self._is_invalid:
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

    def invalidate(self) -> None:
        """Give everything back: the store is being closed."""
        with self._use:
            self._is_invalid = True
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
            end_reading(self._pool, cursor)
        self._open_files.discard(self)


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
