"""Work that other threads hand to the one thread that does it, and wait for."""

from __future__ import annotations

import contextlib
from collections import deque
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

_T = TypeVar("_T")


class Request(Generic[_T]):
    """One piece of work, which is done once more if something disturbs the thread in the middle of it."""

    def __init__(self, work: Callable[[], _T]) -> None:
        self._work = work
        self._answers: list[_T] = []
        self._error: Exception | None = None

    @property
    def is_done(self) -> bool:
        """Whether :meth:`answer` can be asked for."""
        return bool(self._answers) or self._error is not None

    def run(self) -> Exception | None:
        """Do the work, and keep what it answers or raises; the error."""
        try:
            self._answers.append(self._work())
        except Exception as error:
            self._error = error
        return self._error

    def answer(self) -> _T:
        """What the work has answered, or raised."""
        if self._error is not None:
            raise self._error
        return self._answers[0]


class Requests:
    """Requests that wait, oldest first. Any thread adds, one takes."""

    def __init__(self) -> None:
        self._waiting: deque[Request[Any]] = deque()

    def add(self, request: Request[Any]) -> None:
        """Have it done."""
        self._waiting.append(request)

    def withdraw(self, request: Request[Any]) -> None:
        """Nobody waits for it any more. If it is under way, it goes on."""
        with contextlib.suppress(ValueError):
            self._waiting.remove(request)

    def next(self) -> Request[Any] | None:
        """The oldest that is not done, which stays until it is: whatever disturbs the thread, nobody waits for nothing."""
        while self._waiting:
            with contextlib.suppress(IndexError):
                request = self._waiting[0]
                if not request.is_done:
                    return request
                self.withdraw(request)
        return None
