"""SQLite itself: connections, their settings, each read back, and its errors as ours."""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import get_args
from urllib.parse import quote

from ltxcore.blob_store._values import AutoVacuum, EffectiveOptions, Options, Policy, Synchronous
from ltxcore.errors import (
    BlobStoreError,
    ConfigError,
    OptionMismatchError,
    StoreBusyError,
    StoreCorruptError,
    StoreFullError,
    StoreMovedError,
)

#: What to do when SQLite finds the disk full.
FULL_HINT = (
    "free space on the file system, or raise max_page_count; if the store is to be emptied and that fails too, remove "
    "fewer blobs at a time, and close blobs that are open for reading"
)
MOVED_HINT = (
    "nothing was written; close the store, put its file back, or remove what is left of it, the -wal and -shm files too, "
    "and open it again"
)
_BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
#: What a new file gets where nothing is asked for.
NEW_PAGE_SIZE = 4096
_SYNCHRONOUS_NUMBERS: tuple[Synchronous, ...] = get_args(Synchronous)
_AUTO_VACUUM_NUMBERS: tuple[AutoVacuum, ...] = get_args(AutoVacuum)


def open_connection(
    path: Path | str, options: Options, vfs: str | None, *, readonly: bool, create: bool
) -> sqlite3.Connection:
    """A connection that any thread may use, one at a time; transactions are ours to begin and end."""
    # With an empty authority: a path may begin with two slashes.
    uri = (
        path if isinstance(path, str) else f"file://{quote(os.fsencode(path))}?mode={mode(readonly, create)}"
    )
    if vfs is not None:
        uri += f"&vfs={quote(vfs)}"
    return sqlite3.connect(
        uri,
        uri=True,
        timeout=options.busy_timeout,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=256,
    )


def mode(readonly: bool, create: bool) -> str:
    """SQLite's word for how a file is opened."""
    return "ro" if readonly else "rwc" if create else "rw"


def pragma(connection: sqlite3.Connection, name: str, value: object = None) -> int | str | None:
    """Ask for a setting, or make it and return what SQLite says it is now."""
    statement = f"PRAGMA {name}" if value is None else f"PRAGMA {name}={value}"
    row = connection.execute(statement).fetchone()
    return None if row is None else row[0]


def prepare_file(connection: sqlite3.Connection, options: Options) -> None:
    """What must be said before the first table is made, and before WAL; without effect on a file that has one."""
    pragma(connection, "page_size", options.page_size or NEW_PAGE_SIZE)
    pragma(connection, "auto_vacuum", options.auto_vacuum or "incremental")


def verify_file(connection: sqlite3.Connection, options: Options) -> None:
    """Compare what the file is with what was asked for.

    Raises:
        OptionMismatchError: the file was made otherwise, and only VACUUM could change it.
    """
    if options.page_size is not None:
        _same("page_size", options.page_size, pragma(connection, "page_size"))
    if options.auto_vacuum is not None:
        _same("auto_vacuum", options.auto_vacuum, auto_vacuum(connection))


def verify_journal_mode(connection: sqlite3.Connection, options: Options) -> None:
    """Compare how transactions are made safe with what was asked for, where that cannot be changed.

    Raises:
        OptionMismatchError: it is another.
    """
    if options.journal_mode is not None:
        _same("journal_mode", options.journal_mode, pragma(connection, "journal_mode"))


def auto_vacuum(connection: sqlite3.Connection) -> AutoVacuum:
    """How the file gives space back."""
    return _AUTO_VACUUM_NUMBERS[int(pragma(connection, "auto_vacuum") or 0)]


def set_journal_mode(connection: sqlite3.Connection, mode: str) -> None:
    """Change how transactions are made safe.

    Raises:
        OptionMismatchError: SQLite keeps another one, as it does for a database in memory.
    """
    _same("journal_mode", mode, pragma(connection, "journal_mode", mode))


def set_connection(connection: sqlite3.Connection, options: Options) -> None:
    """Settings that every connection needs for itself, each read back.

    Raises:
        OptionMismatchError: SQLite did otherwise.
    """
    pragma(connection, "synchronous", options.synchronous_level)
    number = int(pragma(connection, "synchronous") or 0)
    _same("synchronous", options.synchronous_level, _SYNCHRONOUS_NUMBERS[number])
    pragma(connection, "recursive_triggers", 1)
    _same(
        "secure_delete",
        options.secure_delete,
        bool(pragma(connection, "secure_delete", int(options.secure_delete))),
    )
    if options.mmap_size is not None:
        # The build's limit is no failure; the effective options tell.
        pragma(connection, "mmap_size", options.mmap_size)
    if options.cache_size is not None:
        pragma(connection, "cache_size", options.cache_size)
        _same("cache_size", options.cache_size, pragma(connection, "cache_size"))
    for name in ("journal_size_limit", "wal_autocheckpoint", "max_page_count"):
        value = getattr(options, name)
        if value is not None:
            _same(name, value, pragma(connection, name, value))


def _same(name: str, requested: object, actual: object) -> None:
    if isinstance(requested, str) and isinstance(actual, str):
        requested, actual = requested.lower(), actual.lower()
    if requested != actual:
        raise option_mismatch(name, requested, actual)


def effective(connection: sqlite3.Connection, policy: Policy) -> EffectiveOptions:
    """Everything as it is now."""

    def number(name: str) -> int:
        return int(pragma(connection, name) or 0)

    return EffectiveOptions(
        synchronous=_SYNCHRONOUS_NUMBERS[number("synchronous")],
        page_size=number("page_size"),
        auto_vacuum=auto_vacuum(connection),
        journal_mode=str(pragma(connection, "journal_mode")),
        mmap_size=number("mmap_size"),
        cache_size=number("cache_size"),
        journal_size_limit=number("journal_size_limit"),
        wal_autocheckpoint=number("wal_autocheckpoint"),
        secure_delete=bool(number("secure_delete")),
        max_page_count=number("max_page_count"),
        policy=policy,
    )


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


def option_mismatch(name: str, requested: object, actual: object) -> OptionMismatchError:
    """A setting is another than was asked for."""
    error = OptionMismatchError(f"{name} is {actual}, where {requested} was asked for")
    error.name, error.requested, error.actual = name, requested, actual
    return error
