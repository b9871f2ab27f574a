"""What a process does with ReaderVFS and with file objects of Python's, at the edge between SQLite, Rust and Python.

Run as a script: ``python -m tests.helpers.readers WAY``. It prints what it found.
"""

from __future__ import annotations

import io
import os
import signal
import sqlite3
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import ltxcore

ROWS = 300
SIZE = 500


def content(rows: int = ROWS, size: int = SIZE) -> bytes:
    """A database with a table ``t`` of many pages."""
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
    connection.executemany(
        "INSERT INTO t VALUES (?, ?)", [(number, os.urandom(size)) for number in range(rows)]
    )
    connection.commit()
    return connection.serialize()


def connect(reader: ltxcore.ReaderVFS) -> sqlite3.Connection:
    """A connection that reads its source again and again."""
    connection = reader.connect()
    connection.execute("PRAGMA cache_size = 2")
    return connection


def count(connection: sqlite3.Connection) -> int:
    return int(connection.execute("SELECT count(b) FROM t").fetchone()[0])


class Member:
    """A file that is a value in another database."""

    def __init__(self, connection: sqlite3.Connection, size: int, by_blob: bool) -> None:
        self.connection, self.size, self.by_blob, self.at = connection, size, by_blob, 0

    def seek(self, to: int, whence: int = 0) -> int:
        self.at = to if whence == 0 else self.size + to
        return self.at

    def read(self, size: int) -> bytes:
        if self.by_blob:
            with self.connection.blobopen("t", "b", 1, readonly=True) as blob:
                return blob[self.at : self.at + size]
        sql = "SELECT substr(b, ?, ?) FROM t WHERE a = 1"
        return self.connection.execute(sql, (self.at + 1, size)).fetchone()[0]


def nested(by_blob: bool) -> int:
    inner = content()
    for depth in range(3):
        connection = sqlite3.connect(":memory:")
        connection.execute("CREATE TABLE t (a INTEGER PRIMARY KEY, b)")
        connection.execute("INSERT INTO t VALUES (1, ?)", (inner,))
        connection.commit()
        size = len(inner)
        outer = connect(ltxcore.ReaderVFS(io.BytesIO(connection.serialize())))
        found = count(connect(ltxcore.ReaderVFS(Member(outer, size, by_blob))))  # type: ignore[arg-type]
        assert found == (ROWS if depth == 0 else 1), found
        inner = connection.serialize()
    return ROWS


def nested_signals(same_source: bool) -> int:
    """A signal handler reads while Python reads for SQLite."""
    database = content()
    reader = ltxcore.ReaderVFS(io.BytesIO(database))
    one = connect(reader)
    two = connect(reader if same_source else ltxcore.ReaderVFS(io.BytesIO(database)))
    handled: list[int] = []
    signal.signal(signal.SIGALRM, lambda *_: handled.append(count(two)))
    end = time.monotonic() + 15
    while len(handled) < 50 and time.monotonic() < end:
        # Not again before it has rung: a query may be faster.
        if signal.getitimer(signal.ITIMER_REAL)[0] == 0:
            signal.setitimer(signal.ITIMER_REAL, 0.0005)
        assert one.execute("SELECT sum(length(b)) FROM t").fetchone() == (ROWS * SIZE,)
    signal.setitimer(signal.ITIMER_REAL, 0)
    assert set(handled) == {ROWS}, handled
    return ROWS


def nested_close() -> int:
    """The last reference to a source goes away inside SQLite, which has released the interpreter, inside a read."""
    database = content()

    class Opening(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            connection = ltxcore.ReaderVFS(io.BytesIO(database)).connect()
            assert count(connection) == ROWS
            connection.close()
            return super().read(size)

    return count(connect(ltxcore.ReaderVFS(Opening(database))))


def threads() -> int:
    """Several threads, each with connections to sources that read from other sources."""
    found: list[int] = []
    workers = [threading.Thread(target=lambda: found.append(nested(False))) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [ROWS] * 4
    return ROWS


class Slow(io.BytesIO):
    """Lets the interpreter go in every call, as real files do."""

    def read(self, size: int | None = -1) -> bytes:
        time.sleep(0.0005)
        return super().read(min(size or 0, 4096))

    def write(self, data: Any) -> int:
        time.sleep(0.0005)
        return len(data)


def interrupted() -> str:
    """Ctrl-C while Python reads."""

    class Interrupted(io.BytesIO):
        reads = 0

        def read(self, size: int | None = -1) -> bytes:
            type(self).reads += 1
            if self.reads == 20:
                signal.raise_signal(signal.SIGINT)
            return super().read(size)

    reader = ltxcore.ReaderVFS(Interrupted(content()))
    connection = connect(reader)
    seen = []
    try:
        try:
            count(connection)
        except sqlite3.OperationalError as error:
            # Here it comes, with the first call.
            seen.append(str(error))
            (lambda: None)()
            seen.append("nothing came")
    except KeyboardInterrupt as error:
        seen += [str(error.__context__), type(error).__name__]
    seen.append(type(reader.take_error()).__name__)
    connection.close()
    return " ".join(seen)


def shared(work: Callable[[sqlite3.Connection, int], object], source: io.BytesIO) -> str:
    """Threads share a connection: one scans, the others do something else meanwhile."""
    connection = ltxcore.ReaderVFS(source).connect(check_same_thread=False)
    connection.execute("PRAGMA cache_size = 2")
    done = threading.Event()
    failures: list[BaseException] = []

    def scan() -> None:
        try:
            for _ in range(3):
                assert len(list(connection.execute("SELECT a, b FROM t"))) == ROWS
        except BaseException as error:
            failures.append(error)
        done.set()

    scanner = threading.Thread(target=scan)
    scanner.start()
    number = 0
    while not done.is_set():
        work(connection, number)
        number += 1
    scanner.join()
    assert not failures, failures
    return "ended"


def shared_errors() -> str:
    def fail(connection: sqlite3.Connection, number: int) -> None:
        for attempt in (connection.execute, connection.cursor().execute):
            try:
                attempt(f"SELECT missing FROM t WHERE {number}")
            except sqlite3.OperationalError as error:
                assert str(error) == "no such column: missing", error
        assert connection.in_transaction is False

    return shared(fail, Slow(content()))


def shared_source() -> str:
    def find(connection: sqlite3.Connection, number: int) -> None:
        sql = "SELECT length(b) FROM t WHERE a = ?"
        assert connection.execute(sql, (number * 37 % ROWS,)).fetchall() == [(SIZE,)]

    return shared(find, Slow(content()))


def uncaught() -> None:
    """Ctrl-C that nobody catches."""

    class Interrupted(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > 40960:
                signal.raise_signal(signal.SIGINT)
            return super().read(size)

    count(connect(ltxcore.ReaderVFS(Interrupted(content()))))


WAYS: dict[str, Callable[[], Any]] = {
    "nested": lambda: nested(False),
    "nested_blobs": lambda: nested(True),
    "nested_close": nested_close,
    "nested_signals": lambda: nested_signals(False),
    "nested_signals_same_source": lambda: nested_signals(True),
    "threads": threads,
    "interrupted": interrupted,
    "shared_errors": shared_errors,
    "shared_source": shared_source,
    "uncaught": uncaught,
}


if __name__ == "__main__":
    print(WAYS[sys.argv[1]]())
