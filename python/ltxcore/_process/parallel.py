"""The same work on several things at once."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

T = TypeVar("T")
R = TypeVar("R")


def in_parallel(work: Callable[[T], R], items: Sequence[T], most: int) -> list[R]:
    """What ``work`` returns for each item, in the order of the items.

    The calling thread works, too. It is the only one where no thread can be started, as at the end of the interpreter, where
    a last upload is made. The pools of :mod:`concurrent.futures` refuse to work then.

    Args:
        work: what to do with an item. May be called in several threads at once.
        items: the items.
        most: how many of them are worked on at once, from 1 on.

    Raises:
        BaseException: what ``work`` raised first. Items that nobody had begun with are left out then.
    """
    run = _Run(work, items)
    threads = []
    try:
        for _ in range(min(most, len(items)) - 1):
            thread = threading.Thread(target=run.in_thread, name="ltxcore-parallel", daemon=True)
            try:
                thread.start()
            except RuntimeError:
                break
            threads.append(thread)
        run.all()
    finally:
        run.stop()
        for thread in threads:
            thread.join()
    return run.result()


class _Run(Generic[T, R]):
    def __init__(self, work: Callable[[T], R], items: Sequence[T]) -> None:
        self._work = work
        self._items = items
        self._left = iter(range(len(items)))
        self._results: dict[int, R] = {}
        self._lock = threading.Lock()
        self._error: BaseException | None = None
        self._is_over = False

    def in_thread(self) -> None:
        try:
            self.all()
        except BaseException as error:
            with self._lock:
                self._error = self._error or error
                self._is_over = True

    def all(self) -> None:
        while True:
            with self._lock:
                index = None if self._is_over else next(self._left, None)
            if index is None:
                return
            self._results[index] = self._work(self._items[index])

    def stop(self) -> None:
        with self._lock:
            self._is_over = True

    def result(self) -> list[R]:
        if self._error is not None:
            raise self._error
        return [self._results[index] for index in range(len(self._items))]
