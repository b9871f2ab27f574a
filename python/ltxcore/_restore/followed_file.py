"""The file of a followed database: that it is still ours, in the mode that we need, and changed by nobody else."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ltxcore import _ltxcore
from ltxcore._ltxcore import VERSIONS_AT
from ltxcore._restore.position import Position, Shape
from ltxcore.errors import DatabaseError, RestoreError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: How long readers are kept from coming while those that are there finish, in seconds; doubled each time.
_PATIENCE = 0.25
_MOST_PATIENCE = 2.0
#: How long readers then may come again.
_PAUSE = 0.1


class StoppedError(Exception):
    """The wait for a lock was called off."""


class FollowedFile:
    """One database file, opened for good, and what SQLite keeps beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # SQLite resolves links before it looks for a journal.
        self.real = path.resolve()
        self.native = _ltxcore.Followed(self.real)
        self.fd = self.native.fileno()
        self._claim: _ltxcore.FileLock | None = None
        self._journal = Path(f"{self.real}-journal")
        self._wal = Path(f"{self.real}-wal")

    def claim(self) -> None:
        """Be the only one who follows with this file.

        Raises:
            DatabaseError: somebody else does.
        """
        # A second lock of one descriptor is the first one: it would be let go with that.
        lock = self.native.try_claim() if self._claim is None else None
        if lock is None:
            raise self.error(f"already followed: {self.path}", "run one follower per database")
        self._claim = lock

    def release(self) -> None:
        """The reverse of :meth:`claim`; does nothing the second time."""
        lock, self._claim = self._claim, None
        if lock is not None:
            lock.close()

    @contextmanager
    def exclusive(self, stop: threading.Event, waiting: Callable[[float], None]) -> Iterator[None]:
        """Keep every reader and writer out, as SQLite's EXCLUSIVE lock does.

        Readers that are there are waited for; new ones are held off meanwhile, but never for long: a single slow reader
        must not lock out all others.

        Args:
            stop: ends the wait.
            waiting: told after every vain attempt for how many seconds this has been going on; what it raises ends the wait.

        Raises:
            StoppedError: ``stop`` was set.
        """
        began, patience = time.monotonic(), _PATIENCE
        while (lock := self.native.try_exclude(patience)) is None:
            waiting(time.monotonic() - began)
            patience = min(patience * 2, _MOST_PATIENCE)
            if stop.wait(_PAUSE):
                raise StoppedError
        with closing(lock):
            yield

    def shape(self) -> Shape:
        """What it is like now."""
        return Shape.of(self.fd)

    def is_wal(self) -> bool:
        """Whether its header says that it is in WAL mode."""
        return os.pread(self.fd, 2, VERSIONS_AT) not in (b"", b"\1\1")

    def check_place(self) -> None:
        """Refuse to go on with a file that does not have the name any more.

        Raises:
            DatabaseError: another one has it.
            RestoreError: no file has it.
        """
        if _identity(self.real) != _identity(self.fd):
            raise self.error(f"another file has taken the place of {self.path}", "close it and follow again")

    def recover(self, position: Position) -> Position:
        """Let SQLite undo what an earlier process, or a failure, left half done; the position with the file as it is then.

        A transaction that is rolled back leaves the state before it, which is known if the counter and the size are.

        Raises:
            DatabaseError: SQLite cannot do it.
        """
        if not self._journal.exists():
            return position
        try:
            connection = sqlite3.connect(f"{self.real.as_uri()}?mode=rw", uri=True)
            try:
                connection.execute("PRAGMA schema_version").fetchone()
            finally:
                self._close(connection)
        except sqlite3.Error as error:
            raise self.error(
                f"cannot roll back what was left half done, {self._journal}: {error}",
                "free space on the disk, end transactions that read the database, then follow again",
            ) from error
        now, before = self.shape(), position.shape
        if before is None or (now.change_counter, now.size) != (before.change_counter, before.size):
            return position
        return replace(position, shape=now)

    def leave_wal(self, position: Position) -> Position:
        """Go back to rollback mode, as connections in WAL mode keep their lock between transactions.

        A reader may have switched to WAL, or the database was restored in that mode. Returns the position with the file then.

        Raises:
            DatabaseError: a connection in WAL mode is open, or has written.
        """
        if not self.is_wal():
            return position
        lock = self.native.try_exclude(0.0)
        if lock is None:
            raise self.in_wal_mode()
        with closing(lock):
            self._check_wal()
            # Nobody has it open: whoever does, in WAL mode, holds a lock.
            for suffix in ("-wal", "-shm"):
                Path(f"{self.real}{suffix}").unlink(missing_ok=True)
            is_known = self.shape() == position.shape
            os.pwrite(self.fd, b"\1\1", VERSIONS_AT)
            os.fsync(self.fd)
            return replace(position, shape=self.shape()) if is_known else position

    def check_alone(self, expected: Shape) -> None:
        """Refuse a database that somebody else has changed. The caller keeps writers out.

        Raises:
            DatabaseError: somebody has written to it, or it is not as ``expected``.
        """
        self._check_wal()
        if self.shape() != expected:
            raise self.changed()
        # Not hot, or SQLite would have rolled it back: a left-over of journal_mode PERSIST or TRUNCATE.
        if self._journal.exists() and _first_byte(self._journal) in (b"", b"\0"):
            self._journal.unlink()

    def changed(self) -> DatabaseError:
        """Somebody writes to it."""
        return self.error(
            f"another program changed {self.path} while it was followed",
            "let other programs only read it; at the next attempt every page is compared with the replica",
        )

    def in_wal_mode(self) -> DatabaseError:
        """A reader has switched to WAL mode, and has it open."""
        return self.error(
            f"cannot apply new files: a reader has switched {self.path} to WAL mode and has it open",
            "close that connection, and do not set journal_mode on a followed database; following then resumes by itself",
        )

    def error(self, message: str, hint: str) -> DatabaseError:
        """An error about this file."""
        return DatabaseError(message, op="follow", path=os.fspath(self.path), hint=hint)

    def _close(self, connection: sqlite3.Connection) -> None:
        """Close a connection, but not as the last one: that would copy into the database what others wrote to a WAL."""
        shared = self.native.try_share()
        connection.close()
        if shared is not None:
            shared.close()

    def _check_wal(self) -> None:
        if self._wal.exists() and self._wal.stat().st_size > 0:
            raise self.error(
                f"somebody wrote to {self.path}: {self._wal} is not empty",
                "let readers only read it; save what was written there if you need it, then restore again with "
                "overwrite=True (--force)",
            )


def _first_byte(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(1)


def _identity(file: int | Path) -> tuple[int, int]:
    try:
        found = os.stat(file)
    except FileNotFoundError as error:
        raise RestoreError(
            f"the followed database is gone: {file}",
            op="follow",
            path=str(file),
            hint="stop following and restore again",
        ) from error
    return found.st_dev, found.st_ino
