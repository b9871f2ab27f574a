"""DB: one database, its position, and its way into a replica."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

from ltxcore._process import runtime
from ltxcore._process.arguments import local_path
from ltxcore._process.times import seconds
from ltxcore.db._places import check_apart
from ltxcore.db._running import Running
from ltxcore.db._status import CheckpointMode, CheckpointResult, SyncStatus
from ltxcore.errors import ConfigError, NotOpenError, NotReadyError
from ltxcore.ltx import TXID, FileInfo, Pos
from ltxcore.replica import Replica

if TYPE_CHECKING:
    from datetime import timedelta

    from ltxcore.clients import Source
    from ltxcore.db._uploader import Uploader


class DB:
    """One SQLite database that is replicated continuously.

    Opening it starts two background threads: one follows the database's WAL and writes what is committed to local
    LTX files, the other uploads these to the replica. The database is switched to WAL mode if it is not in it.

    Safe beside other connections of the same process where the system has locks of open files, as Linux and macOS
    do; ``ltxcore doctor`` tells. Elsewhere it is refused. If the process uses the database with two SQLite libraries, open the
    ``DB`` after the database is in WAL mode, or call :meth:`status` before any connection is closed. See ``docs/locking.md``.

    Args:
        path: the database file. It need not exist yet.
        replica: where to; a :class:`Replica`, a client, a URL, or the path of a directory. Without one, only local LTX files
            are written.
        meta_path: the directory of the local LTX files, by default ``.<name>-litestream`` beside the database.
        monitor_interval: the least time between two local LTX files.
        checkpoint_interval: the time after which frames of the WAL are written back to the database file, if nobody
            else has done it; 0 for never on account of time, nor because the database is at rest.
        min_checkpoint_page_n: the length of the WAL, in pages, before which it is written back and begun anew.
        truncate_page_n: the length of a WAL, in pages, above which its file is cut once everything is written back
            and nobody writes; 0, or more than four times ``min_checkpoint_page_n``, for four times that.
        busy_timeout: how long to wait for a lock of somebody else.
        l0_retention: how long local LTX files are kept after they have been uploaded.
        logger: where to report trouble; the logger ``ltxcore``, if left out.

    Durations are seconds or a timedelta.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        replica: Replica | Source | None = None,
        meta_path: str | os.PathLike[str] | None = None,
        monitor_interval: float | timedelta = 1.0,
        checkpoint_interval: float | timedelta = 60.0,
        min_checkpoint_page_n: int = 1000,
        truncate_page_n: int = 121_359,
        busy_timeout: float | timedelta = 1.0,
        l0_retention: float | timedelta = 300.0,
        logger: logging.Logger | None = None,
    ) -> None:
        self.path = local_path(path, "database", "path").absolute()
        self.meta_path = _meta_path(self.path, meta_path)
        self.replica = replica if isinstance(replica, Replica | None) else Replica(replica)
        if self.replica is not None:
            check_apart(self.replica.client, self.meta_path)
        self._options: dict[str, Any] = {
            "monitor_interval": seconds(monitor_interval, "monitor_interval"),
            "checkpoint_interval": seconds(checkpoint_interval, "checkpoint_interval"),
            "min_checkpoint_page_n": min_checkpoint_page_n,
            "truncate_page_n": truncate_page_n,
            "busy_timeout": seconds(busy_timeout, "busy_timeout"),
            "l0_retention": seconds(l0_retention, "l0_retention"),
        }
        self._logger = logger or logging.getLogger("ltxcore")
        self._lock = threading.Lock()
        self._generation = runtime.generation()
        self._running: Running | None = None
        #: A close has begun, and may have been interrupted.
        self._is_closing = False

    def __repr__(self) -> str:
        return f"DB({os.fspath(self.path)!r}, replica={self.replica!r})"

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *exc_info: object) -> None:
        # A child that was forked inside the block leaves it too, and has nothing to close.
        if not runtime.is_inherited(self._generation):
            self.close()

    def open(self) -> Self:
        """Begin to replicate. Does nothing if that is going on already.

        The first attempt is waited for, up to a few seconds, and its failure is raised: a backup that does not work
        should be noticed on the first day. A database file that does not exist is no failure; it is waited for.

        If more than 64 MiB of pages have to be read, ``open`` returns as soon as that begins. ``status().scan`` says how far it
        is. What fails after that is ``status().last_error``, and raised by :meth:`sync` and :meth:`wait`.

        Raises:
            ConfigError: the replica is in use for another database of this process, or where the local files are.
            LTXFileExistsError: the replica has files of another history.
            ReplicaError: the replica cannot be listed or written.
            DatabaseError: the database cannot be read, or not be switched to WAL mode.
            ForkedError: the object comes from the parent process.
        """
        runtime.check(self._generation)
        with self._lock:
            if self._running is not None and not self._is_closing:
                return self
            if self._running is not None:
                # A close that was interrupted; what it could not upload is in local files.
                self._running.abort()
                self._running = None
            if runtime.shutting_down():
                raise NotOpenError("the interpreter is shutting down", op="open", path=os.fspath(self.path))
            running = Running(self.path, self.meta_path, self._options, self.replica, self._logger)
            try:
                running.start()
            except BaseException:
                running.abort()
                raise
            self._running, self._is_closing = running, False
            runtime.register(self)
        return self

    def close(self, *, timeout: float | None = 30.0) -> None:
        """Bring what is committed into the replica, and stop. Does nothing if it is closed already.

        If it is interrupted, by Ctrl-C for example, another call goes on with it, and so does the end of the process.

        Args:
            timeout: for so many seconds the last sync and upload are tried again; 0 tries once, ``None`` for ever. If all
                pages are being read when the time is over, that is given up.

        Raises:
            Error: the last sync or upload failed. Everything is released nevertheless, and what could not be
                uploaded is in local LTX files, from where the next ``open`` sends it.
        """
        runtime.check(self._generation)
        with self._lock:
            if self._running is None:
                return
            self._is_closing = True
            try:
                self._running.stop(float("inf") if timeout is None else timeout)
            except Exception:
                self._let_go()
                raise
            self._let_go()

    def join(self) -> None:
        """Wait until replication has ended: by :meth:`close`, or by itself, and then ``status().has_ended`` is true.

        Returns at once if the database is not open.

        Raises:
            ForkedError: the object comes from the parent process.
        """
        runtime.check(self._generation)
        running = self._running
        if running is not None:
            running.join()

    @property
    def pos(self) -> Pos:
        """The newest position that is in a local LTX file; zeros if there is none yet."""
        return self._require().pos

    @property
    def page_size(self) -> int:
        """The database's page size, in bytes.

        Raises:
            NotReadyError: the database file does not exist yet or is empty.
        """
        size = self._require().engine.page_size
        if size is None:
            raise NotReadyError(f"page size not known yet: {self.path}", path=os.fspath(self.path))
        return size

    def sync(self) -> Pos:
        """Bring all that is committed now into local LTX files.

        Returns:
            The position afterwards.

        Raises:
            NotReadyError: the database file does not exist yet.
            DatabaseError: the database cannot be read.
        """
        return self._require().follower.sync()

    def wait(self, txid: int | None = None, timeout: float | None = None) -> Pos:
        """Wait until a restore from the replica contains a transaction, or all that is committed now.

        That is said of the replica as it is: a directory is looked at before, any other storage is listed once in a
        while. Files that it lost are sent again, or it gets a snapshot.

        While someone waits, uploads do not wait for their interval, and failed ones are repeated every half second.

        Args:
            txid: what to wait for; by default, a sync is done and its position waited for.
            timeout: how long, in seconds. Without one, the first attempt that fails is raised.

        Returns:
            The position in the replica.

        Raises:
            ReplicaTimeoutError: it was not durable in time; the cause is what the last attempt failed with.
            ConfigError: there is no replica.
            LTXFileExistsError, BehindReplicaError: another writer has continued the history in the replica. That is final
                if ``status().has_ended`` is true, and is then raised at once, whatever the timeout.
            Error: as for :meth:`sync`, whatever an upload failed with, or what keeps the replica from being restored.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        uploader, running = self._uploader(), self._require()
        if txid is None:
            txid = running.follower.sync(timeout).txid
        if running.follower.death is not None:
            raise running.follower.death
        uploader.wait(TXID(txid), deadline)
        return Pos(uploader.known_txid or TXID(txid))

    async def wait_async(self, txid: int | None = None, timeout: float | None = None) -> Pos:  # noqa: ASYNC109
        """:meth:`wait`, without blocking the event loop. Cancelling it does not end the thread that waits."""
        # Slow to import, and most programs never wait this way.
        import asyncio

        return await asyncio.to_thread(self.wait, txid, timeout)

    def checkpoint(self, mode: CheckpointMode = "PASSIVE") -> CheckpointResult:
        """Write frames of the WAL back into the database file. What is not in an LTX file yet is read before.

        Args:
            mode: one of SQLite's: PASSIVE, FULL, RESTART, TRUNCATE.

        Raises:
            DatabaseError: SQLite reports an error.
        """
        if mode not in get_args(CheckpointMode):
            raise ValueError(f"unknown checkpoint mode: {mode!r}")
        return self._require().follower.checkpoint(mode)

    def snapshot(self) -> FileInfo:
        """Upload the whole database, as far as it is in LTX files, as one file of level 9.

        Raises:
            ConfigError: there is no replica.
            DatabaseError: the database cannot be read.
            ReplicaError: the upload failed.
            LTXFileExistsError, BehindReplicaError: a conflict with another writer has ended the replication.
        """
        # What takes long here can be interrupted.
        self._require().follower.sync()
        return self._uploader().snapshot()

    async def snapshot_async(self) -> FileInfo:
        """:meth:`snapshot`, without blocking the event loop. Cancelling it does not end the work."""
        import asyncio

        return await asyncio.to_thread(self.snapshot)

    def compact(self, level: int) -> FileInfo | None:
        """Merge new files of the level below into one of ``level``, 1 to 8, in the replica.

        Returns:
            The new file, or ``None`` if there was nothing to do.

        Raises:
            ConfigError: there is no replica.
            FormatError: a file in the replica is damaged.
            ReplicaError: the storage failed.
            LTXFileExistsError, BehindReplicaError: a conflict with another writer has ended the replication.
        """
        return self._uploader().compact(level)

    async def compact_async(self, level: int) -> FileInfo | None:
        """:meth:`compact`, without blocking the event loop. Cancelling it does not end the work."""
        import asyncio

        return await asyncio.to_thread(self.compact, level)

    def status(self) -> SyncStatus:
        """The present state of replication. Answers at once: it neither reads the database nor lists the replica.

        Raises:
            NotOpenError: the database is not open.
            ForkedError: the object comes from the parent process.
        """
        return self._require().status()

    def _require(self) -> Running:
        runtime.check(self._generation)
        running = self._running
        if running is None or self._is_closing:
            raise NotOpenError(f"not open: {self.path}", path=os.fspath(self.path))
        if not running.follower.is_open:
            # The thread may not have noticed yet that the application has made the database.
            running.engine.attach()
        return running

    def _let_go(self) -> None:
        if self._running is not None:
            self._running.leave()
        self._running = None
        runtime.unregister(self)

    def _uploader(self) -> Uploader:
        uploader = self._require().uploader
        if uploader is None:
            raise ConfigError(f"no replica for {self.path}", path=os.fspath(self.path))
        return uploader


def replicate(
    path: str | os.PathLike[str],
    url: Replica | Source,
    **options: Any,  # noqa: ANN401 - those of DB
) -> DB:
    """Replicate a database from now on: an open :class:`DB`.

    Args:
        path: the database file.
        url: the destination.
        options: further settings of :class:`DB`.

    Raises:
        Error: as for :meth:`DB.open`.
    """
    return DB(path, replica=url, **options).open()


def _meta_path(path: Path, given: str | os.PathLike[str] | None) -> Path:
    return (
        path.with_name(f".{path.name}-litestream")
        if given is None
        else local_path(given, "local files", "meta_path").absolute()
    )
