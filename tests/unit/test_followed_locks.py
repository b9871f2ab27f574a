"""The locks of a followed database: whatever fails or interrupts, nothing stays locked.

PENDING shuts out every reader, and the byte of the follower everybody who would follow.
"""

import fcntl
import gc
import os
import sqlite3
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from ltxcore._restore.followed_file import FollowedFile, StoppedError
from ltxcore.errors import DatabaseError

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="asks Linux for locks of an open file")

#: SQLite's PENDING and SHARED bytes; behind them that of the follower.
PENDING, SHARED, SHARED_SIZE = 0x40000000, 0x40000002, 510
LENGTH = 1025


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "app.db"
    connection = sqlite3.connect(made)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    return made


@pytest.fixture
def file(path: Path) -> FollowedFile:
    return FollowedFile(path)


@pytest.fixture
def other(path: Path) -> Iterator[int]:
    opened = os.open(path, os.O_RDWR)
    yield opened
    os.close(opened)


def set_lock(fd: int, kind: int, start: int, length: int) -> bool:
    try:
        fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack("hhqqi0q", kind, os.SEEK_SET, start, length, 0))
    except BlockingIOError:
        return False
    return True


def is_free(other: int) -> bool:
    """Whether nobody but this descriptor has any of the bytes."""
    free = set_lock(other, fcntl.F_WRLCK, PENDING, LENGTH)
    set_lock(other, fcntl.F_UNLCK, PENDING, LENGTH)
    return free


def nobody_waits(_passed: float) -> None:
    raise AssertionError


def excluding(file: FollowedFile) -> AbstractContextManager[None]:
    return file.exclusive(threading.Event(), nobody_waits)


def test_what_fails_inside_leaves_none(file: FollowedFile, other: int) -> None:
    for error in (ZeroDivisionError, KeyboardInterrupt):
        with pytest.raises(error), excluding(file):
            assert not is_free(other)
            raise error
        assert is_free(other)


def test_a_lock_that_nobody_knows_of_is_let_go(file: FollowedFile, other: int) -> None:
    """Ctrl-C may come between the call that locks and what its result is kept in."""
    take: list[Callable[[], object]] = [lambda: file.native.try_exclude(0.0), file.native.try_claim]
    for lock in take:
        kept = lock()
        assert kept is not None
        assert not is_free(other)
        del kept
        gc.collect()
        assert is_free(other)


@pytest.mark.parametrize("error", [KeyboardInterrupt, StoppedError])
def test_the_end_of_a_wait_for_a_reader_leaves_none(
    file: FollowedFile, other: int, error: type[BaseException]
) -> None:
    stop = threading.Event()
    assert set_lock(other, fcntl.F_RDLCK, SHARED, SHARED_SIZE)

    def waiting(_passed: float) -> None:
        if error is StoppedError:
            stop.set()
        else:
            raise error

    with pytest.raises(error), file.exclusive(stop, waiting):
        pass
    assert is_free(other)


def test_between_two_attempts_readers_come_in(file: FollowedFile, path: Path) -> None:
    slow = sqlite3.connect(path, isolation_level=None)
    slow.execute("BEGIN")
    slow.execute("SELECT * FROM t").fetchall()
    seen = []

    def waiting(_passed: float) -> None:
        connection = sqlite3.connect(path, timeout=0)
        seen.append(connection.execute("SELECT count(*) FROM t").fetchone())
        connection.close()
        slow.execute("ROLLBACK")

    with file.exclusive(threading.Event(), waiting):
        pass
    assert seen == [(0,)]
    slow.close()


def test_one_follows(file: FollowedFile, path: Path, other: int) -> None:
    file.claim()
    for second in (file, FollowedFile(path)):
        with pytest.raises(DatabaseError, match="already followed"):
            second.claim()
        assert not is_free(other)
    file.release()
    file.release()
    assert is_free(other)
    file.claim()
    assert not is_free(other)
    file.release()


def test_a_child_holds_nothing(file: FollowedFile, path: Path, other: int) -> None:
    file.claim()
    with excluding(file):
        child = os.fork()
        if child == 0:
            # Whatever happens to the child's copies changes nothing for the parent.
            file.release()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert not set_lock(other, fcntl.F_WRLCK, PENDING, 1)
    with pytest.raises(DatabaseError, match="already followed"):
        FollowedFile(path).claim()
    file.release()
