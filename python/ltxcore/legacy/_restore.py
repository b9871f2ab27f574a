"""restore(): rebuild a database from a v0.3 replica."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
from ltxcore.clients import as_client
from ltxcore.errors import ObjectNotFoundError
from ltxcore.legacy._history import generations_of, history, segment_info, snapshot_info
from ltxcore.legacy._place import place_of
from ltxcore.legacy._pos import MAX_INDEX, Pos, check_generation

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime
    from pathlib import Path

    from ltxcore.clients import ReplicaClient, Source
    from ltxcore.legacy._history import SnapshotInfo, WALSegmentInfo

#: How often a restore is planned at most.
_PLANS = 5


@dataclass(frozen=True, slots=True)
class RestorePlan:
    """The files that a restore would read, in this order."""

    snapshot: SnapshotInfo
    segments: tuple[WALSegmentInfo, ...]

    @property
    def size(self) -> int:
        """Size of all files together, in bytes."""
        return self.snapshot.size + sum(file.size for file in self.segments)

    @property
    def created_at(self) -> datetime:
        """When the newest of them was stored."""
        return max([self.snapshot.created_at, *(file.created_at for file in self.segments)])


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """The result of a restore from a v0.3 replica.

    * ``path``: the restored database.
    * ``pos``: the position that was restored.
    * ``page_size``, ``page_count``: size of a page in bytes, and number of pages; both 0 for an empty database.
    * ``snapshot``, ``segments``: the files that were read.
    * ``bytes_read``: their size together, in bytes.
    * ``created_at``: when the newest of them was stored.
    * ``clamped``: the requested time is after the newest file, so the newest state was restored.
    """

    path: Path
    pos: Pos
    page_size: int
    page_count: int
    snapshot: SnapshotInfo
    segments: tuple[WALSegmentInfo, ...]
    bytes_read: int
    created_at: datetime
    clamped: bool = False


def restore(
    source: Source,
    output: str | os.PathLike[str],
    *,
    generation: str | None = None,
    index: int | str | None = None,
    timestamp: datetime | str | None = None,
    parallelism: int = 8,
    overwrite: bool = False,
    integrity_check: IntegrityCheck = "none",
    journal_mode: JournalMode = "keep",
    progress: Callable[[RestoreProgress], None] | None = None,
) -> RestoreResult:
    """Rebuild a database from a replica in the layout of Litestream 0.3.

    :func:`ltxcore.restore` does so, too, where such a replica has the newest state. This function reads nothing but this
    layout, and can restore a certain generation and index.

    Every frame of every WAL segment is verified, as is the checksum of every file. The database appears at ``output``
    complete, or not at all. The history counts that has the newest file of all that may be used, and its newest snapshot.

    Args:
        source: the replica: a client, an object store, a URL, or the path of a directory.
        output: the path of the restored database. Missing directories are created.
        generation: restore from this generation: 16 hexadecimal digits.
        index: the last WAL file of ``generation`` to restore from: a number from 0 to 0x7FFFFFFF, or its hexadecimal digits.
        timestamp: use no file that was stored after this time: an aware ``datetime``, or ISO 8601 text with a zone.
        parallelism: the number of files to read at once: 1 to 12.
        overwrite: replace an existing database, and its WAL, when the new one is complete. Owner and permissions are kept.
            No program may have the database open.
        integrity_check: check the new database with ``PRAGMA quick_check`` (``"quick"``) or ``PRAGMA integrity_check``
            (``"full"``), or not at all (``"none"``).
        journal_mode: keep the journal mode of the database (``"keep"``), or change WAL mode to a rollback journal
            (``"delete"``).
        progress: a function that is called while files are read, in the calling thread. Raise an exception in it to stop
            the restore.

    Returns:
        What was restored.

    Raises:
        NoSnapshotError: there is no generation, not the wanted one, or no snapshot that is old enough.
        RestoreError: a WAL segment is missing.
        FormatError: a file is damaged, or does not continue the one before; or ``generation`` is not 16 hexadecimal digits.
        OutputExistsError: ``output`` exists, and ``overwrite`` is false.
        OutputInUseError: a program has the database open that would be replaced.
        IntegrityCheckError: SQLite found the result damaged; ``output`` was not changed.
        ReplicaError: the storage failed.
        ConfigError: an argument has an impossible value, or the client is not one of a directory or an object store.
    """
    return restore_found(
        as_client(source),
        None,
        output_path(output),
        generation=generation,
        index=index,
        timestamp=timestamp,
        parallelism=parallelism,
        overwrite=overwrite,
        integrity_check=integrity_check,
        journal_mode=journal_mode,
        progress=progress,
    )


restore_async = awaitable(restore)
restore_async.__doc__ = (
    """:func:`ltxcore.legacy.restore`, without blocking the event loop; see :func:`ltxcore.restore_async`."""
)


def restore_found(
    client: ReplicaClient,
    found: _ltxcore.LegacyHistory | None,
    path: Path,
    *,
    generation: str | None = None,
    index: int | str | None = None,
    timestamp: datetime | str | None = None,
    parallelism: int,
    overwrite: bool,
    integrity_check: IntegrityCheck,
    journal_mode: JournalMode,
    progress: Callable[[RestoreProgress], None] | None,
) -> RestoreResult:
    """:func:`restore` where it may be known already what the replica holds."""
    wanted = _Wanted.of(generation, index, timestamp)
    check_options(parallelism, integrity_check, journal_mode)
    store, prefix = place_of(client)
    prepare: Callable[[Path], None] | None = None
    if (check := cancellation()) is not None:
        progress, prepare = cancellable(check, progress), cancellable(check, None)
    found = history(client) if found is None else found
    plan = wanted.plan(found)
    # Files may be deleted while it runs.
    for number in range(_PLANS):
        try:
            made = _ltxcore.legacy_restore(
                plan,
                store,
                prefix,
                os.fspath(path),
                parallelism=parallelism,
                overwrite=overwrite,
                rollback_journal=journal_mode == "delete",
                progress=counting(progress),
                verify=verifier(path, integrity_check),
                prepare=prepare,
            )
            break
        except ObjectNotFoundError:
            found = history(client)
            before, plan = plan_of(plan), wanted.plan(found)
            if number == _PLANS - 1 or plan_of(plan) == before:
                raise
    read, (page_size, page_count, end, offset) = plan_of(plan), made
    return RestoreResult(
        path=path,
        pos=Pos(plan.generation, end, offset),
        page_size=page_size,
        page_count=page_count,
        snapshot=read.snapshot,
        segments=read.segments,
        bytes_read=read.size,
        created_at=from_millis(plan.created_ms),
        clamped=wanted.is_after(found),
    )


def restore_plan(
    source: Source,
    *,
    generation: str | None = None,
    index: int | str | None = None,
    timestamp: datetime | str | None = None,
) -> RestorePlan:
    """Find out which files :func:`restore` would read. Nothing but names, sizes and times is looked at.

    Args:
        source: the replica: a client, an object store, a URL, or the path of a directory.
        generation: as for :func:`restore`.
        index: as for :func:`restore`.
        timestamp: as for :func:`restore`.

    Raises:
        NoSnapshotError: there is no generation, not the wanted one, or no snapshot that is old enough.
        RestoreError: a WAL file is missing, or the start of one.
        FormatError: ``generation`` is not 16 hexadecimal digits.
        ReplicaError: the storage cannot be listed.
        ConfigError: an argument has an impossible value, or the client is not one of a directory or an object store.
    """
    wanted = _Wanted.of(generation, index, timestamp)
    return plan_of(wanted.plan(history(as_client(source))))


@dataclass(frozen=True, slots=True)
class _Wanted:
    """Which state is wanted: no other generation, nothing after a time in milliseconds, no WAL file after an index."""

    generation: str | None = None
    index: int | None = None
    until_ms: int | None = None

    @classmethod
    def of(cls, generation: str | None, index: int | str | None, timestamp: datetime | str | None) -> _Wanted:
        """The state that the arguments of a restore mean.

        Raises:
            ConfigError: one of them has an impossible value.
            FormatError: it is no generation.
        """
        if generation is not None:
            check_generation(generation)
        number = _index(index)
        if index is not None and generation is None:
            raise argument_error(
                "index", "an index without a generation: each generation has its own", "give both"
            )
        return cls(generation, number, None if timestamp is None else to_millis(parse_time(timestamp)))

    def is_after(self, found: _ltxcore.LegacyHistory) -> bool:
        """Whether a time is wanted that is after everything there is."""
        wanted = (each for each in generations_of(found) if self.generation in (None, each.generation))
        return self.until_ms is not None and all(
            to_millis(each.updated_at) < self.until_ms for each in wanted
        )

    def plan(self, found: _ltxcore.LegacyHistory) -> _ltxcore.LegacyPlan:
        """The files that lead there."""
        return found.plan(self.generation, self.until_ms, self.index)


def _index(index: int | str | None) -> int | None:
    try:
        number = int(index, 16) if isinstance(index, str) else index
    except ValueError:
        number = -1
    if number is not None and not 0 <= number <= MAX_INDEX:
        raise argument_error(
            "index",
            f"not an index: {index!r}",
            f"an index is a number from 0 to {MAX_INDEX}, or its hexadecimal digits, such as '0000001f'",
        )
    return number


def plan_of(plan: _ltxcore.LegacyPlan) -> RestorePlan:
    """A plan of the native side, as Python shows it."""
    generation = plan.generation
    return RestorePlan(
        snapshot_info(generation, plan.snapshot),
        tuple(segment_info(generation, row) for row in plan.segments),
    )
