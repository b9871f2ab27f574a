"""The thread that uploads local L0 files, in order, and keeps the replica restorable."""

from __future__ import annotations

import os
import threading
import time
import uuid
from typing import TYPE_CHECKING

from ltxcore._backoff import Backoff
from ltxcore._time import from_millis
from ltxcore.errors import BehindReplicaError, LTXFileExistsError, ReplicaTimeoutError
from ltxcore.ltx import SNAPSHOT_LEVEL, TRAILER_SIZE, TXID, FileInfo

if TYPE_CHECKING:
    import logging
    from pathlib import Path

    from ltxcore import _ltxcore
    from ltxcore.replica import Replica

#: Between two attempts while somebody waits for the result, in seconds.
RETRY_INTERVAL = 0.5


class Uploader:
    """Uploads what the engine has written to the replica, one file after the other."""

    def __init__(
        self, engine: _ltxcore.Database, replica: Replica, path: Path, meta_path: Path, logger: logging.Logger
    ) -> None:
        self.replica = replica
        self.last_upload_ms: int | None = None
        self._engine = engine
        self._path = path
        self._meta_path = meta_path
        self._logger = logger
        self._backoff = Backoff("upload", path, replica.sync_interval, logger)
        self._baseline = TXID(0)
        self._checked = False
        # Kept until the upload has worked: the engine forgets its wish as soon as it has been read.
        self._snapshot_due: str | None = None
        self._changed = threading.Condition()
        # Everything below is guarded by it.
        self._pending = False
        self._passes = 0
        self._waiting = 0
        self._not_before = 0.0
        self._last_pass = float("-inf")
        self._finish_by: float | None = None
        self._finish_from = 0
        self._ended = False
        self._abandoned = False
        self._thread = threading.Thread(target=self._run, name=f"ltxcore-upload {path.name}", daemon=True)

    @property
    def error(self) -> BaseException | None:
        """What the latest pass failed with, or ``None``."""
        return self._backoff.error

    def remote_txid(self) -> TXID:
        """The highest TXID in the replica, listed now. The local history is about to continue from there."""
        self._baseline = max((file.max_txid for file in self.replica.files()), default=TXID(0))
        return self._baseline

    @property
    def known_txid(self) -> TXID | None:
        """The highest TXID in the replica, as far as is known without asking it."""
        return self.replica.pos.txid if self._checked else None

    def start(self) -> None:
        """Start the thread. It is idle until it is notified."""
        self._thread.start()

    def notify(self) -> None:
        """Say that there may be new local files."""
        with self._changed:
            self._pending = True
            self._changed.notify_all()

    def wait_pass(self, timeout: float) -> None:
        """Wait until one pass is over, whether or not it worked."""
        with self._changed:
            self._changed.wait_for(lambda: self._passes > 0, timeout)

    def wait(self, txid: TXID, timeout: float | None) -> None:
        """Wait until ``txid`` is durable in the replica; see ``DB.wait`` for what is raised when."""
        deadline = None if timeout is None else time.monotonic() + timeout
        with self._changed:
            self._waiting += 1
            try:
                self._wait(txid, deadline)
            finally:
                self._waiting -= 1

    def finish(self, timeout: float) -> BaseException | None:
        """Upload what is left, trying again until ``timeout`` seconds are over; the error it ended with.

        An attempt that is under way when the time is over gets a little longer, and is then left to itself.
        """
        with self._changed:
            self._finish_by = time.monotonic() + timeout
            self._finish_from = self._passes
            self._pending = True
            self._changed.notify_all()
        self._thread.join(min(timeout + 2.0, threading.TIMEOUT_MAX))
        if self._thread.is_alive():
            self._abandoned = True
            return self._backoff.error or ReplicaTimeoutError(
                "the last upload did not end in time", op="close"
            )
        return self._backoff.error

    def abandon(self) -> None:
        """End without another attempt; one that is under way is left to itself."""
        self._abandoned = True
        with self._changed:
            self._finish_by = float("-inf")
            self._changed.notify_all()

    def snapshot(self) -> FileInfo:
        """Upload the whole database as one file of level 9."""
        path = self._meta_path / f"snapshot-{uuid.uuid4().hex}.tmp"
        try:
            max_txid = self._engine.snapshot(os.fspath(path))[0]
            return self.replica.client.write_ltx_path(SNAPSHOT_LEVEL, TXID(1), TXID(max_txid), path)
        finally:
            path.unlink(missing_ok=True)

    def _wait(self, txid: TXID, deadline: float | None) -> None:
        passes = self._passes
        # While the storage is being listed again, it is not known what it holds.
        while not self._checked or self.replica.pos.txid < txid:
            if self._ended:
                raise self._late(txid)
            if self._passes > passes and self._backoff.error is not None and deadline is None:
                raise self._backoff.error
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                raise self._late(txid) from self._backoff.error
            self._pending = True
            self._changed.notify_all()
            self._changed.wait(left)

    def _late(self, txid: TXID) -> ReplicaTimeoutError:
        return ReplicaTimeoutError(
            f"transaction {txid} of {self._path} is not in the replica yet",
            op="wait",
            path=os.fspath(self._path),
            max_txid=txid,
        )

    def _run(self) -> None:
        while self._next_pass():
            delay = self.replica.sync_interval
            try:
                self._upload()
                self._backoff.succeeded()
            except BaseException as error:
                delay = self._backoff.failed(error)
                self._checked = False
            self._end_pass(delay)

    def _next_pass(self) -> bool:
        """Wait until there is something to do; false when it is time to end."""
        with self._changed:
            while not self._is_finished():
                left = self._due() - time.monotonic()
                if left <= 0:
                    self._pending = False
                    return True
                self._changed.wait(min(left, threading.TIMEOUT_MAX))
            self._ended = True
            self._changed.notify_all()
            return False

    def _end_pass(self, delay: float) -> None:
        with self._changed:
            self._last_pass = time.monotonic()
            self._not_before = self._last_pass + delay
            self._pending = self._pending or self._backoff.error is not None
            self._passes += 1
            self._changed.notify_all()

    def _due(self) -> float:
        """When the next pass may start, on the monotonic clock."""
        if not self._pending:
            return float("inf")
        if self._waiting or self._finish_by is not None:
            return self._last_pass + (RETRY_INTERVAL if self._backoff.error is not None else 0.0)
        return self._not_before

    def _is_finished(self) -> bool:
        if self._abandoned:
            return True
        if self._finish_by is None or self._passes == self._finish_from:
            return False
        if self._backoff.error is None:
            return not self._pending
        return time.monotonic() + RETRY_INTERVAL > self._finish_by

    def _upload(self) -> None:
        if not self._checked:
            self._check()
        local = TXID(self._engine.pos[0])
        for number in range(self.replica.pos.txid + 1, local + 1):
            if number <= self.replica.pos.txid:
                continue  # a snapshot has gone ahead
            if self._abandoned:
                raise ReplicaTimeoutError("not all was uploaded when the time was over", op="close")
            self._advance(self._send(TXID(number)))
        if self._engine.status()["snapshot_wanted"] is not None:
            self._snapshot_due = "the page size has changed"
        if self._snapshot_due is not None:
            self._advance(self._heal(self._snapshot_due))
            self._snapshot_due = None
        self._engine.enforce_l0_retention(self.replica.pos.txid)
        if self._engine.pos[0] > local:
            # Made while this went on; whoever was waiting for it may have been told before and looked too early.
            self.notify()

    def _send(self, txid: TXID) -> TXID:
        """Upload the local L0 file of one TXID; how far the replica goes then."""
        path = self._engine.local_path(txid)
        if not os.path.exists(path):
            return self._heal(f"local file of {txid} is gone")
        self.replica.client.write_ltx_path(0, txid, txid, path)
        self.last_upload_ms = time.time_ns() // 1_000_000
        return txid

    def _advance(self, txid: TXID) -> None:
        with self._changed:
            if txid > self.replica.pos.txid:
                self.replica.advance(txid)
            self._changed.notify_all()

    def _check(self) -> None:
        """Find out what the replica holds; put back what it lost, or else give it a snapshot."""
        self.replica.advance(None)
        remote = list(self.replica.files())
        top = max((file.max_txid for file in remote), default=TXID(0))
        local = TXID(self._engine.pos[0])
        files = [_local_info(row) for row in self._engine.local_files()]
        self._refuse_foreign(top, local)
        self._refuse_other_content(remote, files)
        for file in _missing(remote, [file for file in files if file.max_txid <= top]):
            self._logger.warning("replica of %s lost %s, sending it again", self._path, file.name)
            self._send(file.max_txid)
        self.replica.advance(top)
        if _reach([*remote, *files]) < max(top, local):
            self._snapshot_due = "its chain of files has a hole"
        self._checked = True

    def _refuse_foreign(self, top: TXID, local: TXID) -> None:
        if top > max(local, self._baseline):
            raise BehindReplicaError(
                f"the replica of {self._path} holds {top}, but the local history ends at {local}",
                op="upload",
                path=os.fspath(self._path),
                max_txid=top,
                hint="another process may be writing to the same destination",
            )

    def _refuse_other_content(self, remote: list[FileInfo], files: list[FileInfo]) -> None:
        """Compare the newest file that is here and there by its checksum: going on from another would break the chain."""
        here = {file.max_txid for file in files}
        there = [file for file in remote if file.level == 0 and file.max_txid in here]
        if not there:
            return
        newest = max(there)
        path = self._engine.local_path(newest.max_txid)
        ours = _end(path)
        offset = max(newest.size - TRAILER_SIZE, 0)
        theirs = self.replica.client.read_ltx_file(
            0, newest.min_txid, newest.max_txid, offset=offset, size=TRAILER_SIZE
        )
        if ours != theirs:
            raise LTXFileExistsError(
                f"the replica of {self._path} has another file for {newest.max_txid}",
                op="upload",
                path=os.fspath(path),
                level=0,
                min_txid=newest.min_txid,
                max_txid=newest.max_txid,
                hint="another history was written to the same destination; use one that is empty",
            )

    def _heal(self, why: str) -> TXID:
        self._logger.warning("replica of %s gets a snapshot: %s", self._path, why)
        snapshot = self.snapshot()
        self.last_upload_ms = time.time_ns() // 1_000_000
        return snapshot.max_txid


def _end(path: str | os.PathLike[str]) -> bytes:
    with open(path, "rb") as file:
        file.seek(-TRAILER_SIZE, os.SEEK_END)
        return file.read()


def _local_info(row: tuple[int, int, int, int]) -> FileInfo:
    min_txid, max_txid, size, created_ms = row
    return FileInfo(0, TXID(min_txid), TXID(max_txid), size, from_millis(created_ms))


def _missing(remote: list[FileInfo], files: list[FileInfo]) -> list[FileInfo]:
    """Those of ``files`` that no file in the replica covers. Snapshots do not count: states between them do."""
    ranges = sorted((file.min_txid, file.max_txid) for file in remote if file.level < SNAPSHOT_LEVEL)
    missing: list[FileInfo] = []
    covered, at = 0, 0
    for file in sorted(files, key=lambda each: each.max_txid):
        while at < len(ranges) and ranges[at][0] <= file.min_txid:
            covered = max(covered, ranges[at][1])
            at += 1
        if covered < file.max_txid:
            missing.append(file)
    return missing


def _reach(files: list[FileInfo]) -> TXID:
    """How far a restore from these files can go: the last TXID of an unbroken chain that begins at 1."""
    reached = TXID(0)
    for file in sorted(files, key=lambda each: each.max_txid):
        # By ascending end, everything that a file may continue has been seen when its turn comes.
        if file.min_txid <= reached + 1:
            reached = file.max_txid
    return reached
