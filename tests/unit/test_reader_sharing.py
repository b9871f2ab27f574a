"""ReaderVFS connections that threads share, and what else happens while they are made or used."""

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
    with sqlite3.connect(":memory:") as connection:
        connection.execute("CREATE TABLE t (a)")
        connection.executemany("INSERT INTO t VALUES (?)", [(number,) for number in range(ROWS)])
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
