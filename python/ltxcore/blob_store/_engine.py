"""Everything that an open store owns. It outlives the object that its user holds for as long as closing takes."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

from ltxcore import _runtime
from ltxcore.blob_store import _check, _forks, _options, _schema
from ltxcore.blob_store._eviction import Evicted
from ltxcore.blob_store._failures import code, translated
from ltxcore.blob_store._options import EffectiveOptions, Options
from ltxcore.blob_store._owners import Owner
from ltxcore.blob_store._place import Place
from ltxcore.blob_store._readers import FilePool, OnePool
from ltxcore.blob_store._stats import Stats
from ltxcore.blob_store._streams import Reader
from ltxcore.blob_store._transaction import Transaction, drop_stage
from ltxcore.blob_store._writer import Writer
from ltxcore.errors import NotABlobStoreError, StoreBusyError, StoreMovedError, StoreReadOnlyError

#: Free pages that are given back to the file system when a store is closed.
VACUUM_ON_CLOSE = 4096
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
        self._born_in = _runtime.generation()
        self._source: Path | str = path if path is not None else uri or ":memory:"
        self._is_shared = path is not None or uri is not None
        self._creates = create and not readonly
        self._readonly = readonly
        self._open: _forks.Living[Reader] = _forks.Living()
        # A signal handler may close what is being closed.
        self._closing = threading.RLock()
        #: Whether nothing is left of it.
        self._is_closed = False
        self._vfs = options.vfs if path is None else _forks.vfs_for(path, options.vfs)
        with _forks.changes:
            self._open_file(on_evict)

    def _open_file(self, on_evict: Callable[[Evicted], None] | None) -> None:
        self._connection = self._first_connection()
        try:
            self.effective: EffectiveOptions = _schema.describe(self._connection, self.path)
            is_wal = self.effective.journal_mode == "wal"
            self.place = None if self.path is None else Place(self.path, self._vfs, is_wal=is_wal)
            self.pool = self._make_pool()
            self._file = None if self.path is None else _forks.identity(self.path)
        except BaseException:
            self._connection.close()
            raise
        self._writer: Writer | None = None
        if not self._readonly:
            self._writer = Writer(
                self._connection, self.options, self.stats, self.pool.guard, on_evict, self.place
            )
        _forks.watch(self)
        _runtime.register(self)

    def _connect(self, *, create: bool = False) -> sqlite3.Connection:
        return _schema.open_connection(
            self._source, self.options, self._vfs, readonly=self._readonly, create=create
        )

    def _connect_again(self) -> sqlite3.Connection:
        """A connection to the same file. One to another file of its name would take our WAL for that file's own."""
        if self.place is not None:
            self.place.check()
        return self._connect()

    def _first_connection(self) -> sqlite3.Connection:
        try:
            connection = self._connect(create=self._creates)
        except sqlite3.Error as error:
            raise self._not_opened(error) from error
        try:
            if not self._creates and not _schema.is_store(connection, self.path):
                raise NotABlobStoreError(f"{self.path}: the file is empty", path=str(self.path))
            if self._readonly:
                _options.verify_file(connection, self.options)
                _options.verify_journal_mode(connection, self.options)
                _options.set_connection(connection, self.options)
            else:
                _schema.set_up(connection, self.options, self.path)
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
        return FilePool(self._connect_again, self.options, self.place, is_wal=is_wal)

    @property
    def writer(self) -> Writer:
        """Who writes.

        Raises:
            StoreReadOnlyError: nobody does.
            ForkedError: the parent process does.
        """
        if self._born_in != _runtime.generation():
            _runtime.check(self._born_in)
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
                _schema.create_order(transaction.connection, wanted)
                transaction.policy = wanted
            transaction.execute(_check.RECONCILE)
            for item, text in transaction.execute(STAGES).fetchall():
                if Owner.parse(text).is_gone():
                    transaction.drop_stage(item)

        self.writer.call(action)
        with self.writer.connection():
            self.effective = _schema.describe(self._connection, self.path)

    def _has_to_change(
        self, connection: sqlite3.Connection, capacity: int | None, *, set_capacity: bool
    ) -> bool:
        """Whether opening has anything to write. A store that is only opened and closed stays as it is."""
        found = connection.execute("SELECT capacity, policy, bytes FROM meta").fetchone()
        if set_capacity and found[0] != capacity:
            return True
        if self.options.policy not in {None, found[1]}:
            return True
        if connection.execute(_check.OFF).fetchone() != (0, 0) or (found[0] or found[2]) < found[2]:
            return True
        return any(Owner.parse(text).is_gone() for _, text in connection.execute(STAGES).fetchall())

    def opened(self, reader: Reader) -> None:
        """Note a blob that is open."""
        self._open.add(reader)

    def forget(self, reader: Reader) -> None:
        """The reverse."""
        self._open.discard(reader)

    def open_readers(self) -> int:
        """How many blobs are open."""
        return len(self._open)

    def close(self, *, timeout: float | None = None) -> None:
        """Write what waits, let go of everything.

        Raises:
            StoreBusyError: that takes longer than ``timeout`` seconds. It goes on in the background.
        """
        if self._born_in != _runtime.generation():
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
                with _forks.changes:  # a writer has its lead, which a fork waits for too
                    self._last(self._connection)
        finally:
            self._closing.release()
        _runtime.unregister(self)

    @staticmethod
    def _not_closed(timeout: float | None) -> StoreBusyError:
        return StoreBusyError(f"the store could not be closed within {timeout} s")

    def _last(self, connection: sqlite3.Connection) -> None:
        # Without the pool's guard: who reads a blob has its lock, and in memory waits for the guard with it.
        for reader in self._open.all():
            reader.let_go()
        self.pool.close()
        with contextlib.suppress(sqlite3.Error, StoreMovedError):
            if self._writer is not None and self._is_shared:
                if self.place is not None:
                    self.place.check()
                self._tidy(connection)
        connection.close()
        self._is_closed = True
        if self.pool.is_at_rest:
            # Not only when it is collected: with every store that a fork looks at, it takes longer.
            _forks.unwatch(self)

    def _tidy(self, connection: sqlite3.Connection) -> None:
        """Give back what this process leaves: blobs it never finished, free pages, the WAL."""
        _options.pragma(connection, "busy_timeout", round(min(self.options.busy_timeout, 1) * 1000))
        connection.execute("BEGIN IMMEDIATE")
        mine = str(self.owner)
        for (item,) in connection.execute("SELECT id FROM stage WHERE owner = ?", (mine,)).fetchall():
            drop_stage(connection, item)
        connection.execute("COMMIT")
        if self.effective.auto_vacuum == "incremental":
            _check.give_back(connection, VACUUM_ON_CLOSE)
        if self.effective.journal_mode == "wal":
            connection.execute("PRAGMA busy_timeout=0")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def hold_still(self, stack: contextlib.ExitStack, deadline: float) -> None:
        """See :class:`_forks.Forkable`."""
        if self._writer is not None:
            self._writer.hold_still(stack, deadline)
        held: list[Reader] = []

        def hold_readers() -> int:
            for reader in self._open.all():
                if reader.has_cursor and reader not in held:
                    reader.hold_still(stack, deadline)
                    held.append(reader)
            return sum(reader.has_cursor for reader in held)

        self.pool.hold_still(stack, deadline, hold_readers)
        if self.place is not None:
            self.place.hold_still(stack, deadline)

    def abandon(self) -> list[object]:
        """See :class:`_forks.Forkable`."""
        if self._file is not None and not self._is_closed and _forks.is_of_sqlite(self._vfs):
            _forks.inherited_files.add(self._file)
        if self._writer is not None:
            self._writer.abandon()
        kept: list[object] = [self._connection, *self.pool.abandon()]
        for reader in self._open.all():
            kept.extend(reader.abandon())
        return kept
