"""FollowedDatabase: a restored database, and the thread that keeps it up with its replica."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Self

from ltxcore import _ltxcore, _runtime
from ltxcore._backoff import Backoff
from ltxcore._pending import Sidecar, pending, sync_dir
from ltxcore._sqlite_lock import FOLLOWER_BYTE, StoppedError, exclusive, try_lock, unlock
from ltxcore._time import to_millis
from ltxcore.clients.file import native
from ltxcore.errors import DatabaseError, NotOpenError, ReplicaTimeoutError, RestoreError
from ltxcore.ltx import TXID, FileInfo
from ltxcore.replica import Replica

if TYPE_CHECKING:
    import logging

    from ltxcore.clients import ReplicaClient
    from ltxcore.restore import RestoreResult

#: Files applied as one transaction.
BATCH = 256
#: Every so many passes, other levels are searched although level 0 has simply nothing new.
THOROUGH_EVERY = 10
#: After so many seconds of waiting for readers this is worth a warning, and then again.
SLOW_READER = 30.0

#: Files that are followed by this process, by device and inode: the lock below is one for the whole process.
_in_use: set[tuple[int, int]] = set()
_in_use_lock = threading.Lock()


def _after_fork_in_child() -> None:
    # What the parent follows is its own; another thread of it may have held the lock.
    global _in_use_lock
    _in_use_lock = threading.Lock()
    _in_use.clear()


os.register_at_fork(after_in_child=_after_fork_in_child)


class FollowedDatabase:
    """A database that a background thread keeps up with a replica; :func:`ltxcore.follow` makes one.

    Read it with any SQLite, in any process; each change of state is one transaction to readers. Nobody may write to
    it. It is in rollback-journal mode, whatever its original is in.

    Attributes:
        path: the database.
        restored: what the first restore made, or ``None`` if an earlier one was continued.
    """

    def __init__(
        self,
        client: ReplicaClient,
        path: Path,
        txid: TXID,
        restored: RestoreResult | None,
        *,
        interval: float,
        logger: logging.Logger,
    ) -> None:
        self.path = path
        self.restored = restored
        self._client = client
        self._txid = txid
        self._interval = interval
        self._logger = logger
        self._sidecar = Sidecar(path)
        # SQLite resolves links before it looks for a journal.
        self._real = path.resolve()
        self._journal = Path(f"{self._real}-journal")
        self._file = _ltxcore.Followed(self._real)
        self._passes = 0
        self._warned_at = 0.0
        self._backoff = Backoff("following", path, interval, logger)
        self._moved = threading.Condition()
        self._stop = threading.Event()
        self._wake = threading.Event()
        self._generation = _runtime.generation()
        self._thread = threading.Thread(target=self._run, name=f"ltxcore-apply {path.name}", daemon=True)
        self._claim()

    def __repr__(self) -> str:
        return f"FollowedDatabase({os.fspath(self.path)!r}, txid={self._txid})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        # A child that was forked inside the block leaves it too, and has nothing to close.
        if not _runtime.is_inherited(self._generation):
            self.close()

    @property
    def txid(self) -> TXID:
        """The transaction that the database is at."""
        return self._txid

    @property
    def error(self) -> BaseException | None:
        """What the latest attempt failed with, or ``None``. Attempts are repeated for ever."""
        return self._backoff.error

    def wait(self, txid: int | None = None, timeout: float | None = None) -> TXID:
        """Wait until the database is at a transaction or beyond; by default, the newest in the replica now.

        Raises:
            ReplicaTimeoutError: it was not in time; the cause is what the last attempt failed with.
            NotOpenError: it is closed.
        """
        _runtime.check(self._generation)
        wanted = Replica(self._client).pos.txid if txid is None else TXID(txid)
        deadline = None if timeout is None else time.monotonic() + timeout
        self._wake.set()
        with self._moved:
            while self._txid < wanted:
                if self._stop.is_set():
                    raise NotOpenError(f"not followed any more: {self.path}", path=os.fspath(self.path))
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise ReplicaTimeoutError(
                        f"{self.path} is at TXID {self._txid}, not yet at {wanted}", op="follow"
                    ) from self.error
                self._moved.wait(left)
        return self._txid

    def close(self, *, timeout: float | None = 30.0) -> None:
        """Stop following. The database stays where it is, and can be continued later. Does nothing the second time.

        Args:
            timeout: how long to wait for a step that is under way, in seconds; ``None`` for ever.
        """
        _runtime.check(self._generation)
        self._stop.set()
        self._wake.set()
        with self._moved:
            self._moved.notify_all()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        _runtime.unregister(self)
        if not self._thread.is_alive():
            self._release()

    def start(self) -> None:
        """Start the thread; :func:`ltxcore.follow` has done it."""
        self._recover()
        # Raised here, not in the background: a history that is not there will hardly come back.
        pending(self._client, self._txid)
        _runtime.register(self)
        self._thread.start()

    def _run(self) -> None:
        while not self._stop.is_set():
            delay = self._interval
            try:
                self._pass()
                self._backoff.succeeded()
            except StoppedError:
                return
            except BaseException as error:
                delay = self._backoff.failed(error)
            self._wake.wait(delay)
            self._wake.clear()

    def _pass(self) -> None:
        thorough = self._passes % THOROUGH_EVERY == 0
        self._passes += 1
        files = pending(self._client, self._txid, thorough=thorough)
        for start in range(0, len(files), BATCH):
            if self._stop.is_set():
                return
            self._apply(files[start : start + BATCH])

    def _apply(self, files: list[FileInfo]) -> None:
        self._check_place()
        self._recover()
        step = self._file.merge(native(self._client), [_row(file) for file in files])
        txid = TXID(step.txid)
        self._sidecar.stage(txid)
        if self._sidecar.path.parent.resolve() != self._real.parent:
            sync_dir(self._sidecar.path.parent)
        with exclusive(self._file.fileno(), self._stop, self._waiting):
            self._check_alone()
            self._file.save(step, self._sidecar.staged)
            self._file.write(step)
            self._file.commit()
        # Last: a position that lags only means that the same pages are written once more.
        self._sidecar.publish()
        with self._moved:
            self._txid = txid
            self._moved.notify_all()

    def _recover(self) -> None:
        """Let SQLite undo what an earlier process, or a failure, left half done."""
        if not self._journal.exists():
            return
        with closing(sqlite3.connect(f"{self._real.as_uri()}?mode=rw", uri=True)) as connection:
            connection.execute("PRAGMA schema_version").fetchone()

    def _check_place(self) -> None:
        if _identity(self._real) != _identity(self._file.fileno()):
            raise self._error(f"another file has taken the place of {self.path}", "follow it anew")

    def _check_alone(self) -> None:
        """Writers are locked out here; make sure that none has been there before."""
        wal = Path(f"{self._real}-wal")
        if wal.exists() and wal.stat().st_size > 0:
            raise self._error(
                f"somebody wrote to {self.path}: {wal} is not empty",
                "nobody may write to a followed database; delete it and its -txid, and restore anew",
            )
        # Not hot, or SQLite would have rolled it back: a left-over of journal_mode PERSIST or TRUNCATE.
        if self._journal.exists() and _first_byte(self._journal) in (b"", b"\0"):
            self._journal.unlink()

    def _waiting(self, passed: float) -> None:
        if passed < self._warned_at:
            self._warned_at = 0.0
        if passed - self._warned_at >= SLOW_READER:
            self._warned_at = passed
            self._logger.warning(
                "%s has been kept from changing for %.0f s by a transaction that reads it", self.path, passed
            )

    def _claim(self) -> None:
        with _in_use_lock:
            mine = _identity(self._file.fileno())
            if mine in _in_use or not try_lock(self._file.fileno(), FOLLOWER_BYTE, 1):
                raise self._error(f"already followed: {self.path}", "one process a database")
            _in_use.add(mine)

    def _release(self) -> None:
        with _in_use_lock:
            mine = _identity(self._file.fileno())
            if mine in _in_use:
                _in_use.discard(mine)
                unlock(self._file.fileno(), FOLLOWER_BYTE, 1)

    def _error(self, message: str, hint: str) -> DatabaseError:
        return DatabaseError(message, op="follow", path=os.fspath(self.path), hint=hint)


def _first_byte(path: Path) -> bytes:
    with open(path, "rb") as file:
        return file.read(1)


def _identity(file: int | Path) -> tuple[int, int]:
    try:
        found = os.stat(file)
    except FileNotFoundError as error:
        raise RestoreError(f"the followed database is gone: {file}", op="follow") from error
    return found.st_dev, found.st_ino


def _row(file: FileInfo) -> tuple[int, int, int, int, int]:
    return file.level, file.min_txid, file.max_txid, file.size, to_millis(file.created_at)
