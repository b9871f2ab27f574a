"""The tables, and the set-up of a file that has them.

A blob is one row of ``item``, found by name. Ids of items and chunks come from one clock that only goes up, so none is
ever used again. A blob of one chunk has it under its own id; a longer one has rows in ``part`` that say which chunk is
where. So blobs are put together and taken over without touching their bytes.

Triggers keep the totals and remove what a row owned, whoever writes to the file, and with whatever settings. Short and
long blobs have triggers of their own: a trigger that has nothing to look for costs half as much.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar, get_args

from ltxcore.blob_store._sql import sqlite
from ltxcore.blob_store._sql.sqlite import code, is_busy, translated
from ltxcore.blob_store._values import EffectiveOptions, Options, Policy
from ltxcore.errors import ConfigError, NotABlobStoreError, StoreCorruptError

R = TypeVar("R")
#: "LTXB".
APPLICATION_ID = 0x4C545842
VERSION = 1
#: UPSERT in its general form, and RETURNING.
OLDEST_SQLITE = (3, 35, 0)
TABLES = """
CREATE TABLE meta (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    capacity INTEGER CHECK (capacity > 0),
    clock INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    items INTEGER NOT NULL,
    policy TEXT NOT NULL
);
CREATE TABLE item (
    name TEXT NOT NULL PRIMARY KEY CHECK (typeof(name) = 'text' AND name <> ''),
    id INTEGER NOT NULL,
    tick INTEGER NOT NULL,
    version INTEGER NOT NULL,
    size INTEGER NOT NULL CHECK (typeof(size) = 'integer' AND size >= 0),
    parts INTEGER NOT NULL,
    hits INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    used_ms INTEGER NOT NULL,
    tags TEXT
) WITHOUT ROWID;
CREATE TABLE chunk (
    id INTEGER PRIMARY KEY,
    data BLOB NOT NULL CHECK (typeof(data) = 'blob')
);
CREATE TABLE part (
    item INTEGER NOT NULL,
    offset INTEGER NOT NULL,
    size INTEGER NOT NULL,
    chunk INTEGER NOT NULL,
    PRIMARY KEY (item, offset)
) WITHOUT ROWID;
CREATE TABLE stage (
    id INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    size INTEGER NOT NULL,
    started_ms INTEGER NOT NULL
);
CREATE TRIGGER item_inserted AFTER INSERT ON item BEGIN
    UPDATE meta SET bytes = bytes + NEW.size, items = items + 1 WHERE id = 1;
END;
CREATE TRIGGER item_deleted AFTER DELETE ON item WHEN OLD.parts = 0 BEGIN
    UPDATE meta SET bytes = bytes - OLD.size, items = items - 1 WHERE id = 1;
    DELETE FROM chunk WHERE id = OLD.id;
END;
CREATE TRIGGER long_item_deleted AFTER DELETE ON item WHEN OLD.parts <> 0 BEGIN
    UPDATE meta SET bytes = bytes - OLD.size, items = items - 1 WHERE id = 1;
    DELETE FROM part WHERE item = OLD.id AND OLD.parts > 0;
END;
CREATE TRIGGER item_resized AFTER UPDATE OF size ON item WHEN NEW.size <> OLD.size BEGIN
    UPDATE meta SET bytes = bytes + NEW.size - OLD.size WHERE id = 1;
END;
CREATE TRIGGER item_replaced AFTER UPDATE OF id ON item WHEN NEW.id <> OLD.id AND OLD.parts = 0 BEGIN
    DELETE FROM chunk WHERE id = OLD.id;
END;
CREATE TRIGGER long_item_replaced AFTER UPDATE OF id ON item WHEN NEW.id <> OLD.id AND OLD.parts > 0 BEGIN
    DELETE FROM part WHERE item = OLD.id;
END;
CREATE TRIGGER part_deleted AFTER DELETE ON part BEGIN
    DELETE FROM chunk WHERE id = OLD.chunk;
END;
"""
#: In which order blobs are evicted: columns of ``item``.
ORDER: dict[Policy, tuple[str, ...]] = {
    "lru": ("tick",),
    "fifo": ("id",),
    "lfu": ("hits", "tick"),
    "none": ("tick",),
}


def set_up(connection: sqlite3.Connection, options: Options, path: Path | None) -> None:
    """Make the file a store unless it is one, and the connection one of a writer.

    Several processes may do this at once: one makes the tables, and the others find them.

    Raises:
        NotABlobStoreError: the file is something else.
        OptionMismatchError: it, or this SQLite, is not as was asked for.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        raise ConfigError(f"SQLite {sqlite3.sqlite_version} is older than 3.35, which a blob store needs")
    if not sqlite.pragma(connection, "page_count"):
        # On a file that is there it would wait for a VACUUM, or take effect at once.
        sqlite.prepare_file(connection, options)
    is_new = persistently(lambda: create_tables(connection, options, path), options.busy_timeout)
    sqlite.verify_file(connection, options)
    wanted = options.journal_mode or ("wal" if is_new and path is not None else None)
    if wanted is not None:
        persistently(lambda: sqlite.set_journal_mode(connection, wanted), options.busy_timeout)
    sqlite.set_connection(connection, options)


def create_tables(connection: sqlite3.Connection, options: Options, path: Path | None) -> bool:
    """Make the tables in one transaction; False if they are there."""
    # Only this answer can be had in several looks: what is no store yet may become one between two of them.
    if says_store(connection):
        return False
    connection.execute("BEGIN IMMEDIATE")
    try:
        is_new = not is_store(connection, path)
        if is_new:
            for statement in statements(TABLES):
                connection.execute(statement)
            policy: Policy = options.policy or "lru"
            connection.execute("INSERT INTO meta VALUES (1, NULL, 0, 0, 0, ?)", [policy])
            create_order(connection, policy)
            connection.execute(f"PRAGMA application_id={APPLICATION_ID}")
            connection.execute(f"PRAGMA user_version={VERSION}")
            # A number that SQLite only counts up tells this file from every other store: see _process.identity.
            connection.execute(f"PRAGMA schema_version={random.getrandbits(30)}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
    return is_new


def statements(script: str) -> list[str]:
    """The statements of a script, each complete."""
    found, text = [], ""
    for piece in script.split(";"):
        text += piece + ";"
        if sqlite3.complete_statement(text):
            found.append(text)
            text = ""
    return found


def create_order(connection: sqlite3.Connection, policy: Policy) -> None:
    """The index that eviction follows. Sizes are in it, so that nothing else is read."""
    connection.execute("DROP INDEX IF EXISTS item_order")
    connection.execute(f"CREATE INDEX item_order ON item({', '.join(ORDER[policy])}, size)")


def describe(connection: sqlite3.Connection, path: Path | None) -> EffectiveOptions:
    """What is in force, the file's policy included.

    Raises:
        StoreCorruptError: the file does not say what every store says.
    """
    try:
        row = connection.execute("SELECT policy, typeof(capacity) FROM meta").fetchone()
        if row is not None and row[0] in get_args(Policy) and row[1] in {"integer", "null"}:
            return sqlite.effective(connection, row[0])
    except sqlite3.Error as error:
        if code(error) != sqlite3.SQLITE_ERROR:
            raise translated(error, path) from error
    raise StoreCorruptError(
        f"{path}: the file says that it is a blob store, but its settings are not those of one",
        path=str(path),
    )


def says_store(connection: sqlite3.Connection) -> bool:
    """Whether the file says that it is a store of this version."""
    found = [sqlite.pragma(connection, name) for name in ("application_id", "user_version")]
    return found == [APPLICATION_ID, VERSION]


def is_store(connection: sqlite3.Connection, path: Path | None) -> bool:
    """Whether the file is a store; False if it is empty.

    Raises:
        NotABlobStoreError: it is neither, or made by a later version of this library.
    """
    if says_store(connection):
        return True
    application = sqlite.pragma(connection, "application_id")
    version = sqlite.pragma(connection, "user_version")
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master")}
    if application == APPLICATION_ID:
        raise NotABlobStoreError(
            f"{path}: the store has version {version}, and this library knows version {VERSION}",
            path=str(path),
        )
    if {"blob", "blob_meta", "setting"} <= tables:
        raise NotABlobStoreError(
            f"{path}: the database has the original blob tables",
            path=str(path),
            hint="import it: ltxcore blob import STORE ORIGINAL",
        )
    if tables or application or version:
        raise NotABlobStoreError(f"{path}: the database belongs to another application", path=str(path))
    return False


def persistently(action: Callable[[], R], timeout: float) -> R:
    """Do what another process may be in the way of, until it is not.

    SQLite's own waiting leaves out some cases, the change to WAL among them.
    """
    deadline = time.monotonic() + timeout
    while True:
        try:
            return action()
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > deadline:
                raise
        time.sleep(random.uniform(0.001, 0.02))  # noqa: S311
