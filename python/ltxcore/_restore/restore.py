"""restore(): rebuild a database from a replica."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ltxcore import _ltxcore
from ltxcore._process.awaiting import awaitable, cancellation
from ltxcore._process.restoring import (
    IntegrityCheck,
    JournalMode,
    RestoreProgress,
    cancellable,
    check_options,
    counting,
    output_path,
    verifier,
)
from ltxcore._process.times import argument_error, from_millis, parse_time, to_millis
from ltxcore._restore.cache import SIZE, opened
from ltxcore._restore.interrupted import Interrupted
from ltxcore._restore.older import naming_older
from ltxcore._restore.plans import planned_txid, time_bound, wanted_txid
from ltxcore._restore.update import Update
from ltxcore.clients import as_client
from ltxcore.clients._identity import lasting_name
from ltxcore.clients.file import FileClient, file_info, native
from ltxcore.ltx import TXID, Checksum, FileInfo, Pos

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from ltxcore import legacy
    from ltxcore.clients import ReplicaClient, Source


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """The result of a restore.

    * ``path``: the restored database.
    * ``pos``: the position that was restored.
    * ``page_size``, ``page_count``: size of a page in bytes, and number of pages.
    * ``files``, ``bytes_read``: the LTX files that were read, and their size together in bytes.
    * ``clamped``: the requested time is after the newest transaction, so the newest state was restored.
    * ``created_at``: the time of the last transaction that was restored.
    * ``exact``: false if later transactions are, or may be, from before the requested time. They were merged with later ones,
      so the states between can no longer be restored.
    * ``updated``: an earlier copy was brought up to date; ``files`` and ``bytes_read`` are what that took.
    * ``resumed``: the part of ``bytes_read`` that an earlier restore, which did not finish, had already read, in bytes.
    * ``legacy``: what was restored, if the replica has it in files of Litestream 0.3. ``pos`` is zero then, and ``files`` is
      empty.
    """

    path: Path
    pos: Pos
    page_size: int
    page_count: int
    files: tuple[FileInfo, ...]
    bytes_read: int
    clamped: bool
    created_at: datetime | None = None
    exact: bool = True
    updated: bool = False
    resumed: int = 0
    legacy: legacy.RestoreResult | None = None


def restore(
    source: Source,
    output: str | os.PathLike[str],
    *,
    txid: int | str | None = None,
    timestamp: datetime | str | None = None,
    parallelism: int = 8,
    overwrite: bool = False,
    update: bool = False,
    integrity_check: IntegrityCheck = "none",
    journal_mode: JournalMode = "keep",
    cache: str | os.PathLike[str] | None = None,
    cache_size: int = SIZE,
    progress: Callable[[RestoreProgress], None] | None = None,
) -> RestoreResult:
    """Rebuild a database from a replica, at its newest state or at an earlier one.

    Every byte of every file is verified. The database appears at ``output`` complete, or not at all. Ctrl-C interrupts the
    restore. If files of the replica are merged and deleted meanwhile, the restore is planned again, up to five times.

    A restore of at least 64 MiB that is not from a local directory can be resumed. If it is interrupted, killed, or fails
    because of the network or a full disk, what was read stays beside ``output``, in ``.<name>.ltxcore-partial``. The next
    restore of the same replica to the same ``output`` reads the rest.

    A replica may have files of Litestream 0.3 as well, from before an upgrade. They are restored if they have the newest
    state, or that of ``timestamp``: the rules are those of Litestream 0.5. :func:`ltxcore.legacy.restore` reads nothing else.

    Args:
        source: the replica: a client, a URL, or the path of a directory.
        output: the path of the restored database. Missing directories are created.
        txid: the last transaction to restore: a number, or 16 hexadecimal digits.
        timestamp: restore the newest state from before this time: an aware ``datetime``, or ISO 8601 text with a zone. If
            the state right before this time was merged with later ones, ``exact`` is false in the result.
        parallelism: the number of files, or parts of files, to read and decode at once: 1 to 12. With 2 or more, eight times as
            many are read at once from S3 and other servers that are read by URL.
        overwrite: replace an existing database, and its WAL, when the new one is complete. Owner and permissions are kept.
            No program may have the database open; a program that has it open in WAL mode, or in a transaction, is noticed.
        update: bring a database that was restored with ``update`` before, or followed, to the wanted state, and read only what
            has changed since. If there is no database, it is restored. The position is kept beside the database, in
            ``<output>-txid`` and ``<output>-ltxcore``. Merged files do not matter while one of the files that the database was
            made from is still in the replica. Everything is read again if another program wrote to the database, if the
            replica does not prove that it continues the database, and in most cases if the wanted state is an older one. The
            old database is replaced as with ``overwrite``.
        integrity_check: check the new database with ``PRAGMA quick_check`` (``"quick"``) or ``PRAGMA integrity_check``
            (``"full"``), or not at all (``"none"``).
        journal_mode: keep the journal mode of the database (``"keep"``), or change WAL mode to a rollback journal
            (``"delete"``). Use ``"delete"`` for readers that cannot write to the directory of the database: in WAL mode
            SQLite creates files beside it, even to read.
        cache: a local directory that keeps what is read of a remote replica, for later restores. It is created if it is missing
            and may be shared by replicas and processes. Use it for nothing else: ltxcore may delete what is in it. A directory
            that has other files in it, or that other users own or may write to, is not used: that is logged, and is no error.
        cache_size: how much the cache may hold, in bytes, at least 1 MiB. The least recently used content is removed.
        progress: a function that is called about twenty times a second, in the calling thread. Raise an exception in it to
            stop the restore.

    Returns:
        What was restored.

    Raises:
        OutputExistsError: ``output`` exists, ``overwrite`` is false, and ``update`` does not know what it is.
        OutputInUseError: a program has the database open that would be replaced.
        NoSnapshotError: the replica does not exist, is empty, or has nothing from before ``timestamp``.
        TXIDNotAvailableError: the state at ``txid`` cannot be restored.
        PageSizeChangedError: the page size changed, and no snapshot from after the change exists.
        RestoreError: transactions are missing from the replica.
        IntegrityCheckError: SQLite found the result damaged; ``output`` was not changed.
        FormatError: a file is damaged.
        ReplicaError: the storage failed.
        ConfigError: an argument has an impossible value, or both a TXID and a time were given. It is a ``ValueError``, too.
    """
    client, path, number = as_client(source), output_path(output), wanted_txid(txid)
    check_options(parallelism, integrity_check, journal_mode)
    if number is None and (found := find_legacy(client, timestamp)) is not None:
        _refuse_update(update)
        from ltxcore.legacy._restore import restore_found  # few need it

        restored = restore_found(
            client,
            found,
            path,
            timestamp=timestamp,
            parallelism=parallelism,
            overwrite=overwrite,
            integrity_check=integrity_check,
            journal_mode=journal_mode,
            progress=progress,
        )
        return of_legacy(restored)
    with opened(client, cache, cache_size) as blocks:
        return _restore(
            client,
            path,
            txid=number,
            timestamp=timestamp,
            parallelism=parallelism,
            overwrite=overwrite,
            update=update,
            integrity_check=integrity_check,
            journal_mode=journal_mode,
            progress=progress,
            cache=blocks,
        )


restore_async = awaitable(restore)


def find_legacy(client: ReplicaClient, timestamp: datetime | str | None) -> _ltxcore.LegacyHistory | None:
    """The files of Litestream 0.3 of a replica, if they have the state that is wanted."""
    if type(client) is FileClient and not (client.path / "generations").is_dir():
        return None
    from ltxcore.legacy._choice import preferred  # few need it

    return preferred(client, None if timestamp is None else to_millis(parse_time(timestamp)))


def _refuse_update(update: bool) -> None:
    if update:
        raise argument_error(
            "update",
            "the wanted state is in files of Litestream 0.3, which cannot be read in part",
            "leave out update (--update); use overwrite (--force) if the database is there already",
        )


def of_legacy(restored: legacy.RestoreResult) -> RestoreResult:
    """The result of a restore of v0.3 files, in the form of every other one."""
    return RestoreResult(
        path=restored.path,
        pos=Pos(TXID(0), Checksum(0)),
        page_size=restored.page_size,
        page_count=restored.page_count,
        files=(),
        bytes_read=restored.bytes_read,
        clamped=restored.clamped,
        created_at=restored.created_at,
        legacy=restored,
    )


def _restore(
    client: ReplicaClient,
    path: Path,
    *,
    txid: TXID | None,
    timestamp: datetime | str | None,
    overwrite: bool,
    update: bool,
    **options: Any,  # noqa: ANN401 - those of restore_prepared
) -> RestoreResult:
    """Restore, or bring a copy up to date."""

    def run(number: TXID | None, known: Update | None) -> RestoreResult:
        return restore_prepared(
            client,
            path,
            txid=number,
            timestamp=timestamp,
            overwrite=overwrite if known is None else known.overwrite,
            update=known,
            **options,
        )

    if not update:
        return run(txid, None)
    before = time_bound(txid, timestamp)
    known = Update(client, path, overwrite=overwrite)
    known.look(txid if before is None else planned_txid(client, before))
    return run(txid, known)


def restore_prepared(
    client: ReplicaClient,
    path: Path,
    *,
    txid: TXID | None = None,
    timestamp: datetime | str | None = None,
    parallelism: int = 8,
    overwrite: bool = False,
    integrity_check: IntegrityCheck = "none",
    journal_mode: JournalMode = "keep",
    progress: Callable[[RestoreProgress], None] | None = None,
    prepare: Callable[[Path], None] | None = None,
    finish: Callable[[_ltxcore.Restored], None] | None = None,
    update: Update | None = None,
    cache: _ltxcore.Cache | None = None,
) -> RestoreResult:
    """:func:`restore`, with last steps of the caller's.

    ``prepare`` gets the path of the new database when only its name is left to be given: an old database is locked then.
    ``finish`` gets what was made when it has its name.
    """
    before = time_bound(txid, timestamp)
    check_options(parallelism, integrity_check, journal_mode)
    interrupted = Interrupted(path)
    if update is not None:
        prepare, finish = update.prepared, update.finish
    if (check := cancellation()) is not None:
        progress, prepare = cancellable(check, progress), cancellable(check, prepare)

    with interrupted, naming_older(client, "they have no TXIDs; leave out the TXID to restore them"):
        restored = _ltxcore.restore(
            native(client),
            os.fspath(path),
            txid=txid,
            timestamp_ms=before,
            parallelism=parallelism,
            overwrite=overwrite,
            rollback_journal=journal_mode == "delete",
            base=None if update is None else update.base,
            past=None if update is None else update.past,
            keeps_past=update is not None,
            replica=lasting_name(client),
            cache=cache,
            progress=counting(progress),
            verify=verifier(path, integrity_check),
            prepare=prepare,
            kept=interrupted.note,
        )
    if finish is not None:
        finish(restored)
    return RestoreResult(
        path=path,
        pos=Pos(TXID(restored.txid), Checksum(restored.checksum)),
        page_size=restored.page_size,
        page_count=restored.page_count,
        files=tuple(map(file_info, restored.files)),
        bytes_read=restored.bytes_read,
        clamped=restored.clamped,
        created_at=from_millis(restored.created_ms),
        exact=restored.exact,
        updated=restored.is_update,
        resumed=restored.resumed,
    )
