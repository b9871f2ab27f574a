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

    ``busy`` is true if something kept the checkpoint from finishing; ``wal_frames`` is the number of frames in the
    WAL, ``checkpointed_frames`` how many of them are in the database file now.
    """

    busy: bool
    wal_frames: int
    checkpointed_frames: int


@dataclass(frozen=True, slots=True)
class ScanProgress:
    """A pass over all pages of a database that is under way.

    * ``pages_done``, ``pages``: how many pages were read, and how many there are.
    * ``reason``: why the next L0 file takes a comparison of all pages; ``None`` if the pass is for something else.
    """

    pages_done: int
    pages: int
    reason: str | None


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """How replication is going.

    * ``pos``: the newest position that is in a local L0 file.
    * ``replica_txid``: the newest TXID that a restore from the replica contains; ``None`` as long as that is not known.
    * ``is_ready``: the database file exists and is being followed.
    * ``is_current``: a restore from the replica, as it is now, contains all that was turned into L0 files. A directory is
      looked at for that; elsewhere it is what the last look has shown.
    * ``wal_size``: bytes of the WAL.
    * ``last_sync``, ``last_upload``: when something was last turned into an L0 file, and uploaded.
    * ``last_error``: what the latest attempt failed with, or what keeps the replica from being restored; ``None`` if all
      is well.
    * ``full_syncs``, ``diff_syncs``, ``incremental_syncs``: L0 files with every page, with the pages that differ
      from the last known state, and with what the WAL added.
    * ``reason``: why the last full or diff sync was necessary.
    * ``restarts``, ``checkpoints``: how often the WAL began anew, and how often we wrote it back.
    * ``scan``: how far the pass over all pages is that is under way; ``None`` while none is. Until the first one is over, the
      replica does not have the database.
    * ``uploading_for``: for how many seconds the file that is being uploaded has been; ``None`` while nothing is.
    * ``has_ended``: replication has ended by itself, and retries nothing: ``last_error`` says why. ``close`` and ``open`` begin
      again.
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
