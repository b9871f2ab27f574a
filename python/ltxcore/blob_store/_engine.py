"""Everything that an open store owns: opening, closing, forking.

It outlives the object that its user holds for as long as closing takes.
"""

from __future__ import annotations

import contextlib
import operator
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import SupportsIndex

from ltxcore._process import runtime
from ltxcore.blob_store._files.reading import Reader
from ltxcore.blob_store._process import forks
from ltxcore.blob_store._process.connections import FilePool, OnePool
from ltxcore.blob_store._process.identity import FileIdentity, Owner
from ltxcore.blob_store._sql import check, schema, sqlite
from ltxcore.blob_store._sql.sqlite import code, translated
from ltxcore.blob_store._sql.transaction import Transaction, drop_stage
from ltxcore.blob_store._values import EffectiveOptions, Evicted, Options, Stats
from ltxcore.blob_store._writer.thread import Writer
from ltxcore.errors import (
    ConfigError,
    NotABlobStoreError,
    StoreBusyError,
    StoreMovedError,
    StoreReadOnlyError,
)

#: Free pages that are given back to the file system when a store is closed.
VACUUM_ON_CLOSE = 4096
#: What SQLite can count to.
MAX_CAPACITY = (1 << 63) - 1
#: Payload that a shared store in memory can hold, in bytes: SQLite ends its "memdb" files at 1 GiB, pages without payload
#: included, and only a program that configures SQLite before its first use could change that.
SHARED_MEMORY = 1000 << 20
STAGES = "SELECT id, owner FROM stage"


class Engine:
    """The writer, the readers and the blobs that are open of one store."""

    def __init__(
        self,
        path: Path | None,
        uri: str | None,
        options: Options,
        *,
        create: bool,
        readonly: bool,
        on_evict: Callable[[Evicted], None] | None,
    ) -> None:
        self.path = path
        self.options = options
        self.stats = Stats()
        self.owner = Owner.this_process()
        self._born_in = runtime.generation()
        self._source: Path | str = path if path is not None else uri or ":memory:"
        self._is_shared = path is not None or uri is not None
        self._creates = create and not readonly
        self._readonly = readonly
        self.open_files: forks.WeakObjects[Reader] = forks.WeakObjects()
        # A signal handler may close what is being closed.
        self._closing = threading.RLock()
        #: Whether nothing is left of it.
        self._is_closed = False
        self._vfs = options.vfs if path is None else forks.vfs_for(path, options.vfs)
        with forks.transitions:
            self._open_file(on_evict)

    def _open_file(self, on_evict: Callable[[Evicted], None] | None) -> None:
        self._connection = self._first_connection()
        try:
            self.effective: EffectiveOptions = schema.describe(self._connection, self.path)
            is_wal = self.effective.journal_mode == "wal"
            self._file = None if self.path is None else FileIdentity(self.path, self._vfs, is_wal=is_wal)
            self.pool = self._make_pool()
            self._inode = None if self.path is None else forks.device_and_inode(self.path)
        except BaseException:
            self._connection.close()
            raise
        self._writer: Writer | None = None
        if not self._readonly:
            self._writer = Writer(
                self._connection, self.options, self.stats, self.pool.guard, on_evict, self._file
            )
        forks.watch(self)
        runtime.register(self)

    def _connect(self, *, create: bool = False) -> sqlite3.Connection:
        return sqlite.open_connection(
            self._source, self.options, self._vfs, readonly=self._readonly, create=create
        )

    def _connect_again(self) -> sqlite3.Connection:
        """A connection to the same file. One to another file of its name would take our WAL for that file's own."""
        if self._file is not None:
            self._file.check()
        return self._connect()

    def _first_connection(self) -> sqlite3.Connection:
        try:
            connection = self._connect(create=self._creates)
        except sqlite3.Error as error:
            raise self._not_opened(error) from error
        try:
            if not self._creates and not schema.is_store(connection, self.path):
                raise NotABlobStoreError(f"{self.path}: the file is empty", path=str(self.path))
            if self._readonly:
                sqlite.verify_file(connection, self.options)
                sqlite.verify_journal_mode(connection, self.options)
                sqlite.set_connection(connection, self.options)
            else:
                schema.set_up(connection, self.options, self.path)
        except sqlite3.Error as error:
            connection.close()
            if code(error) == sqlite3.SQLITE_NOTADB:
                raise NotABlobStoreError(f"{self.path}: {error}", path=str(self.path)) from error
            raise translated(error, self.path) from error
        except BaseException:
            connection.close()
            raise
        return connection

    def _not_opened(self, error: sqlite3.Error) -> Exception:
        path = self.path
        if path is not None and not path.exists() and not (self._creates and path.parent.is_dir()):
            missing = path.parent if self._creates else path
            return FileNotFoundError(2, os.strerror(2), str(missing))
        made = translated(error, path)
        if self._readonly and path is not None and path.is_file() and code(error) == sqlite3.SQLITE_CANTOPEN:
            made.hint = "SQLite needs a -shm file beside it: copy the store to where files can be made"
        return made

    def _make_pool(self) -> FilePool | OnePool:
        if not self._is_shared:
            return OnePool(self._connection)
        is_wal = self.effective.journal_mode == "wal"
        return FilePool(self._connect_again, self.options, self._file, is_wal=is_wal)

    @property
    def writer(self) -> Writer:
        """Who writes.

        Raises:
            StoreReadOnlyError: nobody does.
            ForkedError: the parent process does.
        """
        if self._born_in != runtime.generation():
            runtime.check(self._born_in, forks.NEW_STORE)
        if self._writer is None:
            raise StoreReadOnlyError("the store was opened to be read only")
        return self._writer

    @property
    def is_shared_memory(self) -> bool:
        """Whether it is a store in memory that several objects share."""
        return self._is_shared and self.path is None

    @property
    def can_write(self) -> bool:
        """Whether there is a writer."""
        return self._writer is not None

    def start(self, capacity: int | None, *, set_capacity: bool) -> None:
        """What opening means for a store that is there: its settings, and what others left in it.

        That is blobs that were never finished, and totals that a program without our triggers made wrong.
        """
        with self.writer.connection() as connection:
            if not self._has_to_change(connection, capacity, set_capacity=set_capacity):
                return

        def action(transaction: Transaction) -> None:
            if set_capacity:
                transaction.set_capacity(capacity)
            wanted = self.options.policy
            if wanted is not None and wanted != transaction.policy:
                transaction.execute("UPDATE meta SET policy = ?", (wanted,))
                schema.create_order(transaction.connection, wanted)
                transaction.policy = wanted
            transaction.execute(check.RECONCILE)
            for item, text in transaction.execute(STAGES).fetchall():
                if Owner.parse(text).is_gone():
                    transaction.drop_stage(item)

        self.writer.call(action)
        with self.writer.connection():
            self.effective = schema.describe(self._connection, self.path)

    def _has_to_change(
        self, connection: sqlite3.Connection, capacity: int | None, *, set_capacity: bool
    ) -> bool:
        """Whether opening has anything to write. A store that is only opened and closed stays as it is."""
        found = connection.execute("SELECT capacity, policy, bytes FROM meta").fetchone()
        if set_capacity and found[0] != capacity:
            return True
        if self.options.policy not in {None, found[1]}:
            return True
        if connection.execute(check.OFF).fetchone() != (0, 0) or (found[0] or found[2]) < found[2]:
            return True
        return any(Owner.parse(text).is_gone() for _, text in connection.execute(STAGES).fetchall())

    def close(self, *, timeout: float | None = None) -> None:
        """Write what waits, let go of everything.

        Raises:
            StoreBusyError: that takes longer than ``timeout`` seconds. It goes on in the background.
        """
        if self._born_in != runtime.generation():
            return
        if timeout is not None and timeout > threading.TIMEOUT_MAX:
            timeout = None
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._closing.acquire(timeout=-1 if timeout is None else max(timeout, 0.0)):
            raise self._not_closed(timeout)
        try:
            if self._writer is not None:
                if not self._writer.close(deadline, self._last):
                    raise self._not_closed(timeout)
            else:
                with forks.transitions:  # a writer has its lead, which a fork waits for too
                    self._last(self._connection)
        finally:
            self._closing.release()
        runtime.unregister(self)

    @staticmethod
    def _not_closed(timeout: float | None) -> StoreBusyError:
        return StoreBusyError(f"the store could not be closed within {timeout} s")

    def _last(self, connection: sqlite3.Connection) -> None:
        # Without the pool's guard: who reads a blob has its lock, and in memory waits for the guard with it.
        for reader in self.open_files.all():
            reader.invalidate()
        self.pool.close()
        with contextlib.suppress(sqlite3.Error, StoreMovedError):
            if self._writer is not None and self._is_shared:
                if self._file is not None:
                    self._file.check()
                self._tidy(connection)
        connection.close()
        self._is_closed = True
        if self.pool.is_at_rest:
            # Not only when it is collected: with every store that a fork looks at, it takes longer.
            forks.unwatch(self)

    def _tidy(self, connection: sqlite3.Connection) -> None:
        """Give back what this process leaves: blobs it never finished, free pages, the WAL."""
        sqlite.pragma(connection, "busy_timeout", round(min(self.options.busy_timeout, 1) * 1000))
        connection.execute("BEGIN IMMEDIATE")
        mine = str(self.owner)
        for (item,) in connection.execute("SELECT id FROM stage WHERE owner = ?", (mine,)).fetchall():
            drop_stage(connection, item)
        connection.execute("COMMIT")
        if self.effective.auto_vacuum == "incremental":
            check.give_back(connection, VACUUM_ON_CLOSE)
        if self.effective.journal_mode == "wal":
            connection.execute("PRAGMA busy_timeout=0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def lock_for_fork(self, stack: contextlib.ExitStack, deadline: float) -> None:
        """See :class:`forks.Forkable`."""
        if self._writer is not None:
            self._writer.lock_for_fork(stack, deadline)
        locked: list[Reader] = []

        def lock_readers() -> int:
            for reader in self.open_files.all():
                if reader.has_cursor and reader not in locked:
                    reader.lock_for_fork(stack, deadline)
                    locked.append(reader)
            return sum(reader.has_cursor for reader in locked)

        self.pool.lock_for_fork(stack, deadline, lock_readers)
        if self._file is not None:
            self._file.lock_for_fork(stack, deadline)

    def forget_parent(self) -> list[object]:
        """See :class:`forks.Forkable`."""
        if self._inode is not None and not self._is_closed and forks.is_of_sqlite(self._vfs):
            forks.inherited_files.add(self._inode)
        if self._writer is not None:
            self._writer.forget_parent()
        kept: list[object] = [self._connection, *self.pool.forget_parent()]
        for reader in self.open_files.all():
            kept.extend(reader.forget_parent())
        return kept


def check_capacity(capacity: SupportsIndex | None, largest: int | None = None) -> int | None:
    """A capacity that can work; ``largest`` is how much such a store can hold.

    Raises:
        ConfigError: it is no whole number, not positive, or too large.
    """
    if capacity is None:
        return None
    # True would be one byte, and 1.5 too: too little to be what was meant, and all would be evicted for it.
    if not isinstance(capacity, bool):
        with contextlib.suppress(TypeError):
            if 0 < (value := operator.index(capacity)) <= (largest or MAX_CAPACITY):
                return value
            if largest is not None and value > largest:
                raise ConfigError(
                    f"capacity: {value} bytes, but a shared store in memory holds at most {largest}",
                    hint="use a file, or BlobStore.memory() without shared_name",
                )
    raise ConfigError(
        f"capacity must be a positive number of bytes: {capacity!r}",
        hint="write a number of bytes such as 512 << 20; pass None for no limit",
    )
