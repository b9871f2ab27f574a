"""Replicas in the layout of Litestream 0.3: generations, snapshots and WAL segments.

:func:`ltxcore.restore` restores from them as from any other replica. This module lists what they hold, and restores a certain
generation and index. :class:`Replica` makes :class:`ltxcore.DB` write one. :func:`convert` writes such a history
as LTX files, and :func:`verify` reads everything of it::

    from ltxcore import legacy

    for each in legacy.generations("file:///var/backups/app"):
        print(each.generation, each.created_at, each.updated_at)

    legacy.restore("file:///var/backups/app", "restored.db", generation="8f3e5a1c90b7d246", index=2)

A replica in this layout is ``generations/<generation>/snapshots/<index>.snapshot.lz4``, a copy of the database, and
``generations/<generation>/wal/<index>_<offset>.wal.lz4``, the parts of each WAL file since. All are LZ4 frames.
"""

from __future__ import annotations

from ltxcore.legacy._convert import ConvertProgress, ConvertResult, convert
from ltxcore.legacy._damage import Damage
from ltxcore.legacy._history import (
    GenerationInfo,
    SnapshotInfo,
    WALSegmentInfo,
    generations,
    snapshots,
    wal_segments,
)
from ltxcore.legacy._pos import Pos
from ltxcore.legacy._replica import Replica
from ltxcore.legacy._restore import RestorePlan, RestoreResult, restore, restore_async, restore_plan
from ltxcore.legacy._verify import VerifyReport, verify

__all__ = [
    "ConvertProgress",
    "ConvertResult",
    "Damage",
    "GenerationInfo",
    "Pos",
    "Replica",
    "RestorePlan",
    "RestoreResult",
    "SnapshotInfo",
    "VerifyReport",
    "WALSegmentInfo",
    "convert",
    "generations",
    "restore",
    "restore_async",
    "restore_plan",
    "snapshots",
    "verify",
    "wal_segments",
]
