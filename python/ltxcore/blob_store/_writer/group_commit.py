"""One transaction for all that waits: gathered, applied, committed, answered."""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from collections import deque
from itertools import groupby
from typing import Any, cast

from ltxcore.blob_store._process.identity import FileIdentity
from ltxcore.blob_store._sql.sqlite import FULL_HINT, code, is_busy, translated
from ltxcore.blob_store._sql.transaction import Put, Transaction, Uses
from ltxcore.blob_store._values import Options, Stats
from ltxcore.blob_store._writer.requests import Request
from ltxcore.blob_store._writer.space import DiskSpace, EvictionCallbacks, Gone, checkpoint, evict
from ltxcore.errors import BlobStoreError, StoreFullError, StoreMovedError

#: What to do when SQLite finds a store in memory full.
MEMORY_HINT = (
    "lower the capacity, raise max_page_count, or use a file: a shared store in memory has at most 1 GiB with all its "
    "overhead"
)


class RolledBackError(Exception):
    """SQLite has rolled the whole transaction back."""


class GroupError(Exception):
    """One of several puts failed."""


class NoSpaceError(Exception):
    """The commit would take the space that is kept for removing blobs."""


def is_full(error: Exception) -> bool:
    """Whether SQLite has found the disk full."""
    cause = error.__cause__ if isinstance(error, RolledBackError) else error
    return isinstance(cause, sqlite3.Error) and code(cause) == sqlite3.SQLITE_FULL


class GroupCommit:
    """What waits, and the transactions that it is written in. For one thread at a time: see :mod:`_writer.thread`."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        options: Options,
        stats: Stats,
        guard: contextlib.AbstractContextManager[object],
        on_evict: EvictionCallbacks | None,
        file: FileIdentity | None,
    ) -> None:
        self.uses = Uses()
        self.waiting: deque[Request[Any]] = deque()
        #: Futures that have to be told, and who waits for that.
        self.undelivered: deque[Request[Any]] = deque()
        #: Whether the next batch writes all uses of blobs down, and when it has to at the latest.
        self.flushes = False
        self.flush_by: float | None = None
        self._connection = connection
        self._options = options
        self._stats = stats
        self._guard = guard
        self._on_evict = on_evict
        self._file = file
        self._space = None if file is None else DiskSpace(file, connection)
        self._full_hint = MEMORY_HINT if file is None else FULL_HINT
        self._transaction = Transaction(connection, options, self.uses)
        #: What the transaction is about, until it is answered.
        self._requests: list[Request[Any]] = []
        self._one_by_one = False
        self._only_puts = False
        self._has_failed = False
        #: Payload of what was written one by one, in bytes.
        self._weight = 0
        #: Whether the WAL was emptied for what is being written, since the disk was full.
        self._emptied_wal = False

    def write(self, deadline: float | None = None) -> None:
        """Write what waits as one transaction, and answer. Others are waited for until ``deadline``, or as asked."""
        if deadline is None:
            deadline = time.monotonic() + self._options.busy_timeout
        try:
            with self._guard:
                self.recover()
                self._one_by_one = self._has_failed = self._emptied_wal = False
                # None of them changes much in one statement. A copy, since others add to it.
                self._only_puts = all(isinstance(request.action, Put) for request in tuple(self.waiting))
                while not self._attempt(deadline):
                    pass
            self._answer()
        except BaseException:
            # Not a failure of ours: a signal, in the thread that happens to lead. It concerns nobody else.
            with self._guard:
                self.recover()
            raise

    @property
    def is_unfinished(self) -> bool:
        """Whether a leader was interrupted, and :meth:`recover` has something to do."""
        return bool(self._requests)

    def connection(self) -> sqlite3.Connection:
        """The connection with nothing unfinished, for what may be of any size. Only with the guard."""
        self.recover()
        self._transaction.set_apart()
        return self._connection

    def recover(self) -> None:
        """End what a leader was interrupted in: answer what is decided, and let the rest wait again.

        Only with the guard: without, a transaction may be that of a reader, of a store in memory.
        """
        if self._has_failed or self._is_committed():
            self._answer()
            return
        # SQLite may have rolled back by itself, before anybody could say so.
        self.uses.undo()
        self._roll_back()
        left = [request for request in self._requests if request not in self.waiting]
        self.waiting.extendleft(reversed(left))
        self._requests = []

    def _answer(self) -> None:
        """Tell who waits. Nothing is wrong with telling it twice."""
        for request in self._requests:
            if request.is_delivered_later:
                self.undelivered.append(request)
            request.answer()
        self._requests = []

    def _is_committed(self) -> bool:
        return self._transaction.is_committing and not self._connection.in_transaction

    def _attempt(self, deadline: float) -> bool:
        """Try once, with the requests that were tried before, if any; False if it was in vain for now."""
        try:
            self._write()
        except (GroupError, NoSpaceError) as error:
            self.uses.undo()
            self._roll_back()
            if isinstance(error, GroupError) or not self._empty_wal():
                self._one_by_one = True
            return False
        except Exception as error:
            if self._is_committed() and not isinstance(error, sqlite3.Error):
                return True  # raised by a signal handler, after the fact
            self.uses.undo()
            self._roll_back()
            if is_full(error) and self._empty_wal():
                return False
            if isinstance(error, sqlite3.Error) and is_busy(error) and time.monotonic() < deadline:
                self._stats.busy_retries += 1
                time.sleep(random.uniform(0.001, 0.02))  # noqa: S311
                return False
            # What cannot be written now is tried again when the next blob is read.
            self.flushes, self.flush_by = False, None
            self._gather_none()
            self._fail(self._problem(error))
        return True

    def _write(self) -> None:
        transaction, requests = self._transaction, self._requests
        is_first = not requests
        transaction.begin(self._only_puts)
        self._weight = 0
        self._apply_all(requests)
        if is_first:
            self._gather(requests)
        gone = evict(transaction)
        flushed = transaction.write_uses() if self.flushes else 0
        self._check_file()
        transaction.commit()
        if self.flushes:
            self.flushes, self.flush_by = False, None
        self._count(requests, flushed, gone)

    def _check_file(self) -> None:
        """Make sure that the commit goes into the file that has the path, and leaves room to remove blobs again."""
        if self._file is None or self._space is None:
            return
        size = self._file.check()
        self._file.watch()
        if not self._one_by_one:
            try:
                self._space.check(self._transaction, sum(request.weight for request in self._requests), size)
            except StoreFullError as error:
                raise NoSpaceError from error

    def _empty_wal(self) -> bool:
        """Give the WAL back, once; whether that was possible, and another attempt makes sense."""
        if self._emptied_wal or self._file is None:
            return False
        self._emptied_wal = True
        return checkpoint(self._connection)

    def _gather(self, requests: list[Request[Any]]) -> None:
        """Apply what waits, and what comes meanwhile, up to the limits of a batch."""
        options, weight = self._options, 0
        linger_until = time.monotonic() + options.linger if options.linger else 0.0
        while True:
            came: list[Request[Any]] = []
            while len(requests) < options.batch_max_items and weight < options.batch_max_bytes:
                if not self.waiting:
                    break
                # In this order: a signal between any two of these must not lose a request.
                request = self.waiting[0]
                if self._only_puts and not isinstance(request.action, Put):
                    linger_until = 0.0
                    break
                requests.append(request)
                self.waiting.popleft()
                came.append(request)
                weight += request.weight
            else:
                linger_until = 0.0
            self._apply_all(came)
            if not came:
                if not requests or time.monotonic() >= linger_until:
                    return
                time.sleep(0.0005)

    def _gather_none(self) -> None:
        """Of a transaction that could not even begin: who waits first is told, and all who have waited long enough.

        That is half of the time. So nobody waits for more than one and a half of it, however many wait.
        """
        requests = self._requests
        if requests:
            return
        latest = time.monotonic() - self._options.busy_timeout / 2
        while self.waiting and (not requests or self.waiting[0].since <= latest):
            requests.append(self.waiting[0])
            self.waiting.popleft()

    def _apply_all(self, requests: list[Request[Any]]) -> None:
        """Apply requests in their order; puts that follow one another as one.

        Puts hardly ever fail, so no savepoint is spent on them.

        Raises:
            GroupError: some did, and all have to be applied again, one by one.
        """
        transaction = self._transaction
        if self._one_by_one or transaction.policy == "none":
            for request in requests:
                self._apply(request)
            return
        for are_puts, group in groupby(requests, lambda request: transaction.can_group(request.action)):
            if not are_puts:
                for request in group:
                    self._apply(request)
                continue
            try:
                transaction.put_many([cast(Put, request.action) for request in group])
            except Exception as error:
                raise GroupError from error

    def _apply(self, request: Request[Any]) -> None:
        """One write, undone alone if it fails alone."""
        transaction = self._transaction
        execute, uses = transaction.execute, transaction.uses
        mark, bound, policy = uses.mark(), transaction.capacity, transaction.policy
        execute("SAVEPOINT request")
        try:
            request.run(transaction)
            if transaction.policy == "none":
                transaction.refuse_overflow()
            if self._one_by_one and self._space is not None and request.weight:
                self._space.check_now(transaction, self._weight + request.weight)
                self._weight += request.weight
        except Exception as error:
            if not self._connection.in_transaction:
                raise RolledBackError from error
            execute("ROLLBACK TO request")
            uses.undo(mark)
            transaction.capacity, transaction.policy = bound, policy
            request.fail(self._problem(error))
        execute("RELEASE request")

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _fail(self, error: Exception) -> None:
        self._stats.batch_errors += 1
        for request in self._requests:
            if request.error is None:
                request.fail(copy_of(error))
        self._has_failed = True

    def _problem(self, error: Exception) -> Exception:
        """What callers are told: of a store that is not where it was SQLite only knows that something is wrong."""
        cause = error.__cause__ if isinstance(error, RolledBackError) else error
        if not isinstance(cause, sqlite3.Error):
            return cause if isinstance(cause, Exception) else error
        try:
            if self._file is not None:
                self._file.check()
        except StoreMovedError as moved:
            return moved
        return translated(cause, hint=self._full_hint)

    def _count(self, requests: list[Request[Any]], flushed: int, gone: list[Gone]) -> None:
        stats = self._stats
        stats.batches += 1
        stats.batched_ops += len(requests)
        stats.max_batch = max(stats.max_batch, len(requests))
        stats.rejected += sum(request.error is not None for request in requests)
        stats.touches_flushed += flushed
        stats.evictions += len(gone)
        stats.evicted_bytes += sum(size for _, size in gone)
        if gone and self._on_evict is not None:
            self._on_evict.call(gone)


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
