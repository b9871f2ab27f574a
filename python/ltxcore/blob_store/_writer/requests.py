"""What the writer is asked for: single changes with their answers, and changes that belong together."""

from __future__ import annotations

import _thread
import time
from collections.abc import Callable
from concurrent.futures import Future
from itertools import groupby
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from ltxcore.blob_store._sql.transaction import Put, Transaction, compose
from ltxcore.blob_store._values import Tags, check_name, encode_tags

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

R = TypeVar("R")


class Request(Generic[R]):
    """A write, and whoever waits for it. ``weight`` is its payload in bytes."""

    __slots__ = ("_answered", "_result", "action", "error", "since", "weight")
    #: Whether :meth:`deliver` has to follow the answer.
    is_delivered_later = False

    def __init__(self, action: Callable[[Transaction], R], weight: int = 0) -> None:
        self.weight = weight
        #: When it was asked for, by the monotonic clock.
        self.since = time.monotonic()
        self.error: BaseException | None = None
        self.action = action
        self._result: R | None = None
        # A bare lock is the cheapest thing that a thread can wait for.
        self._answered = _thread.allocate_lock()
        self._answered.acquire()

    def run(self, transaction: Transaction) -> None:
        """Do it. It may be done again if the transaction was rolled back."""
        self.error = None
        self._result = self.action(transaction)

    def fail(self, error: BaseException) -> None:
        """Note why it was not done."""
        self.error = error

    def answer(self) -> None:
        """Wake who waits: the transaction is committed, or will not be. Answering twice is nothing."""
        if self._answered.locked():
            self._answered.release()

    def deliver(self) -> None:
        """What is left to be done when nobody leads on account of it. To do it twice is nothing."""

    @property
    def is_answered(self) -> bool:
        """Whether :meth:`result` would return at once."""
        return not self._answered.locked()

    def wait(self, timeout: float) -> bool:
        """Wait for the answer; whether it came within ``timeout`` seconds."""
        return self._answered.acquire(timeout=timeout)

    def result(self) -> R:
        """What came of it, after the answer."""
        error, self.error = self.error, None
        if error is not None:
            try:
                raise error
            finally:
                # Its traceback holds this frame: nothing of it shall wait for the garbage collector.
                del error
        return self._result  # type: ignore[return-value]


class FlushRequest(Request[R]):
    """A write that is answered when the futures of all before it are told."""

    __slots__ = ()
    is_delivered_later = True

    def answer(self) -> None:
        """Not yet."""

    def deliver(self) -> None:
        """Wake who waits."""
        super().answer()


class FutureRequest(Request[R]):
    """A write whose caller looks at a future, or does not."""

    __slots__ = ("future",)
    is_delivered_later = True

    def __init__(self, action: Callable[[Transaction], R], weight: int = 0) -> None:
        super().__init__(action, weight)
        self.future: Future[R] = Future()
        # It is on its way: it cannot be called back.
        self.future.set_running_or_notify_cancel()

    def deliver(self) -> None:
        """Give the future what came of it."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self._result)  # type: ignore[arg-type]


class Batch:
    """Changes that are made in their order, all of them or none."""

    def __init__(self) -> None:
        self.actions: list[Callable[[Transaction], object]] = []
        self.weight = 0
        self.puts = 0

    def put(self, name: str, data: ReadableBuffer, *, tags: Tags | None = None) -> None:
        """See :meth:`BlobStore.put`. The bytes are copied."""
        check_name(name)
        payload, encoded = bytes(memoryview(data)), encode_tags(tags)
        self.weight += len(payload)
        self.puts += 1
        self.actions.append(Put(name, payload, encoded))

    def delete(self, name: str, *, missing_ok: bool = False) -> None:
        """See :meth:`BlobStore.delete`."""
        check_name(name)
        self.actions.append(lambda transaction: transaction.delete(name, missing_ok))

    def rename(self, source: str, target: str, *, overwrite: bool = False) -> None:
        """See :meth:`BlobStore.rename`."""
        check_name(source)
        check_name(target)
        self.actions.append(lambda transaction: transaction.rename(source, target, overwrite))

    def set_tags(self, name: str, tags: Tags | None) -> None:
        """See :meth:`BlobStore.set_tags`."""
        check_name(name)
        encoded = encode_tags(tags)
        self.actions.append(lambda transaction: transaction.set_tags(name, encoded))

    def compose(self, target: str, prefix: str, *, size: int | None = None, delete: bool = True) -> None:
        """See :meth:`BlobStore.compose`."""
        check_name(target)
        self.actions.append(lambda transaction: compose(transaction, target, prefix, size, remove=delete))

    def delete_prefix(self, prefix: str) -> None:
        """See :meth:`BlobStore.delete_prefix`."""
        check_name(prefix)
        self.actions.append(lambda transaction: transaction.delete_prefix(prefix))

    def run(self, transaction: Transaction) -> None:
        """Make the changes."""
        for are_puts, group in groupby(self.actions, transaction.can_group):
            if are_puts:
                transaction.put_many([cast(Put, action) for action in group])
                continue
            for action in group:
                action(transaction)
