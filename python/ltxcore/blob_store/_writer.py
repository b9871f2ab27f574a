"""The one writer: whoever comes when nobody writes, writes for all who wait, in one transaction.

A caller that finds the connection free leads: it takes what waits into a transaction, commits, and answers. So a
lone caller never waits for another thread. What has come meanwhile is left to a thread in the background, which leads
as long as there is something to do, and notes the uses of blobs when there is not.
"""

from __future__ import annotations

import _thread
import contextlib
import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from itertools import groupby
from typing import Any, TypeVar, cast

from ltxcore.blob_store._announcer import Announcer
from ltxcore.blob_store._eviction import Evicted, evict
from ltxcore.blob_store._failures import copy_of, is_busy, translated
from ltxcore.blob_store._options import Options
from ltxcore.blob_store._requests import FutureRequest, Request
from ltxcore.blob_store._stats import Stats
from ltxcore.blob_store._transaction import Put, Transaction
from ltxcore.blob_store._uses import Uses
from ltxcore.errors import StoreClosedError

R = TypeVar("R")

#: Payload bytes of writes nobody waits for, in batches; beyond, their caller waits for room.
QUEUE_BATCHES = 8
#: Seconds after which who waits looks whether anybody leads.
PATIENCE = 0.5


class LostError(Exception):
    """SQLite has rolled the whole transaction back."""


class GroupError(Exception):
    """One of several puts failed."""


class Writer:
    """Owns a connection. Nothing of the store that callers hold is known here, so that one nobody holds can be closed."""

    def __init__(
        self,
        connection: sqlite3.Connection,
        options: Options,
        stats: Stats,
        guard: contextlib.AbstractContextManager[object],
        on_evict: Callable[[Evicted], None] | None,
    ) -> None:
        self.uses = Uses()
        self._connection = connection
        self._options = options
        self._stats = stats
        self._guard = guard
        self._transaction = Transaction(connection, options, self.uses)
        self._waiting: deque[Request[Any]] = deque()
        #: Held by who leads.
        self._lead = threading.Lock()
        self._admission = threading.Lock()
        self._is_closed = False
        self._is_done = False
        self._bell = _thread.allocate_lock()
        self._bell.acquire()
        #: Whether the next batch writes all uses of blobs down, and when it has to at the latest.
        self._flushes = False
        self._flush_by: float | None = None
        self._one_by_one = False
        self._room = threading.Condition()
        self._promised = 0
        self._announcer = None if on_evict is None else Announcer(on_evict)
        self._threads = [threading.Thread(target=self._run, name="ltxcore-blob-writer", daemon=True)]
        self._threads[0].start()
        if self._announcer is not None:
            self._threads.append(self._announcer.thread)

    # --- for callers -----------------------------------------------------------------------------------------------

    def call(self, action: Callable[[Transaction], R], weight: int = 0) -> R:
        """Have it done, and return when it is committed."""
        request = Request(action, weight)
        self._admit(request)
        while True:
            if self._lead.acquire(blocking=False):
                try:
                    if not request.is_answered:
                        self._lead_once()
                finally:
                    self._lead.release()
                    # Who came while this one led has seen that somebody does, and waits.
                    if self._waiting:
                        self._ring()
            # A leader that is interrupted by a signal just here may leave without a word.
            if request.wait(PATIENCE):
                return request.result()

    def start(self, action: Callable[[Transaction], R], weight: int) -> FutureRequest[R]:
        """Have it done without waiting, unless too much is promised already."""
        with self._room:
            limit = QUEUE_BATCHES * self._options.batch_max_bytes
            while self._promised and self._promised + weight > limit and not self._is_closed:
                self._room.wait()
            self._promised += weight
        request = FutureRequest(action, weight)
        request.future.add_done_callback(lambda _: self._give_room(weight))
        try:
            self._admit(request)
        except StoreClosedError:
            self._give_room(weight)
            raise
        self._ring()
        return request

    def _give_room(self, weight: int) -> None:
        with self._room:
            self._promised -= weight
            self._room.notify_all()

    def _admit(self, request: Request[Any]) -> None:
        with self._admission:
            if self._is_closed:
                raise StoreClosedError("the store is closed")
            self._waiting.append(request)

    @contextlib.contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """The connection between two transactions, for what cannot be in one."""
        with self._lead, self._guard:
            if self._is_done:
                raise StoreClosedError("the store is closed")
            try:
                yield self._connection
            except sqlite3.Error as error:
                raise translated(error) from error
        if self._waiting:
            self._ring()

    def nudge(self) -> None:
        """Have the uses that were noted written: after a while, or at once if they are many, or have to be exact."""
        if self._options.touch == "exact" or len(self.uses) >= self._options.touch_max:
            self._flushes = True
            self._ring()
        elif self._flush_by is None:
            self._flush_by = time.monotonic() + self._options.touch_interval
            self._ring()

    def flush(self) -> None:
        """Return when all that waits is committed, and the uses of blobs are written down."""
        self._stats.touches_flushed += self.call(lambda transaction: transaction.flush_uses())

    def depth(self) -> int:
        """How many writes wait."""
        return len(self._waiting)

    def close(self, timeout: float | None, last: Callable[[sqlite3.Connection], None]) -> bool:
        """Do what waits, then ``last``; False if that takes longer than ``timeout`` seconds."""
        with self._admission:
            self._is_closed = True
        with self._room:
            self._room.notify_all()
        deadline = None if timeout is None else time.monotonic() + timeout
        if not self._lead.acquire(timeout=-1 if timeout is None else timeout):
            return False
        try:
            if not self._is_done:
                while self._waiting:
                    self._lead_once()
                if self.uses:
                    self._flushes = True
                    self._lead_once()
                with self._guard:
                    last(self._connection)
                self._is_done = True
                if self._announcer is not None:
                    self._announcer.end()
                self._ring()
        finally:
            self._lead.release()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(None if deadline is None else max(deadline - time.monotonic(), 0.0))
        return not any(
            thread.is_alive() for thread in self._threads if thread is not threading.current_thread()
        )

    # --- in the background -------------------------------------------------------------------------------------------

    def _ring(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._bell.release()

    def _run(self) -> None:
        while True:
            by = self._flush_by
            self._bell.acquire(timeout=-1 if by is None else max(by - time.monotonic(), 0.0))
            with self._lead:
                if self._is_done:
                    return
                if self._flush_by is not None and time.monotonic() >= self._flush_by:
                    self._flushes = True
                while self._waiting or self._flushes:
                    self._lead_once()

    # --- leading -------------------------------------------------------------------------------------------------------

    def _lead_once(self) -> None:
        """Write what waits as one transaction, and answer."""
        requests: list[Request[Any]] = []
        self._one_by_one = False
        deadline = time.monotonic() + self._options.busy_timeout
        try:
            with self._guard:
                while not self._attempt(requests, deadline):
                    pass
        except BaseException:
            # Not a failure of ours: a signal, in the thread that happens to lead. It concerns nobody else.
            if not self._is_committed():
                self._roll_back()
                left = [request for request in requests if request not in self._waiting]
                self._waiting.extendleft(reversed(left))
                raise
            self._answer(requests)
            raise
        self._answer(requests)

    @staticmethod
    def _answer(requests: list[Request[Any]]) -> None:
        try:
            for request in requests:
                request.answer()
        except BaseException:
            for request in requests:
                request.answer()
            raise

    def _is_committed(self) -> bool:
        return self._transaction.is_committing and not self._connection.in_transaction

    def _attempt(self, requests: list[Request[Any]], deadline: float) -> bool:
        """Try once, with ``requests`` if they were tried before; False if it was in vain for now."""
        is_first = not requests
        try:
            self._write(requests, gather=is_first)
        except GroupError:
            self.uses.undo()
            self._roll_back()
            self._one_by_one = True
            return False
        except Exception as error:
            if self._is_committed() and not isinstance(error, sqlite3.Error):
                return True  # raised by a signal handler, after the fact
            self.uses.undo()
            self._roll_back()
            if isinstance(error, sqlite3.Error) and is_busy(error) and time.monotonic() < deadline:
                self._stats.busy_retries += 1
                time.sleep(random.uniform(0.001, 0.02))  # noqa: S311
                return False
            # What cannot be written now is tried again when the next blob is read.
            self._flushes, self._flush_by = False, None
            self._gather_none(requests)
            self._fail(requests, error)
        except BaseException:
            self.uses.undo()
            raise
        return True

    def _write(self, requests: list[Request[Any]], *, gather: bool) -> None:
        transaction = self._transaction
        transaction.begin()
        self._apply_all(requests)
        if gather:
            self._gather(requests)
        gone = evict(transaction)
        flushed = transaction.write_uses() if self._flushes else 0
        transaction.commit()
        if self._flushes:
            self._flushes, self._flush_by = False, None
        self._count(requests, flushed, gone)

    def _gather(self, requests: list[Request[Any]]) -> None:
        """Apply what waits, and what comes meanwhile, up to the limits of a batch."""
        options, weight = self._options, 0
        linger_until = time.monotonic() + options.linger if options.linger else 0.0
        while True:
            came: list[Request[Any]] = []
            while len(requests) < options.batch_max_items and weight < options.batch_max_bytes:
                if not self._waiting:
                    break
                # In this order: a signal between any two of these must not lose a request.
                request = self._waiting[0]
                requests.append(request)
                self._waiting.popleft()
                came.append(request)
                weight += request.weight
            else:
                linger_until = 0.0
            self._apply_all(came)
            if not came:
                if not requests or time.monotonic() >= linger_until:
                    return
                time.sleep(0.0005)

    def _gather_none(self, requests: list[Request[Any]]) -> None:
        """Of a transaction that could not even begin: who waits first is told."""
        if not requests and self._waiting:
            requests.append(self._waiting.popleft())

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
        execute, uses = self._transaction.execute, self._transaction.uses
        mark = uses.mark()
        execute("SAVEPOINT request")
        try:
            request.run(self._transaction)
            if self._transaction.policy == "none":
                self._transaction.refuse_overflow()
        except Exception as error:
            if not self._connection.in_transaction:
                raise LostError from error
            execute("ROLLBACK TO request")
            uses.undo(mark)
            request.fail(translated(error) if isinstance(error, sqlite3.Error) else error)
        execute("RELEASE request")

    def _roll_back(self) -> None:
        with contextlib.suppress(sqlite3.Error):
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    def _fail(self, requests: list[Request[Any]], error: Exception) -> None:
        self._stats.batch_errors += 1
        cause = error.__cause__ if isinstance(error, LostError) and error.__cause__ is not None else error
        for request in requests:
            if request.error is None:
                request.fail(copy_of(cause))

    def _count(self, requests: list[Request[Any]], flushed: int, gone: list[Evicted]) -> None:
        stats = self._stats
        stats.batches += 1
        stats.batched_ops += len(requests)
        stats.max_batch = max(stats.max_batch, len(requests))
        stats.rejected += sum(request.error is not None for request in requests)
        stats.touches_flushed += flushed
        stats.evictions += len(gone)
        stats.evicted_bytes += sum(blob.size for blob in gone)
        if gone and self._announcer is not None:
            self._announcer.announce(gone)
