"""A connection of ``sqlite3`` that several threads may use.

SQLite keeps the last error for each connection. ``sqlite3`` asks for it after a call has failed. Another thread may have made
the next call by then, and ``sqlite3`` raises the wrong exception or a ``SystemError``. So the calls here take turns, and so
does the end of a cursor, which resets its statement.
"""

from __future__ import annotations

import contextlib
import functools
import sqlite3
import threading
from collections import deque
from types import GetSetDescriptorType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=type)


class Turn:
    """The reentrant mutex of a connection."""

    def __init__(self) -> None:
        self._mutex = threading.RLock()
        self._dropped: deque[SharedCursor] = deque()

    def __enter__(self) -> None:
        """Waits for it."""
        self._mutex.acquire()

    def __exit__(self, *_: object) -> None:
        """Lets the next thread have it."""
        self._mutex.release()
        self._close_dropped()

    def close_later(self, cursor: SharedCursor) -> None:
        """Closes a cursor now, or as soon as no other thread is in a call."""
        self._dropped.append(cursor)
        self._close_dropped()

    def _close_dropped(self) -> None:
        # Looked at again after each release: a cursor may have come while the mutex was still held.
        while self._dropped and self._mutex.acquire(blocking=False):
            try:
                # A closed connection has no statements. Signal handlers of this thread take from the queue, too.
                with contextlib.suppress(sqlite3.Error, IndexError):
                    sqlite3.Cursor.close(self._dropped.popleft())
            finally:
                self._mutex.release()


def _in_turn(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    @functools.wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:  # noqa: ANN401 - either class
        with self.turn:
            return method(self, *args, **kwargs)

    return call


def _taking_turns(base: type, *names: str) -> Callable[[C], C]:
    """Has these methods of ``base`` take turns, and the setters of these attributes. Not every Python has all of them."""

    def decorate(cls: C) -> C:
        for name in names:
            member = getattr(base, name, None)
            if isinstance(member, GetSetDescriptorType):
                setattr(cls, name, property(member.__get__, _in_turn(member.__set__)))
            elif member is not None:
                setattr(cls, name, _in_turn(member))
        return cls

    return decorate


@_taking_turns(
    sqlite3.Cursor,
    "execute",
    "executemany",
    "executescript",
    "fetchone",
    "fetchmany",
    "fetchall",
    "__next__",
    "close",
)
class SharedCursor(sqlite3.Cursor):
    """A cursor whose connection other threads may use."""

    def __init__(self, connection: SharedConnection) -> None:
        self.turn = connection.turn
        super().__init__(connection)

    def __del__(self) -> None:
        """Does not wait for the turn: the garbage collector may run while the thread has that of another connection."""
        if turn := getattr(self, "turn", None):
            turn.close_later(self)


# Missing are: interrupt, which must not wait, and iterdump, whose statements take turns of their own.
@_taking_turns(
    sqlite3.Connection,
    "__call__",
    "__exit__",
    "autocommit",
    "backup",
    "blobopen",
    "close",
    "commit",
    "create_aggregate",
    "create_collation",
    "create_function",
    "create_window_function",
    "deserialize",
    "enable_load_extension",
    "getconfig",
    "getlimit",
    "isolation_level",
    "load_extension",
    "rollback",
    "serialize",
    "set_authorizer",
    "set_progress_handler",
    "set_trace_callback",
    "setconfig",
    "setlimit",
)
class SharedConnection(sqlite3.Connection):
    """A connection for ``check_same_thread=False``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - whatever sqlite3.Connection takes
        self.turn = Turn()
        super().__init__(*args, **kwargs)

    def cursor(self, factory: Any = SharedCursor) -> Any:  # noqa: ANN401 - as in sqlite3
        """A cursor that takes turns with others, unless ``factory`` makes another kind."""
        return super().cursor(factory)

    # Those of sqlite3 call their cursor's methods in C.

    def execute(self, *args: Any) -> Any:  # noqa: ANN401 - as in sqlite3
        """As :meth:`sqlite3.Cursor.execute`, of a new cursor."""
        return self.cursor().execute(*args)

    def executemany(self, *args: Any) -> Any:  # noqa: ANN401 - as in sqlite3
        """As :meth:`sqlite3.Cursor.executemany`, of a new cursor."""
        return self.cursor().executemany(*args)

    def executescript(self, *args: Any) -> Any:  # noqa: ANN401 - as in sqlite3
        """As :meth:`sqlite3.Cursor.executescript`, of a new cursor."""
        return self.cursor().executescript(*args)
