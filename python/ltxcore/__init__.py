"""Continuous SQLite replication and point-in-time restore, compatible with Litestream 0.5.

Replicate a database, and get it back::

    import ltxcore

    with ltxcore.replicate("app.db", "file:///var/backups/app"):
        ...  # whatever other processes commit is in the backup a moment later

    ltxcore.restore("file:///var/backups/app", "restored.db")

Everything here is synchronous, as SQLite is. Errors are the classes of :mod:`ltxcore.errors`; single LTX files are
the business of :mod:`ltxcore.ltx`. :mod:`ltxcore.blob_store`, named bytes in one SQLite file, is imported by its own
name: it would make this package take twice as long to import.
"""

from __future__ import annotations

import logging
import warnings

from ltxcore import _ltxcore, errors, ltx
from ltxcore.clients import ReplicaClient, client_from_url
from ltxcore.clients.file import FileClient
from ltxcore.db import DB, CheckpointMode, CheckpointResult, SyncStatus, replicate
from ltxcore.errors import Error
from ltxcore.follow import FollowedDatabase, follow
from ltxcore.ltx import TXID, Checksum, FileInfo, Pos
from ltxcore.replica import Replica
from ltxcore.restore import RestorePoint, RestoreProgress, RestoreResult, restore, restore_points
from ltxcore.vfs import OSVFS, ReaderVFS, SQLiteLibrary, sqlite_library

__all__ = [
    "DB",
    "OSVFS",
    "TXID",
    "CheckpointMode",
    "CheckpointResult",
    "Checksum",
    "Error",
    "FileClient",
    "FileInfo",
    "FollowedDatabase",
    "Pos",
    "ReaderVFS",
    "Replica",
    "ReplicaClient",
    "RestorePoint",
    "RestoreProgress",
    "RestoreResult",
    "SQLiteLibrary",
    "SyncStatus",
    "__version__",
    "client_from_url",
    "errors",
    "follow",
    "ltx",
    "replicate",
    "restore",
    "restore_points",
    "sqlite_library",
]

__version__: str = _ltxcore.__version__

logging.getLogger("ltxcore").addHandler(logging.NullHandler())

if _ltxcore.DEBUG_BUILD:
    warnings.warn(
        "this is a debug build of ltxcore, many times slower than a release", RuntimeWarning, stacklevel=2
    )
