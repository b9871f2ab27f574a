"""SQLite's lock bytes, taken from outside SQLite: whatever fails or interrupts, nothing stays locked.

The descriptor of a followed database is never closed, so that a lock that nobody lets go of stays for the life of the process:
PENDING shuts out every reader, and the byte of the follower everybody who would follow.
"""

import errno
import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ltxcore._ltxcore import FOLLOWER_BYTE, PENDING_BYTE, SHARED_FIRST, SHARED_SIZE
from ltxcore._restore import sqlite_lock
from ltxcore._restore.followed_file import FollowedFile
from ltxcore._restore.sqlite_lock import (
    exclusive,
    exclusive_now,
)

pytestmark = pytest.mark.skipif(
    sqlite_lock._OFD_SETLK is None, reason="locks of a process do not exclude itself"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    made = tmp_path / "app.db"
    connection = sqlite3.connect(made)
    connection.execute("CREATE TABLE t (x)")
    connection.close()
    return made


@pytest.fixture
def fd(path: Path) -> Iterator[int]:
    opened = os.open(path, os.O_RDWR)
    yield opened
    os.close(opened)


@pytest.fixture
def other(path: Path) -> Iterator[int]:
    opened = os.open(path, os.O_RDWR)
    yield opened
    os.close(opened)


def is_free(other: int) -> bool:
    """Whether nobody but this descriptor has any of the bytes."""
    length = FOLLOWER_BYTE + 1 - PENDING_BYTE
    free = sqlite_lock.try_lock(other, PENDING_BYTE, length)
    sqlite_lock.unlock(other, PENDING_BYTE, length)
    return free


def take(fd: int) -> None:
    with exclusive(fd, threading.Event(), lambda _passed: None):
        pass


def take_now(fd: int) -> None:
    with exclusive_now(fd):
        pass


def failing(monkeypatch: pytest.MonkeyPatch, start: int, error: BaseException, *, is_locked: bool) -> None:
    """Locking at a byte raises: before it is locked, or right after that, as a signal may."""
    original: Callable[..., None] = sqlite_lock._set

    def fail(fd: int, kind: int, operation: int, at: int, length: int) -> None:
        is_hit = at == start and kind != fcntl.F_UNLCK
        if not is_hit or is_locked:
            original(fd, kind, operation, at, length)
        if is_hit:
            raise error

    monkeypatch.setattr(sqlite_lock, "_set", fail)


NO_LOCKS = OSError(errno.ENOLCK, "No locks available")
FAULTS = [(NO_LOCKS, False), (KeyboardInterrupt(), False), (KeyboardInterrupt(), True)]


@pytest.mark.parametrize("call", [take, take_now])
@pytest.mark.parametrize("start", [PENDING_BYTE, SHARED_FIRST])
@pytest.mark.parametrize(("error", "is_locked"), FAULTS)
def test_a_lock_that_fails_leaves_none(
    fd: int,
    other: int,
    monkeypatch: pytest.MonkeyPatch,
    call: Callable[[int], None],
    start: int,
    error: BaseException,
    is_locked: bool,
) -> None:
    """The kernel had no more locks, or Ctrl-C came: no reader could open the database any more."""
    with monkeypatch.context() as patched:
        failing(patched, start, error, is_locked=is_locked)
        with pytest.raises(type(error)):
            call(fd)
    assert is_free(other)
    call(fd)
    assert is_free(other)


def test_ctrl_c_while_it_waits_for_a_reader_leaves_none(
    fd: int, other: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sqlite_lock._set(other, fcntl.F_RDLCK, fcntl.LOCK_SH, SHARED_FIRST, SHARED_SIZE)

    def interrupt(_seconds: float) -> Any:
        raise KeyboardInterrupt

    monkeypatch.setattr("ltxcore._restore.sqlite_lock.time.sleep", interrupt)
    with pytest.raises(KeyboardInterrupt):
        take(fd)
    assert is_free(other)


def test_what_fails_inside_leaves_none(fd: int, other: int) -> None:
    for locked in (lambda: exclusive(fd, threading.Event(), lambda _passed: None), lambda: exclusive_now(fd)):
        with pytest.raises(ZeroDivisionError), locked():
            assert not is_free(other)
            raise ZeroDivisionError
        assert is_free(other)


@pytest.mark.parametrize(("error", "is_locked"), FAULTS)
def test_a_claim_that_fails_can_be_made_again(
    path: Path, other: int, monkeypatch: pytest.MonkeyPatch, error: BaseException, is_locked: bool
) -> None:
    """Half a claim kept everybody away, this process included, until it ended."""
    file = FollowedFile(path)
    with monkeypatch.context() as patched:
        failing(patched, FOLLOWER_BYTE, error, is_locked=is_locked)
        with pytest.raises(type(error)):
            file.claim()
    assert is_free(other)
    file.claim()
    assert not is_free(other)
    file.release()
    assert is_free(other)
