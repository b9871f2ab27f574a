"""DB: one database, its position, and its way into a replica."""

from __future__ import annotations

import logging
import os
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, get_args

from ltxcore._process import runtime
from ltxcore._process.arguments import local_path, page_count
from ltxcore._process.awaiting import to_thread
from ltxcore._process.times import argument_error, seconds
from ltxcore.db._places import check_replicas
from ltxcore.db._running import Running
from ltxcore.db._status import CheckpointMode, CheckpointResult, SyncStatus
from ltxcore.errors import ConfigError, DatabaseError, NotOpenError, NotReadyError
from ltxcore.ltx import TXID, FileInfo, Pos
from ltxcore.replica import Replica

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import timedelta

    from ltxcore.clients import Source
    from ltxcore.db._uploader import Uploader


class DB:
    """One SQLite database that is replicated continuously.

    :meth:`open` starts two daemon threads. One follows the WAL of the database and writes commits to local LTX files. The
    other uploads these files to the replica; each mirror has another one. A database that is not in WAL mode is switched to
    WAL mode.

    A ``DB`` is safe beside other connections of the same process where the system has locks of open files, as Linux and macOS
    have; ``ltxcore doctor`` tests it. Elsewhere ``open`` refuses. If the process uses the database with two SQLite libraries,
    open the ``DB`` after the database is in WAL mode, or call :meth:`status` before any connection is closed. See
    ``docs/locking.md``.

    Args:
        path: the database file. It need not exist yet.
        replica: the destination: a :class:`Replica`, a :class:`ltxcore.legacy.Replica` for the layout of Litestream 0.3, a
            client, a URL, or the path of a directory. Without one, only local LTX files are written.
        mirrors: further destinations, each a replica of its own that can be restored by itself. One that is away keeps neither
            the database nor the others waiting. When it is back it gets what it missed, or a snapshot after more than an hour.
        meta_path: the directory of the local LTX files; the default is ``.<name>-litestream`` beside the database.
        monitor_interval: the minimum time between two local LTX files.
        checkpoint_interval: run a checkpoint if no program has for this long. With 0, neither time nor rest of the
            database causes a checkpoint.
        min_checkpoint_page_n: checkpoint and reset the WAL before it has this many pages.
        truncate_page_n: a WAL of more pages is truncated once it is checkpointed and no program writes. 0, or more than
            four times ``min_checkpoint_page_n``, means four times that.
        busy_timeout: the time to wait for a lock of the application.
        l0_retention: the time to keep local LTX files after their upload.
        logger: the logger for warnings and errors; the default is the logger ``ltxcore``.

    Durations are seconds or a ``timedelta``.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        replica: Replica | Source | None = None,
        mirrors: Iterable[Replica | Source] = (),
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
        if isinstance(mirrors, str | os.PathLike):
            raise argument_error("mirrors", f"mirrors is a list: {mirrors!r}", f"pass mirrors=[{mirrors!r}]")
        self.mirrors = tuple(each if isinstance(each, Replica) else Replica(each) for each in mirrors)
        if self.mirrors and self.replica is None:
            raise argument_error("mirrors", "mirrors without a replica", "pass the first one as replica")
        for each in self.mirrors:
            if each.limit is not None:
                raise argument_error(
                    "mirrors",
                    f"a mirror cannot have a limit of requests: {each!r}",
                    "limit the replica: there are as many local files as it allows, and each is a request to a mirror",
                )
        for each in self._replicas():
            each.check_writable()
        check_replicas([each.client for each in self._replicas()], self.meta_path)
        self._options: dict[str, Any] = {
            "monitor_interval": seconds(monitor_interval, "monitor_interval"),
            "checkpoint_interval": seconds(checkpoint_interval, "checkpoint_interval"),
            "min_checkpoint_page_n": page_count(min_checkpoint_page_n, "min_checkpoint_page_n"),
            "truncate_page_n": page_count(truncate_page_n, "truncate_page_n"),
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
        mirrors = f", mirrors={list(self.mirrors)!r}" if self.mirrors else ""
        return f"DB({os.fspath(self.path)!r}, replica={self.replica!r}{mirrors})"

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(self, *exc_info: object) -> None:
        # A child that was forked inside the block leaves it too, and has nothing to close.
        if not runtime.is_inherited(self._generation):
            self.close()

    def open(self) -> Self:
        """Start to replicate. Does nothing if the ``DB`` is open.

        ``open`` waits for the first attempt, for up to a few seconds, and raises its error: a backup that does not work
        should be noticed on the first day. A database file that does not exist is not an error, because the application may
        create it later. Until then :meth:`wait` raises ``NotReadyError``.

        If more than 64 MiB of pages have to be read, ``open`` returns when the reading begins, and ``status().scan`` shows the
        progress. Later errors are ``status().last_error``, and :meth:`sync` and :meth:`wait` raise them.

        Returns:
            The object itself.

        Raises:
            ConfigError: another ``DB`` of this process has the replica or a mirror, or the storage of the replica cannot hold a
                lease.
            LeaseHeldError: another program holds the lease of the replica.
            LTXFileExistsError: the replica has files of another history.
            ReplicaError: the replica cannot be listed or written. Errors of a mirror are in its status, and in the log.
            DatabaseError: the database cannot be read or switched to WAL mode, or another replicator has it.
            ForkedError: the object belongs to the parent process.
        """
        runtime.check(self._generation)
        with self._lock:
            if self._running is not None and not self._is_closing:
                return self
            if self._running is not None:
                # A close that was interrupted; what it could not upload is in local files.
                self._running.abort()
                self._running = None
            if self.path.is_dir():
                raise DatabaseError(
                    f"the path of the database is a directory: {self.path}",
                    op="open",
                    path=os.fspath(self.path),
                    hint="add the name of the database file",
                )
            if runtime.shutting_down():
                raise NotOpenError("the interpreter is shutting down", op="open", path=os.fspath(self.path))
            running = Running(
                self.path, self.meta_path, self._options, self.replica, self.mirrors, self._logger
            )
            try:
                running.start()
            except BaseException:
                running.abort()
                raise
            self._running, self._is_closing = running, False
            runtime.register(self)
        return self

    def close(self, *, timeout: float | None = 30.0) -> None:
        """Upload the last commits, and stop. Does nothing if the ``DB`` is closed.

        The last upload is not held back by a limit of requests. Files that an object store has lost are not looked for: the
        next ``open`` finds them.

        If the call is interrupted, by Ctrl-C for example, another call continues, and so does the end of the process.

        Args:
            timeout: retry the last sync and upload for this many seconds; 0 tries once, ``None`` retries for ever. A pass
                over all pages is abandoned when the time is over.

        Raises:
            Error: the last sync or upload failed, that to a mirror included. The database is closed nevertheless. What was
                not uploaded stays in local LTX files, and the next ``open`` uploads it.
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
        """The newest position in a local LTX file; zeros if there is none yet."""
        return self._require().pos

    @property
    def page_size(self) -> int:
        """The page size of the database in bytes.

        Raises:
            NotReadyError: the database file does not exist yet or is empty.
        """
        size = self._require().engine.page_size
        if size is None:
            raise NotReadyError(
                f"page size not known yet: {self.path}",
                path=os.fspath(self.path),
                hint="it is known once the database has a page",
            )
        return size

    def sync(self) -> Pos:
        """Write all commits up to now to local LTX files.

        Returns:
            The position afterwards.

        Raises:
            NotReadyError: the database file does not exist yet.
            DatabaseError: the database cannot be read.
        """
        return self._require().follower.sync()

    def wait(
        self, txid: int | None = None, timeout: float | None = None, *, replica: Replica | None = None
    ) -> Pos:
        """Wait until a restore from the replica contains all commits up to now, or the transaction ``txid``.

        The replica is checked first: a directory at every call, other storage once a minute at most. Files that it has lost are
        uploaded again, or covered by a snapshot.

        While a caller waits, uploads do not wait for their interval, and a failed upload is retried every half second.

        Args:
            txid: the transaction to wait for; the default is the newest one after a sync.
            timeout: the longest time in seconds. Without a timeout, the error of the first failed attempt is raised.
            replica: a mirror to wait for, one of :attr:`mirrors`, in place of the replica.

        Returns:
            The position of the replica.

        Raises:
            ReplicaTimeoutError: the transaction was not in the replica in time; the cause is the error of the last attempt.
            NotReadyError: the database file does not exist yet.
            ConfigError: the ``DB`` has no replica, or not this one.
            LTXFileExistsError, BehindReplicaError: another writer has continued the history in the replica. That is final
                if ``has_ended`` is true in its status, and is then raised at once, whatever the timeout.
            LeaseLostError: the lease of the replica is not held. The same applies.
            Error: the sync or an upload failed, or the replica cannot be restored.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        uploader, running = self._uploader(replica), self._require()
        if txid is None:
            txid = running.follower.sync(timeout).txid
        if running.follower.death is not None:
            raise running.follower.death
        uploader.wait(TXID(txid), deadline)
        return Pos(uploader.known_txid or TXID(txid))

    async def wait_async(
        self,
        txid: int | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
        *,
        replica: Replica | None = None,
    ) -> Pos:
        """:meth:`wait`, without blocking the event loop. Cancelling it does not end the thread that waits."""
        return await to_thread(self.wait, txid, timeout, replica=replica)

    def checkpoint(self, mode: CheckpointMode = "PASSIVE") -> CheckpointResult:
        """Run a checkpoint, after reading the frames that are not in an LTX file yet.

        Args:
            mode: SQLite's mode: PASSIVE, FULL, RESTART or TRUNCATE.

        Raises:
            DatabaseError: SQLite reports an error.
        """
        if mode not in get_args(CheckpointMode):
            raise ValueError(f"unknown checkpoint mode: {mode!r}")
        return self._require().follower.checkpoint(mode)

    def snapshot(self, *, replica: Replica | None = None) -> FileInfo:
        """Upload the whole database, with all commits up to now, as one file of level 9. Restores then read less.

        In the layout of Litestream 0.3 it is a snapshot of its own form. If nothing has changed, it is the last one.

        Args:
            replica: a mirror to write to, one of :attr:`mirrors`, in place of the replica.

        Returns:
            The new file.

        Raises:
            ConfigError: the ``DB`` has no replica.
            NotReadyError: the database file does not exist yet.
            DatabaseError: the database cannot be read.
            ReplicaError: the upload failed.
            LTXFileExistsError, BehindReplicaError: a conflict with another writer has ended the replication.
        """
        # What takes long here can be interrupted.
        self._require().follower.sync()
        return self._uploader(replica).snapshot()

    async def snapshot_async(self, *, replica: Replica | None = None) -> FileInfo:
        """:meth:`snapshot`, without blocking the event loop. Cancelling it does not end the work."""
        return await to_thread(self.snapshot, replica=replica)

    def compact(self, level: int, *, replica: Replica | None = None) -> FileInfo | None:
        """Merge the new files of the level below into one file of ``level``, in the replica.

        Args:
            level: 1 to 8.
            replica: a mirror to do that in, one of :attr:`mirrors`, in place of the replica.

        Returns:
            The new file, or ``None`` if there was nothing to merge.

        Raises:
            ConfigError: the ``DB`` has no replica, or one in the layout of Litestream 0.3, or the level is not 1 to 8.
            FormatError: a file in the replica is damaged.
            ReplicaError: the storage failed.
            LTXFileExistsError, BehindReplicaError: a conflict with another writer has ended the replication.
        """
        return self._uploader(replica).compact(level)

    async def compact_async(self, level: int, *, replica: Replica | None = None) -> FileInfo | None:
        """:meth:`compact`, without blocking the event loop. Cancelling it does not end the work."""
        return await to_thread(self.compact, level, replica=replica)

    def status(self) -> SyncStatus:
        """The present state of replication. Returns at once: it reads no pages and does not list the replica.

        Raises:
            NotOpenError: the ``DB`` is not open.
            ForkedError: the object belongs to the parent process.
        """
        return self._require().status()

    def _require(self) -> Running:
        runtime.check(self._generation)
        running = self._running
        if running is None or self._is_closing:
            raise NotOpenError(
                f"not open: {self.path}",
                path=os.fspath(self.path),
                hint="call open(), or use the DB in a with block",
            )
        if not running.follower.is_open:
            # The thread may not have noticed yet that the application has made the database.
            running.engine.attach()
        return running

    def _let_go(self) -> None:
        if self._running is not None:
            self._running.leave()
        self._running = None
        runtime.unregister(self)

    def _replicas(self) -> tuple[Replica, ...]:
        return self.mirrors if self.replica is None else (self.replica, *self.mirrors)

    def _uploader(self, replica: Replica | None) -> Uploader:
        running = self._require()
        if running.uploader is None:
            raise ConfigError(
                f"no replica for {self.path}", path=os.fspath(self.path), hint="pass DB(..., replica=...)"
            )
        if replica is None:
            return running.uploader
        for uploader in running.uploaders():
            if uploader.replica is replica:
                return uploader
        raise argument_error(
            "replica", f"not a replica of {self.path}: {replica!r}", "pass db.replica, or one of db.mirrors"
        )


def replicate(
    path: str | os.PathLike[str],
    url: Replica | Source,
    **options: Any,  # noqa: ANN401 - those of DB
) -> DB:
    """Create a :class:`DB` and open it. Close it, or use it in a ``with`` block.

    Args:
        path: the database file.
        url: the destination: a :class:`Replica`, a client, a URL, or the path of a directory.
        options: other arguments of :class:`DB`.

    Returns:
        The open ``DB``.

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
