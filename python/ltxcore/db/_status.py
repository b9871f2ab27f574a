"""What a DB says about itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from datetime import datetime

    from ltxcore.ltx import TXID, Pos

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
class SyncStatus:
    """The state of replication.

    * ``pos``: the newest position in a local L0 file.
    * ``replica_txid``: the newest TXID that a restore from the replica contains; ``None`` until it is known.
    * ``is_ready``: the database file exists and is being followed.
    * ``is_current``: a restore from the replica, as it is now, contains everything that is in local L0 files. A directory is
      checked for this; for other storage it is the result of the last check.
    * ``wal_size``: size of the WAL in bytes.
    * ``last_sync``, ``last_upload``: times of the last L0 file and of the last upload.
    * ``last_error``: the error of the last attempt, or what keeps the replica from being restored; ``None`` if all is well.
    * ``full_syncs``, ``diff_syncs``, ``incremental_syncs``: numbers of L0 files with every page, with the pages that differ
      from the last known state, and with the pages that the WAL added.
    * ``reason``: why the last full or diff sync was necessary.
    * ``restarts``, ``checkpoints``: how often the WAL was reset, and how often ltxcore ran a checkpoint.
    * ``scan``: the progress of the pass over all pages that is running; ``None`` if none is. Until the first pass is over, the
      replica does not contain the database.
    * ``uploading_for``: how long the current upload has taken, in seconds; ``None`` if nothing is being uploaded.
    * ``has_ended``: replication has ended by itself and retries nothing; ``last_error`` says why. ``close`` and ``open`` start
      it again.
    """

    pos: Pos
    replica_txid: TXID | None
    is_ready: bool
    is_current: bool
    wal_size: int
    last_sync: datetime | None
    last_upload: datetime | None
    last_error: BaseException | None
    full_syncs: int
    diff_syncs: int
    incremental_syncs: int
    reason: str | None
    restarts: int
    checkpoints: int
    scan: ScanProgress | None
    uploading_for: float | None
    has_ended: bool
