"""What is read from the tables: rows, names in order, and where the bytes of blobs are.

SQLite compares names as UTF-8 bytes, which is the order of code points; so what starts with a prefix is one range of
the primary key, and no wildcard has to be escaped.
"""

from __future__ import annotations

import gc
import io
import itertools
import re
import sqlite3
import weakref
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeAlias

from ltxcore.blob_store._sql.sqlite import pragma
from ltxcore.blob_store._values import BlobStat, Usage, check_name, decode_tags, encode_name
from ltxcore.errors import (
    BlobNameError,
    BlobNotFoundError,
    ChunkGapError,
    SizeMismatchError,
    StoreCorruptError,
)

#: Blobs up to 64 KiB come with the row that finds them; of longer ones the id does, since to read them into place copies
#: them once instead of twice. In one column, because a second one is a twentieth of a hit. NULL is a blob in parts, or a
#: damaged one.
GET = """
SELECT CASE WHEN length(c.data) IS NOT i.size THEN NULL WHEN i.size <= 65536 THEN c.data ELSE i.id END
FROM item i LEFT JOIN chunk c ON c.id = i.id WHERE i.name = ?
"""
#: Names that one page of a listing has.
PAGE = 1000
_STAT = "SELECT size, hits, created_ms, used_ms, version, tags FROM item WHERE name = ?"
#: By name: what says where a blob's bytes are.
FIND = "SELECT id, size, parts FROM item WHERE name = ?"
#: Chunks that are opened between two looks at what a connection keeps of them. A prime: connections that take turns in
#: whatever order are all looked at.
LOOK_EVERY = 1021
HINT = "check(repair=True) removes blobs without all their bytes; a backup has them"
_opened = itertools.count(1)
Part = tuple[int, int, int]
"""Offset, size and id of one chunk."""
Read: TypeAlias = Callable[[], AbstractContextManager[sqlite3.Cursor]]
"""Lends a cursor for one query."""
_OFFSET = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)
_SURROGATES = (0xD800, 0xDFFF)


# --- ranges of names ---------------------------------------------------------------------------------------------


def lowest_above(prefix: str) -> str | None:
    """The lowest string above everything that starts with ``prefix``; None if nothing is."""
    while prefix:
        last = ord(prefix[-1]) + 1
        if _SURROGATES[0] <= last <= _SURROGATES[1]:
            last = _SURROGATES[1] + 1
        if last <= 0x10FFFF:
            return prefix[:-1] + chr(last)
        prefix = prefix[:-1]
    return None


def where(prefix: str, column: str = "name") -> tuple[str, list[str]]:
    """An SQL condition for names that start with ``prefix``, which the primary key serves, and its parameters.

    Raises:
        BlobNameError: no name starts so, since it cannot be written in UTF-8.
    """
    encode_name(prefix)
    end = lowest_above(prefix)
    if end is None:
        return f"{column} >= ?", [prefix]
    return f"{column} >= ? AND {column} < ?", [prefix, end]


# --- rows --------------------------------------------------------------------------------------------------------


def locate(cursor: sqlite3.Cursor, name: str) -> tuple[int, int, int]:
    """Id, size and number of parts of a blob.

    Raises:
        BlobNotFoundError: there is no such blob.
    """
    row: tuple[int, int, int] | None = cursor.execute(FIND, (check_name(name),)).fetchone()
    if row is None:
        raise not_found(name)
    return row


def exists(cursor: sqlite3.Cursor, name: str) -> bool:
    """Whether there is a blob of this name."""
    return cursor.execute("SELECT 1 FROM item WHERE name = ?", (name,)).fetchone() is not None


def count(cursor: sqlite3.Cursor) -> int:
    """How many blobs there are."""
    found: int = cursor.execute("SELECT items FROM meta").fetchone()[0]
    return found


def capacity(cursor: sqlite3.Cursor) -> int | None:
    """Payload bytes that the store may hold; None without a bound."""
    found: int | None = cursor.execute("SELECT capacity FROM meta").fetchone()[0]
    return found


def stat(cursor: sqlite3.Cursor, name: str) -> BlobStat:
    """What is known of a blob.

    Raises:
        BlobNotFoundError: there is no such blob.
    """
    row = cursor.execute(_STAT, (check_name(name),)).fetchone()
    if row is None:
        raise not_found(name)
    size, hits, created, used, version, tags = row
    return BlobStat(name, size, moment(created), moment(used), hits, f"{version:x}", decode_tags(name, tags))


def list_names(read: Read, prefix: str, after: str | None, limit: int | None) -> Iterator[str]:
    """Names that start with ``prefix``, in order, a page at a time: nothing is held between two of them.

    Raises:
        BlobNameError: no name can start with ``prefix``, or be ``after``.
    """
    condition, values = where(prefix)
    if after is not None:
        encode_name(after)
    last = after
    while limit is None or limit > 0:
        page = PAGE if limit is None else min(limit, PAGE)
        rest, more = ("", []) if last is None else (" AND name > ?", [last])
        statement = f"SELECT name FROM item WHERE {condition}{rest} ORDER BY name LIMIT {page}"  # noqa: S608
        with read() as cursor:
            names = [row[0] for row in cursor.execute(statement, [*values, *more])]
        yield from names
        if len(names) < page:
            return
        last = names[-1]
        limit = None if limit is None else limit - len(names)


def list_directory(read: Read, directory: str) -> Iterator[str]:
    """Names directly in a directory; what is in one below is skipped, not looked at."""
    prefix = directory if directory.endswith("/") or not directory else f"{directory}/"
    condition, values = where(prefix)
    low: str | None = prefix
    while low is not None:
        statement = f"SELECT name FROM item WHERE {condition} AND name >= ? ORDER BY name LIMIT 1"  # noqa: S608
        with read() as cursor:
            row = cursor.execute(statement, [*values, low]).fetchone()
        if row is None:
            return
        head, slash, _ = row[0][len(prefix) :].partition("/")
        found = prefix + head + slash
        if found != prefix:
            yield found
        low = lowest_above(found) if slash and found != prefix else row[0] + "\0"


def usage(connection: sqlite3.Connection, path: Path | None) -> Usage:
    """Ask for all sizes."""
    row = connection.execute(
        "SELECT bytes, items, capacity, (SELECT coalesce(sum(size), 0) FROM stage) FROM meta"
    ).fetchone()

    def number(name: str) -> int:
        return int(pragma(connection, name) or 0)

    return Usage(
        payload_bytes=row[0],
        items=row[1],
        capacity=row[2],
        staged_bytes=row[3],
        page_size=number("page_size"),
        page_count=number("page_count"),
        freelist=number("freelist_count"),
        file_bytes=size_of(path),
        wal_bytes=size_of(path and Path(f"{path}-wal")),
    )


def size_of(path: Path | None) -> int:
    """Length of a file; 0 if there is none."""
    try:
        return 0 if path is None else path.stat().st_size
    except FileNotFoundError:
        return 0


def moment(milliseconds: int) -> datetime:
    """A time of the wall clock."""
    return datetime.fromtimestamp(milliseconds / 1000, UTC)


# --- bytes -------------------------------------------------------------------------------------------------------


def open_chunk(
    connection: sqlite3.Connection, chunk: int, size: int | None, *, readonly: bool = True
) -> sqlite3.Blob:
    """A chunk, to be read or changed in place. ``size`` is how many bytes it has to have; None if that is known.

    Python's connections keep a weak reference to each blob that they opened until they are closed, dead ones too. So those
    are removed now and then, or the memory of a store would grow with every read.

    Raises:
        sqlite3.OperationalError: there is none, "no such rowid".
        StoreCorruptError: it has another size.
    """
    if next(_opened) % LOOK_EVERY == 0:
        for kept in gc.get_referents(connection):
            if type(kept) is list:
                kept[:] = [one for one in kept if type(one) is not weakref.ref or one() is not None]
    blob = connection.blobopen("chunk", "data", chunk, readonly=readonly)
    if size is not None and len(blob) != size:
        found = len(blob)
        blob.close()
        raise StoreCorruptError(f"a chunk of {size} bytes has {found}", hint=HINT)
    return blob


def read_at(blob: sqlite3.Blob, offset: int, length: int) -> bytes:
    """Bytes of a chunk."""
    blob.seek(offset)
    return blob.read(length)


def parts_of(connection: sqlite3.Connection, item: int, size: int, parts: int) -> list[Part]:
    """Where the bytes of a blob are.

    Raises:
        StoreCorruptError: some are nowhere.
    """
    if parts == 0:
        return [(0, size, item)]
    rows: list[Any] = connection.execute(
        "SELECT offset, size, chunk FROM part WHERE item = ? ORDER BY offset", (item,)
    ).fetchall()
    end = 0
    for offset, length, _ in rows:
        if offset != end:
            break
        end += length
    if end != size or len(rows) != parts:
        raise incomplete(size)
    return rows


def parts_within(
    cursor: sqlite3.Cursor, item: int, size: int, parts: int, first: int, last: int
) -> list[Part]:
    """The chunks that bytes from ``first`` up to ``last`` are in."""
    if parts == 0:
        return [(0, size, item)] if first < min(last, size) else []
    rows: Any = cursor.execute(
        "SELECT offset, size, chunk FROM part WHERE item = ? AND offset < ? AND offset >= "
        "coalesce((SELECT max(offset) FROM part WHERE item = ? AND offset <= ?), 0) ORDER BY offset",
        (item, last, item, first),
    )
    return [row for row in rows if row[0] + row[1] > first]


def incomplete(size: int) -> StoreCorruptError:
    """A blob lacks bytes."""
    return StoreCorruptError(f"the parts of a blob do not make up its {size} bytes", hint=HINT)


def whole_blob(connection: sqlite3.Connection, name: str) -> bytes | None:
    """All bytes of a blob, within a transaction; None if there is none.

    Raises:
        StoreCorruptError: some are nowhere.
    """
    row = connection.execute(FIND, (name,)).fetchone()
    if row is None:
        return None
    parts = parts_of(connection, *row)
    if len(parts) == 1:
        with open_chunk(connection, parts[0][2], row[1]) as blob:
            return blob.read()
    # Its value is its buffer: nothing is copied in the end, and memory is not needed twice.
    whole = io.BytesIO()
    for _, length, chunk in parts:
        with open_chunk(connection, chunk, length) as blob:
            whole.write(blob.read())
    return whole.getvalue()


# --- blobs that are named by their offsets -----------------------------------------------------------------------


class Chunk:
    """One of several blobs that make up a longer one."""

    __slots__ = ("id", "name", "offset", "parts", "size")

    def __init__(self, name: str, offset: int, size: int, item: int, parts: int) -> None:
        self.name = name
        self.offset = offset
        self.size = size
        self.id = item
        self.parts = parts


def consecutive(connection: sqlite3.Connection, prefix: str, size: int | None) -> list[Chunk]:
    """Blobs that are named ``prefix`` and an offset, in order, proved to leave no gap.

    Raises:
        ChunkGapError: one is missing, at the end or the beginning too, or two overlap.
        SizeMismatchError: together they are longer than ``size``.
        BlobNameError: a name does not say an offset.
    """
    condition, values = where(prefix)
    found = connection.execute(f"SELECT name, size, id, parts FROM item WHERE {condition}", values)  # noqa: S608
    # All of them at once: a name that is refused would leave the statement standing, and with it a lock.
    rows = found.fetchall()
    chunks = [Chunk(row[0], offset(row[0], prefix), row[1], row[2], row[3]) for row in rows]
    chunks.sort(key=lambda chunk: chunk.offset)
    end = 0
    for chunk in chunks:
        if chunk.offset != end:
            raise chunk_gap(prefix, chunk.offset, end)
        end += chunk.size
    if not chunks or (size is not None and end < size):
        raise chunk_gap(prefix, None, end)
    if size is not None and end > size:
        raise size_mismatch(f"chunks {prefix!r}", size, end)
    return chunks


def offset(name: str, prefix: str) -> int:
    """The offset that a chunk's name says after its prefix: decimal, without sign or leading zeros.

    Raises:
        BlobNameError: it says something else.
    """
    text = name[len(prefix) :]
    if not _OFFSET.fullmatch(text):
        raise BlobNameError(f"{name!r}: {text!r} after {prefix!r} is not an offset in bytes")
    return int(text)


def chunk_gap(prefix: str, offset: int | None, expected: int) -> ChunkGapError:
    """A chunk is missing, or two overlap."""
    found = "nothing more" if offset is None else f"one at {offset}"
    error = ChunkGapError(f"chunks {prefix!r}: {found}, where one at {expected} is needed")
    error.offset, error.expected = offset, expected
    return error


def not_found(name: str) -> BlobNotFoundError:
    """There is no blob of this name."""
    error = BlobNotFoundError(f"no blob {name!r}")
    error.name = name
    return error


def size_mismatch(what: str, expected: int, actual: int) -> SizeMismatchError:
    """There are more or fewer bytes than were promised."""
    error = SizeMismatchError(f"{what} has {actual} bytes, where {expected} were expected")
    error.expected, error.actual = expected, actual
    return error
