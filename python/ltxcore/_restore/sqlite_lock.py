"""The bytes of a database file that SQLite locks on Unix, taken from outside SQLite.

The locks belong to the open file where the system has such (Linux): they then hold against connections of this process,
too, and are not lost when one of these is closed. Elsewhere they belong to the process.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import sys
import time
from typing import TYPE_CHECKING

from ltxcore._ltxcore import PENDING_BYTE, SHARED_FIRST, SHARED_SIZE

if TYPE_CHECKING:
    import threading
    from collections.abc import Callable, Iterator

#: How long readers are kept from coming while those that are there finish, in seconds; doubled each time.
_PATIENCE = 0.25
_MOST_PATIENCE = 2.0
#: How long readers then may come again.
_PAUSE = 0.1
_NAP = 0.002

_OFD_SETLK: int | None = getattr(fcntl, "F_OFD_SETLK", None) if sys.platform == "linux" else None


class StoppedError(Exception):
    """The wait for a lock was called off."""


@contextlib.contextmanager
def exclusive(fd: int, stop: threading.Event, waiting: Callable[[float], None]) -> Iterator[None]:
    """Keep every reader and writer out, as SQLite's EXCLUSIVE lock does.

    Readers that are there are waited for; new ones are held off meanwhile, but never for long: a single slow reader must
    not lock out all others.

    Args:
        fd: the database.
        stop: ends the wait.
        waiting: told after every vain attempt for how many seconds this has been going on; what it raises ends the wait.

    Raises:
        StoppedError: ``stop`` was set.
    """
    began, patience = time.monotonic(), _PATIENCE
    while not _acquire(fd, patience):
        waiting(time.monotonic() - began)
        patience = min(patience * 2, _MOST_PATIENCE)
        if stop.wait(_PAUSE):
            raise StoppedError
    try:
        yield
    finally:
        _release(fd)


@contextlib.contextmanager
def exclusive_now(fd: int) -> Iterator[bool]:
    """As :func:`exclusive`, without waiting; false if somebody has the database open in a transaction, or in WAL mode."""
    locked = _acquire(fd, 0)
    try:
        yield locked
    finally:
        if locked:
            _release(fd)


def try_lock(fd: int, start: int, length: int) -> bool:
    """Lock bytes for writing; false if somebody else has a lock there."""
    try:
        _set(fd, fcntl.F_WRLCK, fcntl.LOCK_EX, start, length)
    except OSError as error:
        if error.errno in (errno.EACCES, errno.EAGAIN):
            return False
        raise
    return True


def unlock(fd: int, start: int, length: int) -> None:
    """Let go of bytes."""
    _set(fd, fcntl.F_UNLCK, fcntl.LOCK_UN, start, length)


def _acquire(fd: int, patience: float) -> bool:
    """Lock out new readers, then those that are there; false, with nothing locked, if one of them takes too long."""
    try:
        if not try_lock(fd, PENDING_BYTE, 1):
            return False
        deadline = time.monotonic() + patience
        while not try_lock(fd, SHARED_FIRST, SHARED_SIZE):
            if time.monotonic() > deadline:
                unlock(fd, PENDING_BYTE, 1)
                return False
            time.sleep(_NAP)
    except BaseException:
        # The descriptor is never closed, so what stayed locked would be so for the life of the process. A signal may have come
        # right after either was locked.
        _release(fd)
        raise
    return True


def _release(fd: int) -> None:
    try:
        unlock(fd, SHARED_FIRST, SHARED_SIZE)
    finally:
        unlock(fd, PENDING_BYTE, 1)


def _set(fd: int, kind: int, operation: int, start: int, length: int) -> None:
    if _OFD_SETLK is None:
        nonblocking = 0 if operation == fcntl.LOCK_UN else fcntl.LOCK_NB
        fcntl.lockf(fd, operation | nonblocking, length, start)
    else:
        # struct flock; the process id has to be 0.
        fcntl.fcntl(fd, _OFD_SETLK, struct.pack("hhqqi0q", kind, os.SEEK_SET, start, length, 0))
