"""The one writer: whoever comes when nobody writes, writes for all who wait, in one transaction.

A caller that finds the connection free leads: it takes what waits into a transaction, commits, and answers. So a
lone caller never waits for another thread. What has come meanwhile is left to a thread in the background, which leads
as long as there is something to do, and notes the uses of blobs when there is not.
"""

from __future__ import annotations

import _thread
import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ltxcore.blob_store._announcer import Announcer
from ltxcore.blob_store._batches import Batches
from ltxcore.blob_store._eviction import Evicted
from ltxcore.blob_store._failures import translated
from ltxcore.blob_store._options import Options
from ltxcore.blob_store._readers import FORKED
from ltxcore.blob_store._requests import FutureRequest, Request
from ltxcore.blob_store._stats import Stats
from ltxcore.blob_store._transaction import Transaction
from ltxcore.errors import BlobStoreError, ForkedError, StoreClosedError

R = TypeVar("R")

#: Payload bytes of writes nobody waits for, in batches; beyond, their caller waits for room.
QUEUE_BATCHES = 8
#: Seconds after which who waits looks whether anybody leads.
PATIENCE = 0.1


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
        self._connection = connection
        self._options = options
        self._guard = guard
        #: Held by who leads.
        self._lead = threading.Lock()
        self._leader = 0
        self._admission = threading.RLock()
        self._is_closed = False
        self._is_forked = False
        #: What closing has to do, where it was asked for in the middle of a write.
        self._last_later: Callable[[sqlite3.Connection], None] | None = None
        self._is_done = False
        self._bell = _thread.allocate_lock()
        self._bell.acquire()
        self._room = threading.Condition()
        self._promised = 0
        self._announcer = None if on_evict is None else Announcer(on_evict)
        self._stats = stats
        self._batches = Batches(connection, options, stats, guard, self._announcer)
        self.uses = self._batches.uses
        self._waiting = self._batches.waiting
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
                self._leader = _thread.get_ident()
                try:
                    if not request.is_answered:
                        self._batches.write()
                finally:
                    self._stop_leading()
            # A leader that is interrupted by a signal just here may leave without a word.
            if request.wait(PATIENCE):
                return request.result()

    def _stop_leading(self) -> None:
        self._leader = 0
        self._lead.release()
        # Who came while this one led has seen that somebody does, and waits.
        if self._waiting:
            self._ring()
        if self._batches.unsettled:
            self._settle()

    def _settle(self) -> None:
        """Tell futures, while nobody leads on account of it: what they call may use the store."""
        with contextlib.suppress(IndexError):
            while True:
                self._batches.unsettled.popleft().settle()

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
        except BlobStoreError:
            self._give_room(weight)
            raise
        self._ring()
        return request

    def start_at_once(self, action: Callable[[Transaction], R]) -> None:
        """Have it done some time. This never waits, so it may be called from wherever garbage is collected."""
        self._admit(FutureRequest(action))
        self._ring()

    def _give_room(self, weight: int) -> None:
        with self._room:
            self._promised -= weight
            self._room.notify_all()

    def _admit(self, request: Request[Any]) -> None:
        if self._is_forked:
            raise ForkedError(FORKED)
        if self._leader == _thread.get_ident() and type(request) is Request:
            raise RuntimeError("a write in the middle of a write, by a finalizer or a signal handler")
        with self._admission:
            if self._is_closed:
                raise StoreClosedError("the store is closed")
            self._waiting.append(request)

    @contextlib.contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """The connection between two transactions, for what cannot be in one."""
        if self._is_forked:
            raise ForkedError(FORKED)
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
            self._batches.flushes = True
            self._ring()
        elif self._batches.flush_by is None:
            self._batches.flush_by = time.monotonic() + self._options.touch_interval
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
        if self._leader == _thread.get_ident():
            # The store was garbage, and that was noticed in the middle of a write.
            self._last_later = last
            self._ring()
            return True
        if not self._lead.acquire(timeout=-1 if timeout is None else timeout):
            return False
        self._leader = _thread.get_ident()
        try:
            self._finish(last)
        finally:
            self._stop_leading()
        for thread in self._threads:
            if thread is not threading.current_thread():
                thread.join(None if deadline is None else max(deadline - time.monotonic(), 0.0))
        return not any(
            thread.is_alive() for thread in self._threads if thread is not threading.current_thread()
        )

    def _finish(self, last: Callable[[sqlite3.Connection], None]) -> None:
        if self._is_done:
            return
        while self._waiting:
            self._batches.write()
        if self.uses:
            self._batches.flushes = True
            self._batches.write()
        with self._guard:
            last(self._connection)
        self._is_done = True
        if self._announcer is not None:
            self._announcer.end()
        self._ring()

    def abandon(self) -> None:
        """In a forked child: the connection is the parent's, and so is whatever waits."""
        self._is_forked = True
        # Whoever held them does not exist here.
        self._admission, self._room = threading.RLock(), threading.Condition()

    # --- in the background -------------------------------------------------------------------------------------------

    def _ring(self) -> None:
        with contextlib.suppress(RuntimeError):
            self._bell.release()

    def _run(self) -> None:
        while True:
            by = self._batches.flush_by
            self._bell.acquire(timeout=-1 if by is None else max(by - time.monotonic(), 0.0))
            self._lead.acquire()
            self._leader = _thread.get_ident()
            try:
                if self._batches.flush_by is not None and time.monotonic() >= self._batches.flush_by:
                    self._batches.flushes = True
                while not self._is_done and (self._waiting or self._batches.flushes):
                    self._batches.write()
                if self._last_later is not None:
                    self._finish(self._last_later)
                if self._is_done:
                    return
            finally:
                self._stop_leading()
