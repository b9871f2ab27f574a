"""Continuous SQLite replication and point-in-time restore, compatible with Litestream 0.5.

Replicate a database, and get it back::

    import ltxcore

    with ltxcore.replicate("app.db", "file:///var/backups/app"):
        ...  # commits of this and of other processes are in the replica a moment later

    ltxcore.restore("file:///var/backups/app", "restored.db")

The calls are synchronous, as SQLite is. Calls that wait for a replica have an ``_async`` twin for coroutines. Errors are the
classes of :mod:`ltxcore.errors`. :mod:`ltxcore.ltx` reads and writes single LTX files. :mod:`ltxcore.legacy`, to be imported by
its name, reads replicas of Litestream 0.3. :class:`BlobStore` and :class:`AsyncBlobStore` store named bytes in one SQLite file.
They are imported when you first use them, because :mod:`ltxcore.blob_store` would double the time of ``import ltxcore``.
"""

from __future__ import annotations

import logging
import sys
import warnings
from typing import TYPE_CHECKING

from ltxcore import _ltxcore, errors, ltx
from ltxcore._process.restoring import RestoreProgress
from ltxcore._restore.follow import follow, follow_async
from ltxcore._restore.followed import FollowedDatabase
from ltxcore._restore.plans import RestorePlan, RestorePoint, restore_plan, restore_points
from ltxcore._restore.restore import RestoreResult, restore, restore_async
from ltxcore._restore.verify import FileProblem, LevelGap, VerifyReport, verify, verify_async
from ltxcore.clients import ReplicaClient, Source, client_from_url
from ltxcore.clients.file import FileClient
from ltxcore.db import (
    DB,
    CheckpointMode,
    CheckpointResult,
    ReplicaStatus,
    ScanProgress,
    SyncStatus,
    replicate,
)
from ltxcore.errors import Error
from ltxcore.ltx import TXID, Checksum, FileInfo, Pos
from ltxcore.replica import Replica, RequestCosts
from ltxcore.vfs import OSVFS, ReaderVFS, SQLiteLibrary, sqlite_library

if TYPE_CHECKING:
    from ltxcore.blob_store import AsyncBlobStore, BlobStore

__all__ = [
    "DB",
    "OSVFS",
    "TXID",
    "AsyncBlobStore",
    "BlobStore",
    "CheckpointMode",
    "CheckpointResult",
    "Checksum",
    "Error",
    "FileClient",
    "FileInfo",
    "FileProblem",
    "FollowedDatabase",
    "LevelGap",
    "Pos",
    "ReaderVFS",
    "Replica",
    "ReplicaClient",
    "ReplicaStatus",
    "RequestCosts",
    "RestorePlan",
    "RestorePoint",
    "RestoreProgress",
    "RestoreResult",
    "SQLiteLibrary",
    "ScanProgress",
    "Source",
    "SyncStatus",
    "VerifyReport",
    "__version__",
    "client_from_url",
    "errors",
    "follow",
    "follow_async",
    "ltx",
    "replicate",
    "restore",
    "restore_async",
    "restore_plan",
    "restore_points",
    "sqlite_library",
    "verify",
    "verify_async",
]

__version__: str = _ltxcore.__version__

if not TYPE_CHECKING:  # or a type checker would take every name for one of this package

    def __getattr__(name: str) -> object:
        if name in {"AsyncBlobStore", "BlobStore"}:
            from ltxcore import blob_store

            return getattr(blob_store, name)
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}", name=name, obj=sys.modules[__name__]
        )


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


logging.getLogger("ltxcore").addHandler(logging.NullHandler())

if _ltxcore.DEBUG_BUILD:
    warnings.warn(
        "this is a debug build of ltxcore, many times slower than a release", RuntimeWarning, stacklevel=2
    )
