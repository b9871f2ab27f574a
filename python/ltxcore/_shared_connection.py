"""A connection of ``sqlite3`` that several threads may use.

SQLite keeps the last error for each connection. ``sqlite3`` asks for it after a call has failed. Another thread may have made
the next call by then, and ``sqlite3`` raises the wrong exception or a ``SystemError``. So the calls here take turns.
"""

from __future__ import annotations

import functools
import sqlite3
import threading
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
R = TypeVar("R")


def _in_turn(method: Callable[Concatenate[Any, P], R]) -> Callable[Concatenate[Any, P], R]:
    @functools.wraps(method)
    def call(self: Any, /, *args: P.args, **kwargs: P.kwargs) -> R:  # noqa: ANN401 - either class
        with self.turn:
            return method(self, *args, **kwargs)

    return call


class SharedCursor(sqlite3.Cursor):
    """A cursor whose connection other threads may use."""

    def __init__(self, connection: SharedConnection) -> None:
        self.turn = connection.turn
        super().__init__(connection)

    execute = _in_turn(sqlite3.Cursor.execute)
    executemany = _in_turn(sqlite3.Cursor.executemany)
    executescript = _in_turn(sqlite3.Cursor.executescript)
    fetchone = _in_turn(sqlite3.Cursor.fetchone)
    fetchmany = _in_turn(sqlite3.Cursor.fetchmany)
    fetchall = _in_turn(sqlite3.Cursor.fetchall)
    __next__ = _in_turn(sqlite3.Cursor.__next__)


class SharedConnection(sqlite3.Connection):
    """A connection for ``check_same_thread=False``."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401 - whatever sqlite3.Connection takes
        self.turn = threading.RLock()
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

    commit = _in_turn(sqlite3.Connection.commit)
    rollback = _in_turn(sqlite3.Connection.rollback)
