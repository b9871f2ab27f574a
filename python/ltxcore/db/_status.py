"""What a DB says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime

    from ltxcore.ltx import TXID, Pos
    from ltxcore.replica import Replica, RequestCosts

#: SQLite's checkpoint modes.
CheckpointMode: TypeAlias = Literal["PASSIVE", "FULL", "RESTART", "TRUNCATE"]


@dataclass(frozen=True, slots=True)
class CheckpointResult:
    """What ``PRAGMA wal_checkpoint`` answers.

    * ``busy``: a lock kept the checkpoint from finishing.
    * ``wal_frames``: the number of frames in the WAL.
    * ``checkpointed_frames``: the number of these frames that are in the database file.
    """

    busy: bool
    wal_frames: int
    checkpointed_frames: int


@dataclass(frozen=True, slots=True)
class ScanProgress:
    """The progress of a pass over all pages of a database.

    * ``pages_done``, ``pages``: the number of pages that were read, and of all pages.
    * ``reason``: why the next L0 file needs a comparison of all pages; ``None`` if the pass has another purpose.
    """

    pages_done: int
    pages: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class ReplicaStatus:
    """The state of one destination.

    * ``replica``: which one.
    * ``txid``: the newest TXID that a restore from it contains; ``None`` until it is known.
    * ``is_current``: a restore from it, as it is now, contains everything that is in local L0 files. A replica in a directory
      is checked for this; for other storage, and for mirrors, it is the result of the last check.
    * ``last_upload``: time of the last upload.
    * ``last_error``: the error of the last attempt, or what keeps it from being restored; ``None`` if all is well.
    * ``uploading_for``: how long the current upload has taken, in seconds; ``None`` if nothing is being uploaded.
    * ``requests``: what was requested of it since the ``DB`` was opened, and what that costs; ``None`` if its client does not
      count requests.
    * ``has_ended``: uploads have ended by themselves and nothing is retried; ``last_error`` says why.
    """

    replica: Replica
    txid: TXID | None
    is_current: bool
    last_upload: datetime | None
    last_error: BaseException | None
    uploading_for: float | None
    requests: RequestCosts | None
    has_ended: bool


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """The state of replication.

    * ``pos``: the newest position in a local L0 file.
    * ``replica``: the state of the replica; ``None`` without one.
    * ``mirrors``: the state of each mirror.
    * ``is_ready``: the database file exists and is being followed.
    * ``is_current``: it is ready, and the replica is current.
    * ``wal_size``: size of the WAL in bytes.
    * ``last_sync``: time of the last L0 file.
    * ``last_error``: the error of the last attempt to follow the database, or that of the replica; ``None`` if all is well.
      Those of mirrors are in ``mirrors``.
    * ``full_syncs``, ``diff_syncs``, ``incremental_syncs``: numbers of L0 files with every page, with the pages that differ
      from the last known state, and with the pages that the WAL added.
    * ``reason``: why the last full or diff sync was necessary.
    * ``restarts``, ``checkpoints``: how often the WAL was reset, and how often ltxcore ran a checkpoint.
    * ``scan``: the progress of the pass over all pages that is running; ``None`` if none is. Until the first pass is over, the
      replica does not contain the database.
    * ``has_ended``: replication has ended by itself and retries nothing; ``last_error`` says why. ``close`` and ``open`` start
      it again. A mirror can end alone.
    """

    pos: Pos
    replica: ReplicaStatus | None
    mirrors: tuple[ReplicaStatus, ...]
    is_ready: bool
    is_current: bool
    wal_size: int
    last_sync: datetime | None
    last_error: BaseException | None
    full_syncs: int
    diff_syncs: int
    incremental_syncs: int
    reason: str | None
    restarts: int
    checkpoints: int
    scan: ScanProgress | None
    has_ended: bool
