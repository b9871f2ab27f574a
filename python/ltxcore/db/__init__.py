"""One database, its position, and its way into a replica."""

from ltxcore.db._db import DB, replicate
from ltxcore.db._status import CheckpointMode, CheckpointResult, ReplicaStatus, ScanProgress, SyncStatus

__all__ = [
    "DB",
    "CheckpointMode",
    "CheckpointResult",
    "ReplicaStatus",
    "ScanProgress",
    "SyncStatus",
    "replicate",
]
