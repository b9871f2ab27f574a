"""restore(): rebuild a database from a replica; restore_plan(), restore_points(): what can be rebuilt, and from which files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

from ltxcore import _ltxcore
from ltxcore._process.arguments import check_parallelism, local_path
from ltxcore._process.awaiting import awaitable, cancellation
from ltxcore._process.times import argument_error, from_millis, millis_bound, parse_time
from ltxcore.clients import as_client
from ltxcore.clients.file import file_info, native
from ltxcore.errors import FormatError, IntegrityCheckError
from ltxcore.ltx import TXID, Checksum, FileInfo, Pos

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    from ltxcore.clients import ReplicaClient, Source

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class RestoreProgress:
    """How far a restore is: ``done`` of ``total`` bytes of LTX files, and how many files have proved sound."""

    done: int
    total: int
    files_done: int
    files_total: int


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """What a restore made.

    ``page_count`` pages of ``page_size`` bytes are at ``path``, the database as it was at ``pos``, from ``files``
    of ``bytes_read`` bytes together. Its last transaction was committed at ``created_at``.

    ``clamped`` is true if the time asked for is later than all that the replica holds, so that the newest state was
    restored. ``exact`` is false if further transactions are, or may be, from before the time asked for: they have been
    merged with later ones, so that the states between can no longer be restored.
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


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """What a restore would read: ``files`` in the order of their use, each after the one that it continues.

    ``clamped`` is true if the time asked for is later than all that the replica holds, so that the newest state would be
    restored.
    """

    files: tuple[FileInfo, ...]
    clamped: bool

    @property
    def txid(self) -> TXID:
        """The transaction that the database would be at."""
        return self.files[-1].max_txid

    @property
    def size(self) -> int:
        """Bytes of all files together."""
        return sum(file.size for file in self.files)


@dataclass(frozen=True, slots=True, order=True)
class RestorePoint:
    """A state that can be restored: after the transactions up to ``txid``, the last of them at ``created_at``.

    Restore it with ``txid=point.txid``: ``timestamp=point.created_at`` asks for a state from before that time.
    """

    txid: TXID
    created_at: datetime


def restore(
    source: Source,
    output: str | os.PathLike[str],
    *,
    txid: int | str | None = None,
    timestamp: datetime | str | None = None,
    parallelism: int = 8,
    overwrite: bool = False,
    integrity_check: Literal["none", "quick", "full"] = "none",
    journal_mode: Literal["keep", "delete"] = "keep",
    progress: Callable[[RestoreProgress], None] | None = None,
) -> RestoreResult:
    """Rebuild a database from a replica, at its newest state or at an earlier one.

    Every byte of every file is verified before the database appears at ``output``, under that name and whole, or not
    at all. Ctrl-C interrupts it within a moment. If files are merged and deleted in the replica meanwhile, the restore
    is planned again, up to five times.

    Args:
        source: the replica: its client, its URL, or the path of its directory.
        output: where the database goes.
        txid: the last transaction to be restored, a number or 16 hexadecimal digits.
        timestamp: restore the newest state from before this time, an aware datetime or ISO 8601 text with a zone. If the
            state right before it has been merged with later ones, ``exact`` is false in the result.
        parallelism: how many files or parts of files are read and decoded at once, 1 to 12.
        overwrite: replace a database that is there already, with its WAL, once the new one is whole. Owner and access
            rights are kept. No program may have it open; one that has a lock on it is noticed.
        integrity_check: let SQLite check the new database: not at all, with ``PRAGMA quick_check``, or with
            ``PRAGMA integrity_check``.
        journal_mode: leave the journal mode as the database has it (``"keep"``), or change a database in WAL mode to
            ``"delete"``, a rollback journal. Use ``"delete"`` for a database whose readers cannot write to its
            directory: in WAL mode SQLite has to create files beside it even to read.
        progress: called about twenty times a second, in the calling thread. An exception from it calls the restore off.

    Raises:
        OutputExistsError: ``output`` exists and ``overwrite`` is false.
        OutputInUseError: a program has the database open that should be replaced.
        NoSnapshotError: the replica is empty, or holds nothing from before ``timestamp``.
        TXIDNotAvailableError: no chain of files ends at ``txid``.
        PageSizeChangedError: files before and after a change of page size would have to be mixed.
        RestoreError: transactions are missing from the replica.
        IntegrityCheckError: SQLite found the result damaged; what was at ``output`` before is still there.
        FormatError: a file is damaged.
        ReplicaError: the storage failed.
        ConfigError: arguments that make no sense, such as both a TXID and a time. It is a ``ValueError``, too.
    """
    return restore_prepared(
        as_client(source),
        output_path(output),
        txid=_txid(txid),
        timestamp=timestamp,
        parallelism=parallelism,
        overwrite=overwrite,
        integrity_check=integrity_check,
        journal_mode=journal_mode,
        progress=progress,
    )


restore_async = awaitable(restore)


def restore_prepared(
    client: ReplicaClient,
    path: Path,
    *,
    txid: TXID | None = None,
    timestamp: datetime | str | None = None,
    parallelism: int = 8,
    overwrite: bool = False,
    integrity_check: Literal["none", "quick", "full"] = "none",
    journal_mode: Literal["keep", "delete"] = "keep",
    progress: Callable[[RestoreProgress], None] | None = None,
    prepare: Callable[[Path], None] | None = None,
) -> RestoreResult:
    """:func:`restore`, with a last step of the caller's.

    ``prepare`` gets the path of the new database when only its name is left to be given: an old database is locked then.
    """
    before = _before(txid, timestamp)
    check_parallelism(parallelism)
    if integrity_check not in ("none", "quick", "full"):
        raise argument_error(
            "integrity_check", f"integrity_check is none, quick or full: {integrity_check!r}"
        )
    if journal_mode not in ("keep", "delete"):
        raise argument_error("journal_mode", f"journal_mode is keep or delete: {journal_mode!r}")

    def verify(new: Path) -> None:
        _check(new, path, integrity_check)

    if (check := cancellation()) is not None:
        progress, prepare = _cancellable(check, progress), _cancellable(check, prepare)

    restored = _ltxcore.restore(
        native(client),
        os.fspath(path),
        txid=txid,
        timestamp_ms=before,
        parallelism=parallelism,
        overwrite=overwrite,
        rollback_journal=journal_mode == "delete",
        progress=None if progress is None else lambda *counts: progress(RestoreProgress(*counts)),
        verify=None if integrity_check == "none" else verify,
        prepare=prepare,
    )
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
    )


def _cancellable(check: Callable[[], None], call: Callable[[T], None] | None) -> Callable[[T], None]:
    """A callback that raises if ``check`` does, and else does what ``call`` does."""

    def checked(at: T) -> None:
        check()
        if call is not None:
            call(at)

    return checked


def output_path(output: str | os.PathLike[str]) -> Path:
    """Where a database goes.

    Raises:
        ConfigError: it is empty, which would mean the current directory, or a URL.
    """
    return local_path(output, "output", "output")


def restore_plan(
    source: Source, *, txid: int | str | None = None, timestamp: datetime | str | None = None
) -> RestorePlan:
    """Find out which files :func:`restore` would read. Nothing but names, sizes and times is looked at.

    Args:
        source: the replica: its client, its URL, or the path of its directory.
        txid: as for :func:`restore`.
        timestamp: as for :func:`restore`.

    Raises:
        NoSnapshotError: the replica is empty, or holds nothing from before ``timestamp``.
        TXIDNotAvailableError: no chain of files ends at ``txid``.
        RestoreError: transactions are missing from the replica.
        ReplicaError: the storage cannot be listed.
        ConfigError: arguments that make no sense, such as both a TXID and a time.
    """
    number = _txid(txid)
    before = _before(number, timestamp)
    plan = _ltxcore.restore_plan(native(as_client(source)), number, before)
    return RestorePlan(tuple(map(file_info, plan.files)), plan.clamped)


def restore_points(source: Source) -> list[RestorePoint]:
    """Every state that can be restored from a replica, oldest first.

    Args:
        source: the replica: its client, its URL, or the path of its directory.

    Raises:
        ReplicaError: the storage cannot be listed.
    """
    points = _ltxcore.restore_points(native(as_client(source)))
    return [RestorePoint(TXID(txid), from_millis(created_ms)) for txid, created_ms in points]


def _check(new: Path, path: Path, mode: str) -> None:
    """Let SQLite check the new database before it gets its name ``path``."""
    try:
        report = _ltxcore.integrity_check(os.fspath(new), mode)
    finally:
        for suffix in ("-wal", "-shm"):
            Path(f"{new}{suffix}").unlink(missing_ok=True)
    if report is None:
        return
    error = IntegrityCheckError(
        f"the restored database is damaged: {report}",
        op="restore",
        path=os.fspath(path),
        hint="restore without the check to look at it, or restore an earlier state",
    )
    error.report = report
    raise error


def _before(txid: TXID | None, timestamp: datetime | str | None) -> int | None:
    """The first millisecond that is not wanted any more.

    Raises:
        ConfigError: a TXID is asked for as well, or it is no time.
    """
    if txid is not None and timestamp is not None:
        raise argument_error("timestamp", "either a TXID or a time can be restored, not both")
    return None if timestamp is None else millis_bound(parse_time(timestamp))


def _txid(value: int | str | None) -> TXID | None:
    if value is None:
        return None
    try:
        return TXID.parse(value) if isinstance(value, str) else TXID(value)
    except FormatError as error:
        raise argument_error("txid", str(error), error.hint) from error
