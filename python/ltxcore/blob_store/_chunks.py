"""Where the bytes of blobs are."""

from __future__ import annotations

import gc
import io
import itertools
import sqlite3
import weakref
from typing import Any

from ltxcore.blob_store import _names
from ltxcore.blob_store._failures import chunk_gap, size_mismatch
from ltxcore.errors import StoreCorruptError

#: Chunks that are opened between two looks at what a connection keeps of them. A prime: connections that take turns in
#: whatever order are all looked at.
LOOK_EVERY = 1021
HINT = "check(repair=True) removes blobs without all their bytes; a backup has them"
_opened = itertools.count(1)
#: By name: what says where a blob's bytes are.
FIND = "SELECT id, size, parts FROM item WHERE name = ?"
Part = tuple[int, int, int]
"""Offset, size and id of one chunk."""


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
    condition, values = _names.where(prefix)
    found = connection.execute(f"SELECT name, size, id, parts FROM item WHERE {condition}", values)  # noqa: S608
    # All of them at once: a name that is refused would leave the statement standing, and with it a lock.
    rows = found.fetchall()
    chunks = [Chunk(row[0], _names.offset(row[0], prefix), row[1], row[2], row[3]) for row in rows]
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


def within(cursor: sqlite3.Cursor, item: int, size: int, parts: int, first: int, last: int) -> list[Part]:
    """The chunks that bytes from ``first`` up to ``last`` are in."""
    if parts == 0:
        return [(0, size, item)] if first < min(last, size) else []
    rows: Any = cursor.execute(
        "SELECT offset, size, chunk FROM part WHERE item = ? AND offset < ? AND offset >= "
        "coalesce((SELECT max(offset) FROM part WHERE item = ? AND offset <= ?), 0) ORDER BY offset",
        (item, last, item, first),
    )
    return [row for row in rows if row[0] + row[1] > first]
