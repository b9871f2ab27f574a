"""The file of a followed database: that it is still ours, in the mode that we need, and changed by nobody else."""

from __future__ import annotations

import os
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

from ltxcore import _ltxcore
from ltxcore._ltxcore import FOLLOWER_BYTE, VERSIONS_AT
from ltxcore._restore.position import Position, Shape
from ltxcore._restore.sqlite_lock import exclusive_now, try_lock, unlock
from ltxcore.errors import DatabaseError, RestoreError

#: Files that are followed by this process, by device and inode: the lock below is one for the whole process.
_in_use: set[tuple[int, int]] = set()
_in_use_lock = threading.Lock()


def _after_fork_in_child() -> None:
    # What the parent follows is its own; another thread of it may have held the lock.
    global _in_use_lock
    _in_use_lock = threading.Lock()
    _in_use.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)


class FollowedFile:
    """One database file, opened for good, and what SQLite keeps beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # SQLite resolves links before it looks for a journal.
        self.real = path.resolve()
        self.native = _ltxcore.Followed(self.real)
        self.fd = self.native.fileno()
        self._claimed = False
        self._journal = Path(f"{self.real}-journal")
        self._wal = Path(f"{self.real}-wal")

    def claim(self) -> None:
        """Be the only one who follows with this file.

        Raises:
            DatabaseError: somebody else does.
        """
        with _in_use_lock:
            mine = _identity(self.fd)
            if mine in _in_use:
                raise self._already_followed()
            try:
                _in_use.add(mine)
                if not try_lock(self.fd, FOLLOWER_BYTE, 1):
                    raise self._already_followed()
                self._claimed = True
            except BaseException:
                # The descriptor is never closed: a claim that was half made would keep everybody away for ever.
                self._disclaim()
                raise

    def release(self) -> None:
        """The reverse of :meth:`claim`; does nothing the second time."""
        with _in_use_lock:
            if self._claimed:
                self._disclaim()

    def _disclaim(self) -> None:
        unlock(self.fd, FOLLOWER_BYTE, 1)
        _in_use.discard(_identity(self.fd))
        self._claimed = False

    def _already_followed(self) -> DatabaseError:
        return self.error(f"already followed: {self.path}", "run one follower per database")

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
            with closing(sqlite3.connect(f"{self.real.as_uri()}?mode=rw", uri=True)) as connection:
                connection.execute("PRAGMA schema_version").fetchone()
        except sqlite3.Error as error:
            raise self.error(
                f"cannot roll back what was left half done, {self._journal}: {error}",
                "free space on the disk, end transactions that read the database, then follow again",
            ) from error
        now, before = self.shape(), position.shape
        if before is None or (now.change_counter, now.size) != (before.change_counter, before.size):
            return position
        return Position(position.txid, position.mark, now)

    def leave_wal(self) -> None:
        """Go back to rollback mode if a reader has switched to WAL, where connections keep their lock between transactions.

        Raises:
            DatabaseError: a connection in WAL mode is open, or has written.
        """
        if not self.is_wal():
            return
        with exclusive_now(self.fd) as alone:
            if not alone:
                raise self.in_wal_mode()
            self._check_wal()
            # Nobody has it open: whoever does, in WAL mode, holds a lock.
            for suffix in ("-wal", "-shm"):
                Path(f"{self.real}{suffix}").unlink(missing_ok=True)
            os.pwrite(self.fd, b"\1\1", 18)
            os.fsync(self.fd)

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
