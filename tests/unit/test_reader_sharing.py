"""ReaderVFS connections that threads share, and what else happens while they are made or used."""

import contextlib
import io
import os
import signal
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ltxcore import ReaderVFS

ROWS = 100


@pytest.fixture
def content() -> bytes:
    with contextlib.closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(ROWS)])
        connection.commit()
        return connection.serialize()


class Meanwhile(io.BytesIO):
    """Does something else in the middle of a read, once."""

    def __init__(self, content: bytes) -> None:
        super().__init__(content)
        self.work: Callable[[], object] | None = None

    def read(self, size: int | None = -1) -> bytes:
        work, self.work = self.work, None
        if work is not None:
            work()
        return super().read(size)


def directly(work: Callable[[], object]) -> Callable[[], object]:
    return work


def in_a_signal_handler(work: Callable[[], object]) -> Callable[[], object]:
    signal.signal(signal.SIGUSR1, lambda *_: work())
    return lambda: os.kill(os.getpid(), signal.SIGUSR1)


def in_another_thread(work: Callable[[], object]) -> Callable[[], object]:
    def run() -> None:
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        thread.join(20)
        assert not thread.is_alive()

    return run


@pytest.fixture
def handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGUSR1)
    yield
    signal.signal(signal.SIGUSR1, before)


def count(connection: sqlite3.Connection) -> int:
    try:
        return int(connection.execute("SELECT count(*) FROM t").fetchone()[0])
    finally:
        connection.close()


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("way", [directly, in_a_signal_handler, in_another_thread])
def test_closing_while_the_copy_is_made(
    way: Callable[[Callable[[], object]], Callable[[], object]],
    content: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    file = Meanwhile(content)
    reader = ReaderVFS(file)
    file.work = way(reader.close)
    for _ in range(2):
        with pytest.raises(sqlite3.OperationalError, match="unable to open"):
            reader.connect(check_same_thread=False)
    assert file.work is None


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("way", [directly, in_a_signal_handler])
def test_connecting_while_the_copy_is_made(
    way: Callable[[Callable[[], object]], Callable[[], object]], content: bytes
) -> None:
    file = Meanwhile(content)
    reader = ReaderVFS(file)
    inner: list[sqlite3.Connection] = []
    file.work = way(lambda: inner.append(reader.connect(check_same_thread=False)))
    outer = reader.connect(check_same_thread=False)
    file.close()
    assert [count(outer), *map(count, inner)] == [ROWS, ROWS]
    assert count(reader.connect(check_same_thread=False)) == ROWS
    reader.close()
    with pytest.raises(sqlite3.OperationalError, match="unable to open"):
        reader.connect(check_same_thread=False)


@pytest.fixture
def shared(content: bytes, tmp_path: Path) -> Iterator[sqlite3.Connection]:
    connection = ReaderVFS(content).connect(check_same_thread=False)
    connection.execute("ATTACH ? AS w", (str(tmp_path / "w.db"),))
    connection.execute("CREATE TABLE w.x (a UNIQUE)")
    connection.commit()
    yield connection
    connection.close()


@contextlib.contextmanager
def another_thread_inside(connection: sqlite3.Connection) -> Iterator[threading.Event]:
    """Another thread is in a call until the event is set, or the block ends."""
    inside, go_on = threading.Event(), threading.Event()

    def stay() -> int:
        inside.set()
        assert go_on.wait(20)
        return 1

    connection.create_function("stay", 0, stay)
    other = threading.Thread(target=lambda: connection.execute("SELECT stay()"), daemon=True)
    other.start()
    assert inside.wait(20)
    yield go_on
    go_on.set()
    other.join(20)
    assert not other.is_alive()


def waits(connection: sqlite3.Connection, call: Callable[[], object]) -> bool:
    """Whether a call waits for another thread, which is in a call. It has to end afterwards, with or without an error."""

    def run() -> None:
        with contextlib.suppress(Exception):
            call()

    caller = threading.Thread(target=run, daemon=True)
    with another_thread_inside(connection) as go_on:
        caller.start()
        caller.join(0.05)
        waited = caller.is_alive()
        go_on.set()
        caller.join(20)
        assert not caller.is_alive()
    return waited


def leave(connection: sqlite3.Connection) -> None:
    with connection:
        pass


def back_up(connection: sqlite3.Connection) -> None:
    with contextlib.closing(sqlite3.connect(":memory:")) as copy:
        connection.backup(copy)


CONNECTION_CALLS: dict[str, Callable[[sqlite3.Connection], object]] = {
    "__call__": lambda c: c("SELECT 1"),
    "__exit__": leave,
    "autocommit": lambda c: setattr(c, "autocommit", True),
    "backup": back_up,
    "blobopen": lambda c: c.blobopen("b", "a", 1, readonly=True).close(),
    "close": lambda c: c.close(),
    "commit": lambda c: c.commit(),
    "create_aggregate": lambda c: c.create_aggregate("g", 1, None),
    "create_collation": lambda c: c.create_collation("g", None),
    "create_function": lambda c: c.create_function("g", 1, None),
    "create_window_function": lambda c: c.create_window_function("g", 1, None),
    "deserialize": lambda c: c.deserialize(b"", name="w"),
    "enable_load_extension": lambda c: c.enable_load_extension(False),
    "execute": lambda c: c.execute("SELECT 1"),
    "executemany": lambda c: c.executemany("INSERT INTO x VALUES (?)", [(1,)]),
    "executescript": lambda c: c.executescript("SELECT 1"),
    "getconfig": lambda c: c.getconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_FKEY),
    "getlimit": lambda c: c.getlimit(sqlite3.SQLITE_LIMIT_LENGTH),
    "isolation_level": lambda c: setattr(c, "isolation_level", None),
    "iterdump": lambda c: list(c.iterdump()),
    "load_extension": lambda c: c.load_extension("none"),
    "rollback": lambda c: c.rollback(),
    "serialize": lambda c: c.serialize(name="w"),
    "set_authorizer": lambda c: c.set_authorizer(None),
    "set_progress_handler": lambda c: c.set_progress_handler(None, 1),
    "set_trace_callback": lambda c: c.set_trace_callback(None),
    "setconfig": lambda c: c.setconfig(sqlite3.SQLITE_DBCONFIG_ENABLE_FKEY),
    "setlimit": lambda c: c.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, 1000000),
}
CURSOR_CALLS: dict[str, Callable[[sqlite3.Cursor], object]] = {
    "__next__": next,
    "close": lambda c: c.close(),
    "execute": lambda c: c.execute("SELECT 1"),
    "executemany": lambda c: c.executemany("INSERT INTO x VALUES (?)", [(1,)]),
    "executescript": lambda c: c.executescript("SELECT 1"),
    "fetchall": lambda c: c.fetchall(),
    "fetchmany": lambda c: c.fetchmany(),
    "fetchone": lambda c: c.fetchone(),
}
#: What does not reach SQLite, or never waits there.
ELSE = {
    *("__init__", "__doc__", "__new__", "__enter__", "__iter__", "__del__", "cursor", "interrupt"),
    *("in_transaction", "total_changes", "row_factory", "text_factory", "arraysize", "connection"),
    *("description", "lastrowid", "rowcount", "setinputsizes", "setoutputsize"),
}


def methods(cls: type) -> set[str]:
    # A connection has the exceptions of the module, too.
    return set(vars(cls)) - set(vars(sqlite3)) - {"__module__", "__text_signature__"}


def test_every_method_is_known() -> None:
    """One that a later Python adds must take turns, or be listed here."""
    assert methods(sqlite3.Connection) <= set(CONNECTION_CALLS) | ELSE
    assert methods(sqlite3.Cursor) <= set(CURSOR_CALLS) | ELSE


# Older Pythons have fewer.
@pytest.mark.parametrize("name", [name for name in CONNECTION_CALLS if hasattr(sqlite3.Connection, name)])
def test_calls_of_a_shared_connection_take_turns(name: str, shared: sqlite3.Connection) -> None:
    assert waits(shared, lambda: CONNECTION_CALLS[name](shared))


@pytest.mark.parametrize("name", CURSOR_CALLS)
def test_calls_of_its_cursors_take_turns(name: str, shared: sqlite3.Connection) -> None:
    cursor = shared.execute("SELECT a FROM t")
    assert waits(shared, lambda: CURSOR_CALLS[name](cursor))


def test_a_cursor_that_is_dropped_is_closed_after_the_call_of_another_thread(
    shared: sqlite3.Connection, tmp_path: Path
) -> None:
    """It does not wait, as the garbage collector may drop it anywhere."""
    shared.execute("INSERT INTO x VALUES (1), (2)")
    shared.commit()
    writer = sqlite3.connect(tmp_path / "w.db", timeout=0, isolation_level=None)
    cursor = shared.execute("SELECT a FROM x")
    with another_thread_inside(shared):
        del cursor
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            writer.execute("BEGIN EXCLUSIVE")
    writer.execute("BEGIN EXCLUSIVE")
    writer.close()


def test_threads_get_their_own_errors(shared: sqlite3.Connection) -> None:
    """Beside cursors that are dropped half read, and transactions that end."""
    seen: set[tuple[str, str]] = set()

    def note(call: Callable[[], object]) -> None:
        for _ in range(1000):
            try:
                call()
            except Exception as error:
                seen.add((type(error).__name__, str(error)))

    def insert() -> None:
        with shared:
            shared.execute("INSERT INTO x VALUES (1)")

    calls: list[Callable[[], object]] = [
        lambda: shared.execute("SELECT a FROM t").fetchone(),
        lambda: shared.execute("SELECT missing FROM t"),
        lambda: shared.execute("SELECT abs(-9223372036854775808)"),
        insert,
    ]
    threads = [threading.Thread(target=note, args=(call,)) for call in calls * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == {
        ("OperationalError", "no such column: missing"),
        ("OperationalError", "integer overflow"),
        ("IntegrityError", "UNIQUE constraint failed: x.a"),
    }
