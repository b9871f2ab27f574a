"""Errors of ours: with what callers can look at, and in place of SQLite's."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from ltxcore.errors import (
    BlobNotFoundError,
    BlobStoreError,
    ChunkGapError,
    ConfigError,
    OptionMismatchError,
    SizeMismatchError,
    StoreBusyError,
    StoreCorruptError,
    StoreFullError,
    StoreMovedError,
)

#: What to do when SQLite has found the disk full.
FULL_HINT = (
    "free space on the file system, or raise max_page_count; if the store is to be emptied and that fails too, remove "
    "fewer blobs at a time, and close blobs that are open for reading"
)
#: The same for a store in memory.
MEMORY_HINT = (
    "lower the capacity, raise max_page_count, or use a file: a shared store in memory has at most 1 GiB with all its "
    "overhead"
)
MOVED_HINT = (
    "nothing was written; close the store, put its file back, or remove what is left of it, the -wal and -shm files too, "
    "and open it again"
)
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def code(error: sqlite3.Error) -> int:
    """SQLite's primary result code: the extended ones say more than a caller can use."""
    return (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF


def is_busy(error: sqlite3.Error) -> bool:
    """Whether another connection is in the way, in any of SQLite's ways of saying so."""
    return code(error) in _BUSY


def translated(
    error: sqlite3.Error, where: Path | None = None, hint: str = FULL_HINT
) -> BlobStoreError | ConfigError:
    """The error that a caller gets instead. A new one each time: it is raised in the thread that waited.

    Args:
        error: SQLite's.
        where: the file, for the message.
        hint: what to do if there is no space left.
    """
    name = getattr(error, "sqlite_errorname", None)
    message = f"{error} ({name})" if name else str(error)
    path = None if where is None else str(where)
    if path is not None:
        message = f"{path}: {message}"
    match code(error):
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            made: BlobStoreError = StoreBusyError(f"another connection holds the store: {message}", path=path)
        case sqlite3.SQLITE_FULL:
            made = StoreFullError(message, path=path, hint=hint)
        case _ if getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_READONLY_DBMOVED:
            made = StoreMovedError(
                f"the file of the open store was removed, renamed or replaced: {message}",
                path=path,
                hint=MOVED_HINT,
            )
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            made = StoreCorruptError(message, path=path)
        case _ if "no such rowid" in str(error):
            made = StoreCorruptError(f"a chunk is missing: {message}", path=path)
        case _ if "no such vfs" in str(error):
            return ConfigError(message, path=path, hint="register it first: ltxcore.vfs.OSVFS().register()")
        case _:
            made = BlobStoreError(message, path=path)
    return made


def copy_of(error: BaseException) -> BaseException:
    """An error of its own for every caller: each raises it in its own thread."""
    try:
        made = type(error)(*error.args)
    except TypeError:
        made = BlobStoreError(str(error))
    # Where it was, what to do about it.
    made.__dict__.update(error.__dict__, __notes__=list(getattr(error, "__notes__", ())))
    made.__cause__ = error
    return made


def not_found(name: str) -> BlobNotFoundError:
    """There is no blob of this name."""
    error = BlobNotFoundError(f"no blob {name!r}")
    error.name = name
    return error


def option_mismatch(name: str, requested: object, actual: object) -> OptionMismatchError:
    """A setting is another than was asked for."""
    error = OptionMismatchError(f"{name} is {actual}, where {requested} was asked for")
    error.name, error.requested, error.actual = name, requested, actual
    return error


def size_mismatch(what: str, expected: int, actual: int) -> SizeMismatchError:
    """There are more or fewer bytes than were promised."""
    error = SizeMismatchError(f"{what} has {actual} bytes, where {expected} were expected")
    error.expected, error.actual = expected, actual
    return error


def chunk_gap(prefix: str, offset: int | None, expected: int) -> ChunkGapError:
    """A chunk is missing, or two overlap."""
    found = "nothing more" if offset is None else f"one at {offset}"
    error = ChunkGapError(f"chunks {prefix!r}: {found}, where one at {expected} is needed")
    error.offset, error.expected = offset, expected
    return error
