"""Every exception of ltxcore, as one tree.

::

    Error
    |-- ConfigError(ValueError)
    |-- FormatError(ValueError)
    |   |-- NotLTXError
    |   |-- UnsupportedVersionError
    |   |-- TruncatedError(EOFError)
    |   `-- ChecksumMismatchError
    |-- PositionError
    |-- ReplicaError(OSError)
    |   |-- LTXFileNotFoundError(FileNotFoundError)
    |   |-- LTXFileExistsError(FileExistsError)
    |   |-- ObjectNotFoundError(FileNotFoundError)
    |   |-- ObjectExistsError(FileExistsError)
    |   |-- ObjectChangedError
    |   |-- LeaseHeldError
    |   |-- LeaseLostError
    |   |-- ReplicaPermissionError(PermissionError)
    |   |   `-- ReplicaReadOnlyError
    |   `-- ReplicaTimeoutError(TimeoutError)
    |-- RestoreError
    |   |-- NoSnapshotError
    |   |-- DivergedError
    |   |-- TXIDNotAvailableError
    |   |-- OutputExistsError(FileExistsError)
    |   |-- OutputInUseError
    |   |-- PageSizeChangedError
    |   |-- IntegrityCheckError
    |   `-- RestoreCancelledError
    |-- DatabaseError
    |   |-- NotOpenError
    |   |-- NotReadyError
    |   |-- BehindReplicaError
    |   |-- DatabaseBusyError
    |   |-- DiskFullError(OSError)
    |   `-- PreviousIOError
    |-- VFSError
    |   |-- SQLiteNotFoundError
    |   |-- VFSNameInUseError
    |   |-- FileLocksUnsupportedError(OperationalError)
    |   |-- VFSParameterError(ValueError, OperationalError)
    |   `-- ForkedError
    |-- BlobStoreError
    |   |-- NotABlobStoreError
    |   |-- OptionMismatchError
    |   |-- BlobNameError(ValueError)
    |   |-- BlobNotFoundError(KeyError, FileNotFoundError)
    |   |-- BlobExistsError(FileExistsError)
    |   |-- BlobTooLargeError(ValueError)
    |   |-- BlobChangedError
    |   |-- SizeMismatchError(ValueError)
    |   |-- ChunkGapError
    |   |-- StoreBusyError(TimeoutError)
    |   |-- StoreFullError(OSError)
    |   |-- StoreMovedError
    |   |-- StoreCorruptError
    |   |-- StoreReadOnlyError(PermissionError)
    |   `-- StoreClosedError(ValueError)
    `-- InternalError(RuntimeError)

The bases in brackets are the exceptions, built-in or those of ``sqlite3``, that a caller would catch anyway. This module
imports none of ours, so that every other module, and the native one, may import it.
"""

from __future__ import annotations

import os
import sqlite3
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import datetime

    from ltxcore.ltx import TXID, Checksum, Pos

__all__ = [
    "BehindReplicaError",
    "BlobChangedError",
    "BlobExistsError",
    "BlobNameError",
    "BlobNotFoundError",
    "BlobStoreError",
    "BlobTooLargeError",
    "ChecksumMismatchError",
    "ChunkGapError",
    "ConfigError",
    "DatabaseBusyError",
    "DatabaseError",
    "DiskFullError",
    "DivergedError",
    "Error",
    "FileLocksUnsupportedError",
    "ForkedError",
    "FormatError",
    "IntegrityCheckError",
    "InternalError",
    "LTXFileExistsError",
    "LTXFileNotFoundError",
    "LeaseHeldError",
    "LeaseLostError",
    "NoSnapshotError",
    "NotABlobStoreError",
    "NotLTXError",
    "NotOpenError",
    "NotReadyError",
    "ObjectChangedError",
    "ObjectExistsError",
    "ObjectNotFoundError",
    "OptionMismatchError",
    "OutputExistsError",
    "OutputInUseError",
    "PageSizeChangedError",
    "PositionError",
    "PreviousIOError",
    "ReplicaError",
    "ReplicaPermissionError",
    "ReplicaReadOnlyError",
    "ReplicaTimeoutError",
    "RestoreCancelledError",
    "RestoreError",
    "SQLiteNotFoundError",
    "SizeMismatchError",
    "StoreBusyError",
    "StoreClosedError",
    "StoreCorruptError",
    "StoreFullError",
    "StoreMovedError",
    "StoreReadOnlyError",
    "TXIDNotAvailableError",
    "TruncatedError",
    "UnsupportedVersionError",
    "VFSError",
    "VFSNameInUseError",
    "VFSParameterError",
]


class Error(Exception):
    """Base of all exceptions of ltxcore.

    Attributes, each ``None`` where it does not apply:

    * ``op``: the operation, one word (``"open"``, ``"write"``, ``"restore"``).
    * ``path``: the file or database.
    * ``level``, ``min_txid``, ``max_txid``: the LTX file.
    * ``hint``: what to do. A traceback shows it as a note.
    * ``transient``: whether a retry may succeed. ``None``: not known; the class decides.
    """

    #: A subclass may set it for all of its errors.
    transient: bool | None = None

    def __init__(
        self,
        message: str = "",
        *,
        op: str | None = None,
        path: str | None = None,
        level: int | None = None,
        min_txid: TXID | None = None,
        max_txid: TXID | None = None,
        hint: str | None = None,
        transient: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.op = op
        self.path = path
        self.level = level
        self.min_txid = min_txid
        self.max_txid = max_txid
        self.hint = hint
        if transient is not None:
            self.transient = transient
        if hint is not None:
            self.add_note(f"hint: {hint}")


class ConfigError(Error, ValueError):
    """A setting, a URL or an argument has an impossible value.

    ``key`` names it; ``line`` is its line in the configuration file, from 1 on. Each is ``None`` where it does not apply.
    """

    key: str | None = None
    line: int | None = None


class FormatError(Error, ValueError):
    """Bytes or text do not follow the LTX or SQLite file format.

    ``offset`` is the position of the error in the file, in bytes, or ``None``.
    """

    offset: int | None = None


class NotLTXError(FormatError):
    """The file does not begin with the LTX magic number."""


class UnsupportedVersionError(FormatError):
    """The LTX file has a format version other than 3, or the SQLite file has an unknown version."""


class TruncatedError(FormatError, EOFError):
    """The file is shorter than its content says."""


class ChecksumMismatchError(FormatError):
    """A checksum is wrong: ``actual`` was computed, ``expected`` is stored in the file."""

    expected: Checksum | None = None
    actual: Checksum | None = None


class PositionError(Error):
    """An LTX file does not continue the database. The database is at ``pos``, the file starts at ``expected``."""

    pos: Pos | None = None
    expected: Pos | None = None


class ReplicaError(Error, OSError):
    """The storage behind a replica failed. ``client_type`` names its kind (``"file"``, ``"s3"``)."""

    client_type: str | None = None


class LTXFileNotFoundError(ReplicaError, FileNotFoundError):
    """The replica does not have this LTX file."""


class LTXFileExistsError(ReplicaError, FileExistsError):
    """The replica has another LTX file with this TXID: another replicator writes to the same replica."""


class ObjectNotFoundError(ReplicaError, FileNotFoundError):
    """The object store has no object ``key``."""

    key: str | None = None


class ObjectExistsError(ReplicaError, FileExistsError):
    """The object store already has an object ``key``, and replacing it was not requested."""

    key: str | None = None


class ObjectChangedError(ReplicaError):
    """The object ``key`` is not the version that was to be replaced or deleted: another process has changed it."""

    key: str | None = None


class LeaseHeldError(ReplicaError):
    """Another program holds the lease of the replica: ``owner``, until ``expires_at`` if it does not renew it."""

    owner: str | None = None
    expires_at: datetime | None = None


class LeaseLostError(ReplicaError):
    """The lease of the replica is not held any more, so nothing is uploaded.

    If ``transient`` is false, another program has taken or removed it; ``owner`` holds it now, if anyone does. If
    ``transient`` is true, the lease could not be renewed in time. Uploads continue once it is renewed.
    """

    owner: str | None = None


class ReplicaPermissionError(ReplicaError, PermissionError):
    """The storage of the replica refused access."""


class ReplicaReadOnlyError(ReplicaPermissionError):
    """The storage of the replica can only be read, as a web server. Nothing was written."""


class ReplicaTimeoutError(ReplicaError, TimeoutError):
    """A transaction was not in the replica, or in the followed database, in time."""


class RestoreError(Error):
    """A restore is not possible, or it failed."""


class NoSnapshotError(RestoreError):
    """The replica does not exist, is empty, or has no state from before the requested time.

    If the requested time is too early, ``earliest_txid`` and ``earliest_time`` are the earliest state.
    """

    earliest_txid: TXID | None = None
    earliest_time: datetime | None = None


class DivergedError(RestoreError):
    """The replica does not continue the followed database. Restore the database again."""


class TXIDNotAvailableError(RestoreError):
    """The state at ``txid`` cannot be restored; ``available`` is the newest TXID before it that can."""

    txid: TXID | None = None
    available: TXID | None = None


class OutputExistsError(RestoreError, FileExistsError):
    """The output exists and overwriting was not requested, or it is not a file."""


class OutputInUseError(RestoreError):
    """A program has the database open that would be replaced. Nothing was changed."""


class PageSizeChangedError(RestoreError):
    """The page size changed between two LTX files, and no snapshot from after the change exists."""


class IntegrityCheckError(RestoreError):
    """The restored database did not pass the check of SQLite; ``report`` is the text of SQLite."""

    report: str | None = None


class RestoreCancelledError(RestoreError):
    """The restore was cancelled. Nothing was written to the output path."""


class DatabaseError(Error):
    """The database cannot be read or replicated."""


class NotOpenError(DatabaseError):
    """The object is closed, or was never opened."""


class NotReadyError(DatabaseError):
    """The database file does not exist yet, or is empty."""


class BehindReplicaError(DatabaseError):
    """The replica has transactions that are not in the local history."""


class DiskFullError(DatabaseError, OSError):
    """No space is left on the device, or a quota is used up."""


class DatabaseBusyError(DatabaseError):
    """A connection of an application has a lock on the database, or has it open although no connection may.

    Replication starts or continues when the lock is released.
    """


class PreviousIOError(DatabaseError):
    """An earlier I/O error made the state uncertain. Open the database again."""


class VFSError(Error):
    """A SQLite VFS could not be found, registered or used."""


class SQLiteNotFoundError(VFSError):
    """The SQLite library of a module could not be found.

    ``tried`` lists the attempts and their results.
    """

    tried: tuple[str, ...] = ()


class VFSNameInUseError(VFSError):
    """Another VFS is registered under this name."""


class FileLocksUnsupportedError(VFSError, sqlite3.OperationalError):
    """The file system of the database does not have the requested kind of locks."""


class VFSParameterError(VFSError, ValueError, sqlite3.OperationalError):
    """A URI parameter of a database is unknown, has an invalid value, or contradicts another parameter."""


class ForkedError(VFSError):
    """The object belongs to the parent process. Open another one in the child."""


class BlobStoreError(Error):
    """An operation of a blob store failed."""


class NotABlobStoreError(BlobStoreError):
    """The file is not a blob store, or a blob store of a later version."""


class OptionMismatchError(BlobStoreError):
    """The setting ``name`` is ``actual`` in SQLite or in the file, not ``requested``."""

    name: str | None = None
    requested: object = None
    actual: object = None


class BlobNameError(BlobStoreError, ValueError):
    """A blob cannot have this name, or the name of a chunk does not end with an offset."""


class BlobNotFoundError(BlobStoreError, KeyError, FileNotFoundError):
    """The store has no blob ``name``: it was never stored, deleted, or evicted."""

    name: str | None = None

    def __str__(self) -> str:
        # A KeyError would show the repr of its argument.
        return str(self.args[0]) if self.args else ""


class BlobExistsError(BlobStoreError, FileExistsError):
    """A blob of this name exists, and overwriting was not requested."""


class BlobTooLargeError(BlobStoreError, ValueError):
    """The blob has more bytes than the capacity. Nothing was evicted for it."""


class BlobChangedError(BlobStoreError):
    """The blob was replaced, deleted or evicted while it was open.

    In WAL mode this happens only to a blob that is open for writing.
    """


class SizeMismatchError(BlobStoreError, ValueError):
    """A source or a blob has ``actual`` bytes instead of ``expected``. Nothing was stored.

    If a source is longer, ``actual`` is one byte more than ``expected``.
    """

    expected: int | None = None
    actual: int | None = None


class ChunkGapError(BlobStoreError):
    """Chunks have a gap or an overlap: the next one must be at ``expected``, but is at ``offset`` or missing (bytes)."""

    offset: int | None = None
    expected: int | None = None


class StoreBusyError(BlobStoreError, TimeoutError):
    """Another process holds the store, or all readers are in use, for longer than ``busy_timeout``."""


class StoreFullError(BlobStoreError, OSError):
    """The disk is full, the file has ``max_page_count`` pages, or the policy is ``"none"``."""


class StoreMovedError(BlobStoreError):
    """The file of the open store was removed, renamed, or replaced by another one."""


class StoreCorruptError(BlobStoreError):
    """The file is damaged. :meth:`BlobStore.check` says where."""


class StoreReadOnlyError(BlobStoreError, PermissionError):
    """The store was opened read-only."""


class StoreClosedError(BlobStoreError, ValueError):
    """The store is closed."""


class InternalError(Error, RuntimeError):
    """A defect of ltxcore. Please report it."""


@contextmanager
def about(file: object) -> Iterator[None]:
    """Errors in the content of a file say which file that is, if it was given by its path."""
    try:
        yield
    except (FormatError, NotReadyError) as error:
        if error.path is None and isinstance(file, str | os.PathLike):
            error.path = os.fsdecode(file)
            error.args = (f"{error.path}: {error}",)
        raise
