"""Copying the local L0 files of one database into its replica, one pass after the other."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from typing import TYPE_CHECKING

from ltxcore import _ltxcore
from ltxcore._process.log import Log
from ltxcore._process.watchdog import WatchedCall
from ltxcore.clients.file import FileClient, native
from ltxcore.db._ledger import Ledger
from ltxcore.db._reconcile import Reconciler
from ltxcore.db._soundness import position
from ltxcore.db._survey import Survey
from ltxcore.errors import (
    DatabaseError,
    Error,
    FormatError,
    ReplicaError,
    ReplicaPermissionError,
    ReplicaTimeoutError,
    RestoreError,
)
from ltxcore.legacy._history import find_history
from ltxcore.ltx import SNAPSHOT_LEVEL, TXID, FileInfo
from ltxcore.replica._inventory import Key, file_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from ltxcore._process.log import Logger
    from ltxcore.db._agreement import Party
    from ltxcore.db._destination import Known
    from ltxcore.db._presence import Presence
    from ltxcore.replica import Replica
    from ltxcore.replica._limit import RequestLimit


class Copier:
    """A :class:`~ltxcore.db._destination.Destination` in the layout of LTX files.

    Copies the local files, in order, and finds out what of them can be restored.

    Args:
        engine: the native database.
        replica: where to.
        path: the database file.
        meta_path: the directory of the local files.
        presence: whether the database file is there. Nothing is written for one that is gone.
        party: what it has to say to the other destinations.
        check_lease: called before anything is written; raises if it must not be.
        advanced: called whenever more is known to be in the replica.
        logger: where it is reported what the replica lost.
    """

    def __init__(
        self,
        engine: _ltxcore.Database,
        replica: Replica,
        path: Path,
        meta_path: Path,
        presence: Presence,
        party: Party,
        *,
        check_lease: Callable[[], None],
        advanced: Callable[[], None],
        logger: Logger,
    ) -> None:
        self.last_upload_ms: int | None = None
        self.is_abandoned = False
        self.is_held = False
        self._survey = Survey(replica.client)
        self._log = Log(logger)
        self._under_way = WatchedCall(f"upload of {path} has not finished a file for", self._log)
        self._engine = engine
        self._replica = replica
        self._path = path
        self._meta_path = meta_path
        self._presence = presence
        self._check_lease = check_lease
        self._advanced = advanced
        # The local files are a replica like any other.
        self._local = FileClient(meta_path)
        self._party = party
        self._ledger = Ledger(replica.client, meta_path, party.number)
        self._reconciler = Reconciler(engine, self._survey, path, presence, self._ledger, self._log)
        # Where the replica ended when the database was opened, and the last local file that it has got.
        self._baseline = self._sent = TXID(0)
        # Damaged files that may not be deleted.
        self._irremovable: set[Key] = set()
        self._uploading = threading.Lock()
        # Another one each time the local history is taken from the replica.
        self._history = object()
        # Whether the pass that runs has uploaded anything, and what may hold it back.
        self._has_stored = False
        self._limit: RequestLimit | None = None

    @property
    def known(self) -> Known | None:
        """See :class:`~ltxcore.db._destination.Destination`, as for all that follows."""
        return self._survey.known

    @property
    def sent(self) -> TXID:
        """The last local file that the replica has got."""
        return self._sent

    @property
    def due(self) -> float:
        """Never: without news there is nothing to do."""
        return float("inf")

    @property
    def busy_for(self) -> float | None:
        """For how many seconds the file that is being uploaded has been; ``None`` while nothing is."""
        return self._under_way.seconds

    @property
    def conflict(self) -> Error | None:
        """What no retry can end: another writer has continued the same history in the replica."""
        return self._reconciler.conflict

    def is_settled(self) -> bool:
        """Whether what was known at the end of the last pass is still true, as far as that can be told for nothing."""
        return self._survey.is_settled()

    def is_confirmed(self, since: float) -> bool:
        """Whether what is known was seen to be true after ``since``."""
        return self._survey.is_confirmed(since)

    def forget(self) -> None:
        """What is known may be wrong."""
        self._survey.forget()

    def remote_txid(self) -> TXID:
        """The TXID after which the local history has to continue, as the replica is now."""
        with WatchedCall(f"listing of the replica of {self._path} has not ended for", self._log):
            self._replica.client.init()
            known = bool(self._survey.files.sizes)
            has_local = any((self._meta_path / "ltx/0").glob("*.ltx"))
            with self._uploading:
                self._history = object()
                self._party.begin_anew()
                self._baseline = position(
                    self._replica.client, self._survey.look_ahead, is_empty_odd=known, has_local=has_local
                )
        self._survey.forget()
        # Elsewhere it would be a request, which may be limited.
        if not self._baseline and self._replica.client.capabilities.is_local:
            self._warn_of_legacy()
        return self._baseline

    def _warn_of_legacy(self) -> None:
        """Say that a replica that is begun has files of Litestream 0.3, whose readers see nothing of what comes now."""
        with contextlib.suppress(Error):
            if find_history(self._replica.client) is not None:
                self._log.warning(
                    "replica of %s has files of Litestream 0.3, and gets LTX files beside them, which Litestream 0.3 cannot "
                    "read: replicate with --layout v0.3 (legacy.Replica) for its readers; to keep its history in LTX files, "
                    "run `ltxcore convert` to an empty place first",
                    self._path,
                )

    def adopt_chain(self, txid: TXID) -> None:
        """Let the engine know what the replica holds at ``txid``, so that only pages that differ are uploaded."""
        try:
            with self._chain_checksums("chain-checksums", txid) as (path, page_size):
                self._engine.adopt(path, page_size, txid)
            self._reconciler.adopt(txid)
        except (FormatError, RestoreError) as error:
            if (key := _damaged_by(error)) is not None:
                self._survey.add_damaged(key)
            self._log.warning(
                "replica of %s cannot be restored at %s, so every page is uploaded: %s",
                self._path,
                txid,
                error,
            )

    def run(self, *, is_awaited: bool, is_last: bool) -> bool:
        """One pass: upload what is new; before that, compare the replica with the local files where it has changed.

        Args:
            is_awaited: somebody waits for it. Only then, or after uploads, or now and then where that costs no request,
                is the replica listed without a reason.
            is_last: the database is being closed. No limit holds the uploads back then.

        Returns:
            Whether anything was uploaded.
        """
        self._has_stored = self.is_held = False
        self._limit = None if is_last else self._replica.limit
        if not self._presence.is_gone() and self._engine.page_size is not None:
            self._run(is_awaited=is_awaited, is_last=is_last)
        return self._has_stored

    def _run(self, *, is_awaited: bool, is_last: bool) -> None:
        with self._under_way:
            self._party.snapshots.clean()
            local, sent = self._engine.pos.txid, self._sent
            if not self._survey.is_settled():
                self._reconcile(local)
                if self._presence.is_gone():
                    return
            # What the replica never had is no difference.
            self._send_new(local)
            if not self.is_held and self._is_due(
                is_awaited=is_awaited, is_idle=self._sent == sent and not is_last
            ):
                self._reconcile(local)
            known = self._survey.known
            if known is not None:
                # The last one that the replica has stays: after a crash it shows that the replica is of this history.
                self._party.needs_no_file_to(TXID(max(min(self._sent, known.reach) - 1, 0)))

    def _is_due(self, *, is_awaited: bool, is_idle: bool) -> bool:
        if is_idle and not is_awaited:
            return self._survey.is_idle_due()
        return self._survey.is_due(is_awaited=is_awaited)

    def snapshot(self, claim: Callable[[TXID], None]) -> FileInfo:
        """Upload the whole database as one file of level 9.

        Args:
            claim: waits until the local files up to a TXID are in the replica. A snapshot replaces them in a restore, so
                until then it would put our transactions in the place of those of another writer.
        """

        def store(txid: TXID, path: Path) -> FileInfo:
            claim(txid)
            return self._write_snapshot(txid, path)

        stored = self._make_snapshot(store)
        self._survey.note(stored)
        return stored

    def compact(self, level: int) -> FileInfo | None:
        """Merge new files of the level below into one of ``level``."""
        try:
            stored = self._merge(level)
        except Error as error:
            # It may have found that files are missing.
            if (key := _damaged_by(error)) is not None:
                self._survey.add_damaged(key)
            self._survey.expire()
            raise
        if stored is not None:
            self._survey.note(stored)
        return stored

    def _merge(self, level: int) -> FileInfo | None:
        self._check_lease()
        try:
            return self._replica.compact(level)
        except RestoreError:
            # The file that is missing may just be being replaced: once more, while nothing is.
            with self._uploading:
                return self._replica.compact(level)

    @contextlib.contextmanager
    def _chain_checksums(self, name: str, txid: TXID) -> Iterator[tuple[str, int]]:
        """A file with the checksums of all pages of the replica at ``txid``, and their size.

        After a crash the engine removes it.
        """
        path = self._meta_path / "ltxcore" / f"{name}-{self._party.number}.tmp"
        path.unlink(missing_ok=True)
        client = native(self._replica.client)
        try:
            with WatchedCall(f"reading of the replica of {self._path} has not ended for", self._log):
                page_size, _ = _ltxcore.chain_checksums(client, os.fspath(path), txid=txid)
            yield os.fspath(path), page_size
        finally:
            path.unlink(missing_ok=True)

    def _compare(self, txid: TXID) -> _ltxcore.ChainComparison | None:
        """How many pages of the replica at ``txid`` are not those of the database then, and of how many.

        ``None`` if that is not known.

        Raises:
            RestoreError: the files there do not make a database.
        """
        try:
            with self._chain_checksums("chain-compared", txid) as (path, page_size):
                found = self._engine.compare_chain(path, page_size, txid)
                if found is None:
                    # What has been written while nobody replicated has to be in a local file first.
                    self._engine.sync()
                    found = self._engine.compare_chain(path, page_size, txid)
                return found
        except FormatError as error:
            if (key := _damaged_by(error)) is not None:
                self._survey.note_damaged(key)
            return None

    def _reconcile(self, local: TXID) -> None:
        wanted = self._wanted_snapshot(local)
        differs = self._reconciler.run(
            local,
            sent=self._sent,
            baseline=self._baseline,
            snapshot_first=wanted,
            send=self._send,
            heal=self._heal,
            compare=self._compare,
            is_abandoned=lambda: self.is_abandoned,
        )
        if differs:
            self._sent = local
        self._progress()

    def _send_new(self, local: TXID) -> None:
        """Upload the local files that are new; what is out of the ordinary takes a comparison of everything."""
        is_plain = self._wanted_snapshot(local) is None
        for number in range(self._sent + 1, local + 1):
            self.is_held = self._limit is not None and self._limit.delay() > 0
            if self.is_held:
                # The file stays here until it is its turn.
                break
            is_plain = is_plain and (0, number, number) not in self._survey.files.damaged
            if not is_plain or not self._send(TXID(number)):
                self._survey.forget()
                self._reconcile(local)
                return
            self._sent = TXID(number)
        self._progress()

    def _send(self, txid: TXID) -> bool:
        """Upload the local L0 file of one TXID, in place of a damaged one; false if it is gone, or damaged itself."""
        if self.is_abandoned:
            raise ReplicaTimeoutError("not all was uploaded when the time was over", op="close")
        self._check_lease()
        key, files, client = (0, txid, txid), self._survey.files, self._replica.client
        # Not while the local history is taken from the replica: it could go on from below this TXID, with another file.
        with self._uploading:
            if not self._engine.check_local(txid):
                return False
            if key in files.damaged and not self._remove_damaged(key):
                return False
            self._store(key, self._local.locate(*key), lambda file: client.copy_ltx_file(file, self._local))
        self._survey.extend(txid)
        self._progress()
        return True

    def _remove_damaged(self, key: Key) -> bool:
        """Make room for the sound file, since at level 0 no client may replace one; false where that is not allowed.

        Then a snapshot has to cover it. That is asked once.
        """
        if key in self._irremovable:
            return False
        file = file_of(key, self._survey.files.sizes[key])
        self._log.warning("replica of %s has a damaged %s, replacing it", self._path, file.name)
        try:
            self._replica.client.delete_ltx_files([file])
        except ReplicaPermissionError as error:
            self._log.warning("replica of %s gets a snapshot instead: %s", self._path, error)
            self._irremovable.add(key)
        return key not in self._irremovable

    def _heal(self, why: str) -> None:
        self._log.warning("replica of %s gets a snapshot: %s", self._path, why)
        self._make_snapshot(
            lambda txid, path: self._store(
                (SNAPSHOT_LEVEL, 1, txid), path, lambda _: self._write_snapshot(txid, path)
            )
        )
        self._limit_survey()
        self._progress()

    def _make_snapshot(self, store: Callable[[TXID, Path], FileInfo]) -> FileInfo:
        """Upload a snapshot of the history that it is from: a later one may use the same TXIDs for something else."""
        history = self._history

        def store_if_current(txid: TXID, path: Path) -> FileInfo:
            stored = store(txid, path)
            with self._uploading:
                if self._history is history:
                    return stored
            self._replica.client.delete_ltx_files([stored])
            raise DatabaseError(
                f"the local history of {self._path} was begun anew while a snapshot was made",
                op="snapshot",
                path=os.fspath(self._path),
            )

        stored = self._party.snapshots.make(store_if_current)
        self._party.has_snapshot(stored.max_txid)
        return stored

    def _write_snapshot(self, txid: TXID, path: Path) -> FileInfo:
        self._check_lease()
        return self._replica.client.write_ltx_path(SNAPSHOT_LEVEL, TXID(1), txid, path)

    def _store(self, key: Key, path: Path, write: Callable[[FileInfo], FileInfo]) -> FileInfo:
        """Upload one file, which is at ``path``; what the client answers has to be the whole of it."""
        self._check_lease()
        level, min_txid, max_txid = key
        size = os.stat(path).st_size
        with self._survey.storing(key, size):
            stored = write(file_of(key, size))
            if stored.size != size:
                raise ReplicaError(
                    f"the replica of {self._path} stored {stored.size} of {size} bytes of {stored.name}",
                    op="write",
                    level=level,
                    min_txid=TXID(min_txid),
                    max_txid=TXID(max_txid),
                )
        self._ledger.add(key, path)
        self._has_stored = True
        self.last_upload_ms = time.time_ns() // 1_000_000
        return stored

    def _progress(self) -> None:
        self._under_way.advance()
        self._advanced()

    def _wanted_snapshot(self, local: TXID) -> str | None:
        """Why a snapshot has to come before the next local file, if it has to."""
        wanted = self._limit_survey()
        if wanted is None or wanted > local:
            return None
        return f"nothing from {wanted} on can be restored without one"

    def _limit_survey(self) -> TXID | None:
        """From where on nothing can be restored without a snapshot, as the engine knows; noted in the survey."""
        bound = self._party.snapshot_wanted()
        self._survey.limit(bound)
        return bound


def _damaged_by(error: Error) -> Key | None:
    """The file that an error of reading names as damaged, if it does: no listing has to show that."""
    if not isinstance(error, FormatError) or error.level is None:
        return None
    return (error.level, error.min_txid or 0, error.max_txid or 0)
