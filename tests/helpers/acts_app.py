"""`python -m tests.helpers.acts_app`: the application, a process of its own with plain `sqlite3`.

Commands: connect, close, transact, run, begin, end, read, content. A transaction says how many must have come before it, so the
application itself notices when one is missing.
"""

import contextlib
import faulthandler
import signal
import sqlite3
from collections.abc import Callable, Sequence
from typing import Any

from tests.helpers import acts_model
from tests.helpers.process import answer_lines

BUSY_TIMEOUT = 10.0


class LostTransactionError(Exception):
    """The database is not as this application left it."""


class Application:
    def __init__(self) -> None:
        self.connection: sqlite3.Connection | None = None
        self.reader: sqlite3.Connection | None = None

    def opened(self) -> sqlite3.Connection:
        assert self.connection is not None, "not connected"
        return self.connection

    def connect(self, path: str, pragmas: Sequence[str], schema: Sequence[str]) -> None:
        self.close()
        self.path = path
        self.connection = sqlite3.connect(path, isolation_level=None, timeout=BUSY_TIMEOUT)
        for pragma in pragmas:
            self.run(f"PRAGMA {pragma}")
        if schema and not self.run("SELECT 1 FROM sqlite_schema"):
            self._atomic(schema)

    def close(self) -> None:
        for connection in (self.reader, self.connection):
            if connection is not None:
                connection.close()
        self.reader = self.connection = None

    def run(self, sql: str) -> list[tuple[Any, ...]]:
        return self.opened().execute(sql).fetchall()

    def transact(self, statements: Sequence[str], tick: int) -> None:
        """Done already if it was committed by an attempt that failed nevertheless."""
        if self._tick() == tick + 1:
            return
        self.begin(statements, tick)
        self.end("COMMIT")

    def begin(self, statements: Sequence[str], tick: int) -> None:
        """A transaction that stays open; its pages do not all fit into the cache."""
        self.run("PRAGMA cache_size = 20")
        self.run("BEGIN IMMEDIATE")
        try:
            found = self._tick()
            if found != tick:
                raise LostTransactionError(f"{found} transactions, expected {tick}")
            for statement in (*statements, acts_model.TICK):
                self.run(statement)
        except BaseException:
            self.end("ROLLBACK")
            raise

    def end(self, how: str) -> None:
        if self.opened().in_transaction:
            self.run(how)

    def read(self, on: bool) -> None:
        """A reader that goes on for long, or its end."""
        if self.reader is not None:
            self.reader.close()
            self.reader = None
        if on:
            self.reader = sqlite3.connect(self.path, isolation_level=None, timeout=BUSY_TIMEOUT)
            self.reader.execute("BEGIN")
            self.reader.execute("SELECT count(*) FROM entry").fetchone()

    def content(self) -> list[Any]:
        """As a connection of its own sees it: after an integrity check SQLite 3.40 keeps a lock if the page size changes."""
        with contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT)) as connection:
            found = acts_model.content(connection)
        return [found.verdict, found.digest, found.tick]

    def _tick(self) -> int:
        return int(self.run("SELECT n FROM tick")[0][0])

    def _atomic(self, statements: Sequence[str]) -> None:
        for statement in ("BEGIN IMMEDIATE", *statements, "COMMIT"):
            self.run(statement)


if __name__ == "__main__":
    faulthandler.register(signal.SIGUSR1, all_threads=True)
    application = Application()
    commands: dict[str, Callable[..., Any]] = {
        name: getattr(application, name)
        for name in ("connect", "close", "transact", "run", "begin", "end", "read", "content")
    }
    with contextlib.closing(application):
        answer_lines(lambda command, arguments: commands[command](**arguments))
