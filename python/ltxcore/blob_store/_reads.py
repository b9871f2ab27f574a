"""The half of a store that reads."""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, TypeVar, cast, overload

from ltxcore.blob_store import _names, _stats
from ltxcore.blob_store._chunks import (
    FIND,
    Part,
    consecutive,
    incomplete,
    open_chunk,
    parts_of,
    read_at,
    whole_blob,
    within,
)
from ltxcore.blob_store._engine import Engine
from ltxcore.blob_store._failures import not_found, translated
from ltxcore.blob_store._options import EffectiveOptions, Options
from ltxcore.blob_store._readers import reading, snapshot
from ltxcore.blob_store._stats import BlobStat, Stats, Usage, moment
from ltxcore.blob_store._streams import Reader
from ltxcore.blob_store._tags import TagValue, decode_tags

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

D = TypeVar("D")

#: Blobs up to 64 KiB come with the row that finds them; of longer ones the id does, since to read them into place copies
#: them once instead of twice. In one column, because a second one is a twentieth of a hit. NULL is a blob in parts, or a
#: damaged one.
_GET = """
SELECT CASE WHEN length(c.data) IS NOT i.size THEN NULL WHEN i.size <= 65536 THEN c.data ELSE i.id END
FROM item i LEFT JOIN chunk c ON c.id = i.id WHERE i.name = ?
"""
#: Names that a listing asks for at once.
PAGE = 1000
_STAT = "SELECT size, hits, created_ms, used_ms, version, tags FROM item WHERE name = ?"


class Reads:
    """Everything about a store that leaves its blobs as they are."""

    _engine: Engine

    def _bind(self, engine: Engine) -> None:
        self._engine = engine
        # The hot path of get() has these at hand.
        self._pool = engine.pool
        self._take = engine.pool.take
        self._give = engine.pool.give
        self._stats = engine.stats
        self._hold = engine.pool.hold
        notes_use = engine.can_write and engine.options.touch != "off"
        self._uses = engine.writer.uses if notes_use else None

    @overload
    def get(self, name: str) -> bytes | None: ...
    @overload
    def get(self, name: str, default: D) -> bytes | D: ...
    def get(self, name: str, default: object = None) -> object:
        """The bytes of a blob, or ``default``.

        Args:
            name: which blob.
            default: what to return if there is none.

        Raises:
            StoreBusyError: no reader was free in time.
            StoreClosedError: the store is closed.
        """
        try:
            cursor = self._take()
        except IndexError:
            cursor = self._pool.wait()
        try:
            row = cursor.execute(_GET, (name,)).fetchone()
            found = None
            if row is not None and type(found := row[0]) is not bytes:
                found = self._get_long(cursor, name, found)
        except sqlite3.Error as error:
            _names.check(name)
            raise translated(error) from error
        except UnicodeEncodeError:
            found = None  # the check says it better
        finally:
            self._give(cursor)
        if found is None or not isinstance(name, str):
            # SQLite would take a number for its digits.
            _names.check(name)
        if found is None:
            self._stats.misses += 1
            return default
        stats = self._stats
        stats.hits += 1
        stats.bytes_out += len(found)
        if stats.hits >= self._hold.due:
            self._hold.consider(stats.hits)
        if self._uses is not None:
            noted = self._uses.noted
            try:
                noted[name] = noted.pop(name) + 1
            except KeyError:
                self._first_use(name)
        return found

    def _first_use(self, name: str) -> None:
        writer = self._engine.writer
        writer.uses.noted[name] = 1
        writer.nudge()

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
            return whole_blob(cursor.connection, name)
        finally:
            if begins:
                cursor.connection.rollback()

    def __getitem__(self, name: str) -> bytes:
        found = self.get(name)
        if found is None:
            raise not_found(name)
        return found

    def read_range(self, name: str, offset: int, length: int) -> bytes:
        """Bytes of a blob; fewer if it ends before.

        Args:
            name: which blob.
            offset: of the first byte.
            length: bytes at most.

        Raises:
            BlobNotFoundError: there is no such blob.
            ValueError: ``offset`` or ``length`` is negative.
        """
        whole = io.BytesIO()
        self._read(name, offset, length, whole.write)
        return whole.getvalue()

    def readinto(self, name: str, buffer: WriteableBuffer, offset: int = 0) -> int:
        """Fill a buffer with bytes of a blob from ``offset`` on; how many there were. Errors as of :meth:`read_range`."""
        view, done = memoryview(buffer).cast("B"), 0

        def fill(piece: bytes) -> None:
            nonlocal done
            view[done : done + len(piece)] = piece
            done += len(piece)

        return self._read(name, offset, len(view), fill)

    def _read(self, name: str, offset: int, length: int, take: Callable[[bytes], object]) -> int:
        """Have bytes of a blob taken, a piece of each chunk; how many there were."""
        if offset < 0 or length < 0:
            raise ValueError(f"a range has no negative offset or length: {offset}, {length}")
        with snapshot(self._pool) as cursor:
            item, size, parts = self._locate(cursor, name)
            offset, length = min(offset, size), min(length, size)
            count = end = 0
            for start, part, chunk in within(cursor, item, size, parts, offset, offset + length):
                first, last = max(offset - start, 0), min(offset + length - start, part)
                with open_chunk(cursor.connection, chunk, part) as blob:
                    take(read_at(blob, first, last - first))
                count, end = count + last - first, start + part
            if count != min(length, size - offset) or end > size:
                raise incomplete(size)
        self._stats.range_reads += 1
        self._stats.bytes_out += count
        self._note(name)
        return count

    def _locate(self, cursor: sqlite3.Cursor, name: str) -> tuple[int, int, int]:
        row: tuple[int, int, int] | None = cursor.execute(FIND, (_names.check(name),)).fetchone()
        if row is None:
            raise not_found(name)
        return row

    def _note(self, name: str) -> None:
        """Note that a blob was used."""
        if self._uses is not None:
            noted = self._uses.noted
            hits = noted.pop(name, 0)
            if hits:
                noted[name] = hits + 1
            else:
                self._first_use(name)

    def _open_reader(self, name: str) -> io.BufferedReader:
        def locate(cursor: sqlite3.Cursor) -> list[Part]:
            return parts_of(cursor.connection, *self._locate(cursor, name))

        file = self._opened(name, locate)
        self._note(name)
        return file

    def _opened(self, name: str, locate: Callable[[sqlite3.Cursor], list[Part]]) -> io.BufferedReader:
        self._pool.look()
        reader = Reader(name, self._pool, locate, self._engine.opened, self._engine.forget)
        reader.store = self
        self._stats.opens += 1
        return io.BufferedReader(reader, io.DEFAULT_BUFFER_SIZE * 8)

    def open_chunks(self, prefix: str, *, size: int | None = None) -> io.BufferedReader:
        """Read blobs that are named ``prefix`` and a decimal offset as one file.

        That they follow one another without a gap is proved before the first byte is read, and nothing that is written
        meanwhile changes what is read.

        Args:
            prefix: what their names start with.
            size: bytes that there have to be. Without, a missing tail cannot be noticed.

        Raises:
            ChunkGapError: one is missing, or there is none at all.
            SizeMismatchError: there is more than ``size``.
            BlobNameError: a name does not end with an offset.
        """
        names: list[str] = []

        def locate(cursor: sqlite3.Cursor) -> list[Part]:
            found: list[Part] = []
            for chunk in consecutive(cursor.connection, prefix, size):
                names.append(chunk.name)
                for start, length, part in parts_of(cursor.connection, chunk.id, chunk.size, chunk.parts):
                    found.append((chunk.offset + start, length, part))
            return found

        file = self._opened(prefix, locate)
        for name in names:
            self._note(name)
        return file

    def read_consecutive_chunks(self, prefix: str, *, size: int | None = None) -> bytes:
        """As :meth:`open_chunks`, all of it at once."""
        with self.open_chunks(prefix, size=size) as file:
            return file.read()

    def stat(self, name: str) -> BlobStat:
        """What is known of a blob. To ask does not count as use.

        Raises:
            BlobNotFoundError: there is no such blob.
        """
        with reading(self._pool) as cursor:
            row = cursor.execute(_STAT, (_names.check(name),)).fetchone()
        if row is None:
            raise not_found(name)
        size, hits, created, used, version, tags = row
        return BlobStat(
            name, size, moment(created), moment(used), hits, f"{version:x}", decode_tags(name, tags)
        )

    def tags(self, name: str) -> dict[str, TagValue]:
        """A blob's tags."""
        return self.stat(name).tags

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        try:
            with reading(self._pool) as cursor:
                return cursor.execute("SELECT 1 FROM item WHERE name = ?", (name,)).fetchone() is not None
        except UnicodeEncodeError:
            return False

    def __len__(self) -> int:
        with reading(self._pool) as cursor:
            return cast(int, cursor.execute("SELECT items FROM meta").fetchone()[0])

    def __bool__(self) -> bool:
        # A store without blobs is a store.
        return True

    def __iter__(self) -> Iterator[str]:
        return self.list()

    def list(self, prefix: str = "", *, after: str | None = None, limit: int | None = None) -> Iterator[str]:
        """Names that start with ``prefix``, in the order of their UTF-8 bytes.

        Args:
            prefix: what they start with.
            after: only those behind this one, which need not exist: where an earlier listing stopped.
            limit: how many at most.

        What is written while the listing goes on may be in it or not; every other name is, once.

        Raises:
            BlobNameError: no name can start with this, or be this.
        """
        condition, values = _names.where(prefix)
        if after is not None:
            _names.encoded(after)
        last = after
        while limit is None or limit > 0:
            count = PAGE if limit is None else min(limit, PAGE)
            rest, more = ("", []) if last is None else (" AND name > ?", [last])
            statement = f"SELECT name FROM item WHERE {condition}{rest} ORDER BY name LIMIT {count}"  # noqa: S608
            with reading(self._pool) as cursor:
                names = [row[0] for row in cursor.execute(statement, [*values, *more])]
            yield from names
            if len(names) < count:
                return
            last = names[-1]
            limit = None if limit is None else limit - len(names)

    def iterdir(self, directory: str = "") -> Iterator[str]:
        """Names directly in a directory, if names are taken for paths with ``/``.

        Names of blobs come as they are. A directory, which exists as long as something is in it, comes once, with a
        ``/`` at its end; what is in it is not looked at.
        """
        prefix = directory if directory.endswith("/") or not directory else f"{directory}/"
        condition, values = _names.where(prefix)
        low: str | None = prefix
        while low is not None:
            statement = f"SELECT name FROM item WHERE {condition} AND name >= ? ORDER BY name LIMIT 1"  # noqa: S608
            with reading(self._pool) as cursor:
                row = cursor.execute(statement, [*values, low]).fetchone()
            if row is None:
                return
            head, slash, _ = row[0][len(prefix) :].partition("/")
            found = prefix + head + slash
            if found != prefix:
                yield found
            low = _names.after(found) if slash and found != prefix else row[0] + "\0"

    @property
    def capacity(self) -> int | None:
        """Payload bytes that the store may hold; None without a bound."""
        with reading(self._pool) as cursor:
            return cast("int | None", cursor.execute("SELECT capacity FROM meta").fetchone()[0])

    def usage(self) -> Usage:
        """How large the store is."""
        with reading(self._pool) as cursor:
            return _stats.usage(cursor.connection, self._engine.path)

    def stats(self) -> Stats:
        """What was done since the store was opened, by this process."""
        counts = self._stats.copy()
        counts.open_readers = self._engine.open_readers()
        counts.queue_depth = self._engine.writer.depth() if self._engine.can_write else 0
        return counts

    @property
    def options(self) -> Options:
        """What was asked for."""
        return self._engine.options

    @property
    def effective_options(self) -> EffectiveOptions:
        """What is in force, as SQLite says."""
        return self._engine.effective
