"""The one writer: whoever comes when nobody writes, writes for all who wait, in one transaction.

A caller that finds the connection free leads: it takes what waits into a transaction, commits, and answers. So a
lone caller never waits for another thread. What has come meanwhile is left to a thread in the background, which leads
as long as there is something to do, and notes the uses of blobs when there is not.
"""

from __future__ import annotations

import _thread
import contextlib
import logging
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from ltxcore.blob_store._process import forks
from ltxcore.blob_store._process.forks import FORKED, NEW_STORE, AutoResetEvent
from ltxcore.blob_store._process.identity import FileIdentity
from ltxcore.blob_store._sql.sqlite import translated
from ltxcore.blob_store._sql.transaction import Transaction
from ltxcore.blob_store._values import Evicted, Options, Stats
from ltxcore.blob_store._writer.group_commit import GroupCommit
from ltxcore.blob_store._writer.requests import FlushRequest, FutureRequest, Request
from ltxcore.blob_store._writer.space import EvictionCallbacks
from ltxcore.errors import BlobStoreError, ForkedError, StoreClosedError

R = TypeVar("R")
log = logging.getLogger("ltxcore.blob_store")
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
        file: FileIdentity | None,
    ) -> None:
        self._options = options
        self._guard = guard
        #: Held by who leads. That it could be taken twice is not used: what matters is that it knows its owner.
        self._lead = threading.RLock()
        self._leader = 0
        self._queue_lock = threading.RLock()
        self._is_closed = False
        self._is_forked = False
        #: What closing has to do in the end.
        self._last: Callable[[sqlite3.Connection], None] | None = None
        #: Until when closing waits for other processes: who is in the way of one write is in the way of the others.
        self._end_by: float | None = None
        self._is_done = False
        self._wake = AutoResetEvent()
        self._reserve_lock = threading.Lock()
        self._reserved = 0
        self._callbacks = None if on_evict is None else EvictionCallbacks(on_evict)
        self._stats = stats
        self._commits = GroupCommit(connection, options, stats, guard, self._callbacks, file)
        self._file = file
        self.uses = self._commits.uses
        self._waiting = self._commits.waiting
        self._threads = [threading.Thread(target=self._run, name="ltxcore-blob-writer", daemon=True)]
        self._threads[0].start()
        if self._callbacks is not None:
            self._threads.append(self._callbacks.thread)

    # --- for callers -----------------------------------------------------------------------------------------------

    def call(self, action: Callable[[Transaction], R], weight: int = 0) -> R:
        """Have it done, and return when it is committed."""
        return self._wait_for(Request(action, weight))

    def _wait_for(self, request: Request[R]) -> R:
        self._enqueue(request)
        try:
            while True:
                if self._lead.acquire(blocking=False):
                    self._leader = _thread.get_ident()
                    if not request.is_answered:
                        self._commits.write()
                    self._stop_leading()
                    self._leave()
                # A leader that is interrupted by a signal may leave without a word.
                if request.wait(PATIENCE):
                    break
        except BaseException:
            # A signal may come between any two lines, of which one was to release this.
            with contextlib.suppress(RuntimeError):
                self._stop_leading()
            self._wake.set()
            raise
        return request.result()

    def _stop_leading(self) -> None:
        """Let another thread lead; RuntimeError if this one does not."""
        if self._leader == _thread.get_ident():
            self._leader = 0
        self._lead.release()

    def _leave(self) -> None:
        """Leave the rest to the thread in the background: who came meanwhile has seen that somebody leads, and waits."""
        if self._waiting or self._commits.undelivered:
            self._wake.set()

    def submit(self, action: Callable[[Transaction], R], weight: int) -> FutureRequest[R]:
        """Have it done without waiting, unless too much is promised already."""
        self._reserve(weight)
        request = FutureRequest(action, weight)
        request.future.add_done_callback(lambda _: self._unreserve(weight))
        try:
            self._enqueue(request)
        except BlobStoreError:
            self._unreserve(weight)
            raise
        self._wake.set()
        return request

    def submit_at_once(self, action: Callable[[Transaction], R]) -> None:
        """Have it done some time. This never waits, so it may be called from wherever garbage is collected."""
        self._enqueue(FutureRequest(action))
        self._wake.set()

    def _reserve(self, weight: int) -> None:
        limit = QUEUE_BATCHES * self._options.batch_max_bytes
        # Room is given back by the thread that tells futures, so what those call cannot wait for it.
        is_here = threading.current_thread() is self._threads[0]
        while True:
            with self._reserve_lock:
                if is_here or not self._reserved or self._reserved + weight <= limit or self._is_closed:
                    self._reserved += weight
                    return
            # So much takes longer than this to be written. A signal can leave a Condition locked for ever.
            time.sleep(0.002)

    def _unreserve(self, weight: int) -> None:
        with self._reserve_lock:
            self._reserved -= weight

    def _enqueue(self, request: Request[Any]) -> None:
        if self._is_forked:
            raise ForkedError(FORKED, hint=NEW_STORE)
        if not isinstance(request, FutureRequest):
            self._refuse_nesting()
        with self._queue_lock:
            if self._is_closed:
                raise StoreClosedError("the store is closed")
            self._waiting.append(request)

    def _refuse_nesting(self) -> None:
        if self._leader == _thread.get_ident():
            raise RuntimeError("a write in the middle of a write, by a finalizer or a signal handler")

    @contextlib.contextmanager
    def connection(self) -> Iterator[sqlite3.Connection]:
        """The connection between two transactions, for what cannot be in one."""
        if self._is_forked:
            raise ForkedError(FORKED, hint=NEW_STORE)
        self._refuse_nesting()
        with self._lead:
            self._leader = _thread.get_ident()
            try:
                if self._is_done:
                    raise StoreClosedError("the store is closed")
                if self._file is not None:
                    self._file.check()
                with self._guard:
                    yield self._commits.connection()
            except sqlite3.Error as error:
                raise translated(error) from error
            finally:
                self._leader = 0
        self._leave()

    def schedule_use_flush(self) -> None:
        """Have the uses that were noted written: after a while, or at once if they are many, or have to be exact."""
        if self._options.touch == "exact" or len(self.uses) >= self._options.touch_max:
            self._commits.flushes = True
            self._wake.set()
        elif self._commits.flush_by is None:
            self._commits.flush_by = time.monotonic() + self._options.touch_interval
            self._wake.set()

    def flush(self) -> None:
        """Return when all that waits is committed, all futures up to now are told, and uses of blobs are written down."""
        # The thread that tells futures may be in the middle of it.
        kind = Request if threading.current_thread() in self._threads else FlushRequest
        self._stats.touches_flushed += self._wait_for(kind(Transaction.flush_uses))

    def depth(self) -> int:
        """How many writes wait."""
        return len(self._waiting)

    def close(self, deadline: float | None, last: Callable[[sqlite3.Connection], None]) -> bool:
        """Do what waits, then ``last``; False if that takes longer than until ``deadline``, by the monotonic clock.

        The thread in the background does it, whatever happens to the caller. One that is in the middle of a write, or
        that thread itself, where the store was found to be garbage, does not wait for it.
        """
        with self._queue_lock:
            if not self._is_closed:
                self._end_by = time.monotonic() + self._options.busy_timeout
            self._is_closed = True
            self._last = last
        self._wake.set()
        here = threading.current_thread()
        if self._leader == _thread.get_ident() or here in self._threads:
            return True
        for thread in self._threads:
            thread.join(None if deadline is None else max(deadline - time.monotonic(), 0.0))
            if thread is self._threads[0] and not thread.is_alive() and not self._is_done:
                # It ended in something that nobody foresaw, and what waits must not be lost with it.
                with self._lead:
                    self._finish(last)
                self._deliver()
        return not any(thread.is_alive() for thread in self._threads)

    def _finish(self, last: Callable[[sqlite3.Connection], None]) -> None:
        try:
            while self._waiting:
                self._commits.write(self._end_by)
            if self.uses:
                self._commits.flushes = True
                self._commits.write(self._end_by)
            with self._guard:
                connection = self._commits.connection()
            last(connection)
        finally:
            self._is_done = True
            if self._callbacks is not None:
                self._callbacks.end()

    def lock_for_fork(self, stack: contextlib.ExitStack, deadline: float) -> None:
        """See :class:`forks.Forkable`."""
        stack.callback(self._wake.set)  # somebody may have come meanwhile
        forks.acquire(self._lead, stack, deadline)

    def forget_parent(self) -> None:
        """In a forked child: the connection is the parent's, and so is whatever waits."""
        self._is_forked = True
        # Whoever held them does not exist here.
        self._queue_lock, self._reserve_lock = threading.RLock(), threading.Lock()

    # --- in the background -------------------------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._is_done:
            by = self._commits.flush_by
            self._wake.wait(-1 if by is None else max(by - time.monotonic(), 0.0))
            with self._lead:
                self._leader = _thread.get_ident()
                try:
                    self._lead_on()
                finally:
                    self._leader = 0
            self._deliver()
            self._leave()

    def _lead_on(self) -> None:
        """Write as long as there is something to be written."""
        if self._commits.flush_by is not None and time.monotonic() >= self._commits.flush_by:
            self._commits.flushes = True
        while self._waiting or self._commits.flushes or self._commits.is_unfinished:
            self._commits.write(self._end_by)
        if self._last is not None:
            self._finish(self._last)

    def _deliver(self) -> None:
        """Tell futures, while nobody leads on account of it: what they call may use the store.

        No other thread does: a signal in the middle of it would leave a future that is done and tells nobody.
        """
        undelivered = self._commits.undelivered
        while undelivered:
            try:
                undelivered.popleft().deliver()
            except BaseException:  # SystemExit, say: this thread is not a callback's to end
                log.exception("what a future called ended in")
