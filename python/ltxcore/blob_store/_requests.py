"""What the writer is asked for, and how it answers."""

from __future__ import annotations

import _thread
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Generic, TypeVar

from ltxcore.blob_store._transaction import Transaction

R = TypeVar("R")


class Request(Generic[R]):
    """A write, and whoever waits for it. ``weight`` is its payload in bytes."""

    __slots__ = ("_answered", "_result", "action", "error", "since", "weight")
    #: Whether :meth:`settle` has to follow the answer.
    is_settled_later = False

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

    def settle(self) -> None:
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
    is_settled_later = True

    def answer(self) -> None:
        """Not yet."""

    def settle(self) -> None:
        """Wake who waits."""
        super().answer()


class FutureRequest(Request[R]):
    """A write whose caller looks at a future, or does not."""

    __slots__ = ("future",)
    is_settled_later = True

    def __init__(self, action: Callable[[Transaction], R], weight: int = 0) -> None:
        super().__init__(action, weight)
        self.future: Future[R] = Future()
        # It is on its way: it cannot be called back.
        self.future.set_running_or_notify_cancel()

    def settle(self) -> None:
        """Give the future what came of it."""
        if self.future.done():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self._result)  # type: ignore[arg-type]
