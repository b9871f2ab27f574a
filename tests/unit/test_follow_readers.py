"""follow() beside readers that do more than read, and with loggers and callbacks that raise."""

import logging
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from ltxcore import FollowedDatabase, errors, follow

from tests.helpers.replicas import Source, content
from tests.unit.databases import eventually

QUICK = 0.02
KILLED_WRITER = """
import os, sqlite3, sys
writer = sqlite3.connect(sys.argv[1], isolation_level=None)
# Until it reads from the WAL it holds no lock, and the follower may go back to rollback mode.
while True:
    writer.execute("PRAGMA journal_mode = WAL").fetchone()
    writer.execute("BEGIN")
    writer.execute("SELECT count(*) FROM account").fetchone()
    if writer.execute("PRAGMA journal_mode").fetchone() == ("wal",) and os.path.exists(sys.argv[1] + "-wal"):
        break
    writer.execute("COMMIT")
writer.execute("INSERT INTO account (value, body) VALUES (0, 'mine')")
writer.execute("COMMIT")
os._exit(0)
"""


@pytest.fixture
def source(tmp_path: Path) -> Source:
    made = Source(tmp_path)
    for _ in range(3):
        made.move()
    return made


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "copy" / "out.db"


@pytest.fixture
def followed(source: Source, output: Path) -> Iterator[FollowedDatabase]:
    with follow(source.client, output, interval=QUICK) as running:
        yield running


def in_wal_mode(output: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(output, isolation_level=None)
    assert connection.execute("PRAGMA journal_mode = WAL").fetchone() == ("wal",)
    connection.execute("SELECT count(*) FROM account").fetchone()
    return connection


def test_a_reader_that_switches_to_wal_mode_is_reported(
    source: Source, output: Path, followed: FollowedDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    """It holds its lock between transactions: nothing could be applied any more, and `error` said nothing of it."""
    reader = in_wal_mode(output)
    # In the moment of the switch it is any change.
    eventually(lambda: "switched" in str(followed.error))
    assert isinstance(followed.error, errors.DatabaseError) and "WAL mode" in str(followed.error)
    source.move()
    with pytest.raises(errors.ReplicaTimeoutError) as caught:
        followed.wait(timeout=0.3)
    assert "close that connection" in str(getattr(caught.value.__cause__, "hint", None))
    assert any("WAL mode" in record.message for record in caplog.records)
    reader.close()
    followed.wait(timeout=10)
    eventually(lambda: followed.error is None)
    assert content(output) == content(source.path)
    assert output.read_bytes()[18:20] == b"\1\1"


def test_a_reader_that_switches_and_is_killed(source: Source, output: Path) -> None:
    """The mode stays in the header, with a WAL without content; whoever opens the database next would be in WAL mode too."""
    follow(source.client, output, interval=QUICK).close()
    beside = Path(f"{output}-wal"), Path(f"{output}-shm")
    with closing(in_wal_mode(output)):
        left = [path.read_bytes() for path in beside]
    for path, data in zip(beside, left, strict=True):
        path.write_bytes(data)
    with follow(source.client, output, interval=QUICK) as running:
        assert not any(path.exists() for path in beside)
        source.move()
        running.wait(timeout=10)
    assert content(output) == content(source.path)


def test_what_was_written_to_a_wal_is_kept(source: Source, output: Path, followed: FollowedDatabase) -> None:
    """A writer that was killed: its transaction is in the WAL alone, and whether somebody wants it cannot be known."""
    subprocess.run([sys.executable, "-c", KILLED_WRITER, output], check=True, timeout=20)
    wal = Path(f"{output}-wal")
    left = wal.read_bytes()
    source.move()
    eventually(lambda: "is not empty" in str(followed.error))
    assert wal.read_bytes() == left
    with closing(sqlite3.connect(output)) as reader:
        assert reader.execute("SELECT count(*) FROM account WHERE body = 'mine'").fetchone() == (1,)


def test_what_was_written_to_a_wal_is_kept_beside_a_journal(source: Source, output: Path) -> None:
    """A journal is looked at with SQLite, which copies the WAL into the database when its last connection closes."""
    follow(source.client, output, interval=QUICK).close()
    subprocess.run([sys.executable, "-c", KILLED_WRITER, output], check=True, timeout=20)
    wal = Path(f"{output}-wal")
    left = wal.read_bytes()
    Path(f"{output}-journal").touch()
    with pytest.raises(errors.DatabaseError, match="is not empty"):
        follow(source.client, output, interval=QUICK)
    assert wal.read_bytes() == left


def test_a_database_that_litestream_restored_is_in_wal_mode(source: Source, output: Path) -> None:
    """Its header says so, but nobody has it open."""
    follow(source.client, output, interval=QUICK).close()
    data = bytearray(output.read_bytes())
    data[18:20] = b"\2\2"
    output.write_bytes(data)
    Path(f"{output}-ltxcore").unlink()
    with follow(source.client, output, interval=QUICK) as running:
        source.move()
        running.wait(timeout=10)
    assert content(output) == content(source.path)


def test_a_reader_in_wal_mode_at_the_start(source: Source, output: Path) -> None:
    follow(source.client, output, interval=QUICK).close()
    with (
        closing(in_wal_mode(output)),
        pytest.raises(errors.DatabaseError, match="WAL mode"),
    ):
        follow(source.client, output, interval=QUICK)
    with follow(source.client, output, interval=QUICK) as running:
        source.move()
        running.wait(timeout=10)


def test_a_long_read_is_an_error_as_long_as_it_lasts(
    source: Source, output: Path, followed: FollowedDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ltxcore._restore.followed.SLOW_READER", 0.3)
    with closing(sqlite3.connect(output, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM account").fetchone()
        source.move()
        eventually(lambda: "kept from changing" in str(followed.error))
        assert isinstance(followed.error, errors.DatabaseError) and followed.error.hint
        reader.execute("COMMIT")
    followed.wait(timeout=10)
    eventually(lambda: followed.error is None)


class Raising(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("the handler")


class Interrupting(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise SystemExit(3)


@pytest.mark.parametrize("handler", [Raising, Interrupting])
def test_a_logger_that_raises_ends_nothing(
    source: Source, output: Path, handler: type[logging.Handler]
) -> None:
    """The thread died of what its own report of an error raised, and `error` was None."""
    logger = logging.Logger("raising")
    logger.addHandler(handler())
    with follow(source.client, output, interval=QUICK, logger=logger) as running:
        hidden = source.replica.with_name("hidden")
        source.replica.rename(hidden)
        eventually(lambda: running.error is not None)
        hidden.rename(source.replica)
        source.move()
        running.wait(timeout=10)
        with closing(in_wal_mode(output)):
            eventually(lambda: "WAL mode" in str(running.error))
        source.move()
        running.wait(timeout=10)
        assert content(output) == content(source.path)


def test_a_thread_that_ends_is_an_error(
    source: Source, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = follow(source.client, output, interval=QUICK)
    waiting: list[BaseException] = []

    def wait() -> None:
        try:
            running.wait(99)
        except errors.Error as error:
            waiting.append(error)

    thread = threading.Thread(target=wait)
    thread.start()

    def fail() -> float:
        raise MemoryError

    monkeypatch.setattr(running, "_attempt", fail)
    running._wake.set()
    thread.join(10)
    assert isinstance(running.error, MemoryError)
    assert [type(error) for error in waiting] == [errors.DatabaseError]
    with pytest.raises(errors.DatabaseError, match="has ended"):
        running.wait(99)
    with pytest.raises(errors.DatabaseError, match="has ended"):
        running.close()
    running.close()
    monkeypatch.undo()
    follow(source.client, output, interval=QUICK).close()


def test_an_interrupted_close_can_be_repeated(
    source: Source, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while a reader keeps a step waiting: nothing is lost, and the second call closes."""
    running = follow(source.client, output, interval=QUICK)
    real = running._thread.join

    def interrupted(timeout: float | None = None) -> None:
        monkeypatch.setattr(running._thread, "join", real)
        raise KeyboardInterrupt

    monkeypatch.setattr(running._thread, "join", interrupted)
    with pytest.raises(KeyboardInterrupt):
        running.close()
    running.close()
    follow(source.client, output, interval=QUICK).close()


def test_a_close_that_is_late_frees_the_database_in_the_end(
    source: Source, output: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step that outlasts the timeout: once it is done the database can be followed again, without another close()."""
    running = follow(source.client, output, interval=QUICK)
    held, real = threading.Event(), running._pass

    def slow(*arguments: Any) -> None:
        held.wait(10)
        real()

    monkeypatch.setattr(running, "_pass", slow)
    running._wake.set()
    time.sleep(0.1)
    running.close(timeout=0.05)
    with pytest.raises(errors.DatabaseError, match="already followed"):
        follow(source.client, output, interval=QUICK)
    held.set()
    running._thread.join(10)
    with follow(source.client, output, interval=QUICK) as second:
        running.close()
        with pytest.raises(errors.DatabaseError, match="already followed"):
            follow(source.client, output, interval=QUICK)
        source.move()
        second.wait(timeout=10)
