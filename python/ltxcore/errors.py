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
    |   |-- ReplicaPermissionError(PermissionError)
    |   `-- ReplicaTimeoutError(TimeoutError)
    |-- RestoreError
    |   |-- NoSnapshotError
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
    "Error",
    "FileLocksUnsupportedError",
    "ForkedError",
    "FormatError",
    "IntegrityCheckError",
    "InternalError",
    "LTXFileExistsError",
    "LTXFileNotFoundError",
    "NoSnapshotError",
    "NotABlobStoreError",
    "NotLTXError",
    "NotOpenError",
    "NotReadyError",
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
    """Base of everything that ltxcore raises on its own account.

    Attributes, each ``None`` where it does not apply:

    * ``op``: what was being done, one word (``"open"``, ``"write"``, ``"restore"``).
    * ``path``: the file or database concerned.
    * ``level``, ``min_txid``, ``max_txid``: the LTX file concerned.
    * ``hint``: what can be done about it. It is shown below the traceback as a note.
    * ``transient``: whether the same request may succeed when it is made again. ``None``: not known; the class decides.
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
    """A setting, a URL or an option that cannot work.

    ``key`` names it; ``line`` is its line in the configuration file, from 1 on. Each is ``None`` where it does not apply.
    """

    key: str | None = None
    line: int | None = None


class FormatError(Error, ValueError):
    """Bytes or text that break the LTX or SQLite file format.

    ``offset`` is the position in the file, in bytes, where that was noticed, or ``None``.
    """

    offset: int | None = None


class NotLTXError(FormatError):
    """The file does not begin with the LTX magic number."""


class UnsupportedVersionError(FormatError):
    """An LTX file of a format generation that is not 3, or a SQLite file of an unknown version."""


class TruncatedError(FormatError, EOFError):
    """The file ends before its format says that it does."""


class ChecksumMismatchError(FormatError):
    """A checksum that was computed differs from the one that was recorded: ``actual`` and ``expected``."""

    expected: Checksum | None = None
    actual: Checksum | None = None


class PositionError(Error):
    """An LTX file does not continue the database: it is at ``pos``, ``expected`` is where the file starts."""

    pos: Pos | None = None
    expected: Pos | None = None


class ReplicaError(Error, OSError):
    """The storage behind a replica failed. ``client_type`` names its kind (``"file"``, ``"s3"``)."""

    client_type: str | None = None


class LTXFileNotFoundError(ReplicaError, FileNotFoundError):
    """The LTX file asked for is not in the replica."""


class LTXFileExistsError(ReplicaError, FileExistsError):
    """The replica holds another LTX file under this TXID: someone else is writing to the same destination."""


class ObjectNotFoundError(ReplicaError, FileNotFoundError):
    """The object store holds no object ``key``."""

    key: str | None = None


class ObjectExistsError(ReplicaError, FileExistsError):
    """The object store holds an object ``key`` already, and replacing it was not asked for."""

    key: str | None = None


class ReplicaPermissionError(ReplicaError, PermissionError):
    """The replica's storage refused access."""


class ReplicaTimeoutError(ReplicaError, TimeoutError):
    """What should be in the replica was not there in time."""


class RestoreError(Error):
    """A restore could not be planned or carried out."""


class NoSnapshotError(RestoreError):
    """The replica holds nothing from which a database could be rebuilt, at the time asked for or at all.

    If only the time asked for is too early, ``earliest_txid`` and ``earliest_time`` say what the earliest state is.
    """

    earliest_txid: TXID | None = None
    earliest_time: datetime | None = None


class DivergedError(RestoreError):
    """The replica does not continue the database that follows it: only another restore can help."""


class TXIDNotAvailableError(RestoreError):
    """No chain of LTX files ends at ``txid``; ``available`` is the highest TXID below it that can be restored."""

    txid: TXID | None = None
    available: TXID | None = None


class OutputExistsError(RestoreError, FileExistsError):
    """The output path exists and overwriting it was not asked for, or it is not a file."""


class OutputInUseError(RestoreError):
    """A program has the database open that should be replaced. Nothing was changed."""


class PageSizeChangedError(RestoreError):
    """The page size changed between two LTX files, and no snapshot from after the change leads past it."""


class IntegrityCheckError(RestoreError):
    """The restored database does not pass SQLite's own check; ``report`` is what SQLite said about it."""

    report: str | None = None


class RestoreCancelledError(RestoreError):
    """The restore was called off before it was done. Nothing was left at the output path."""


class DatabaseError(Error):
    """The database being replicated could not be read, or is not fit for replication."""


class NotOpenError(DatabaseError):
    """The object is closed, or was never opened."""


class NotReadyError(DatabaseError):
    """The database file does not exist yet, or holds no page."""


class BehindReplicaError(DatabaseError):
    """The replica holds transactions that the local history does not know."""


class DiskFullError(DatabaseError, OSError):
    """No space is left on the device, or a quota is used up."""


class DatabaseBusyError(DatabaseError):
    """A connection of an application holds a lock on the database, or has it open where nobody may.

    Replication begins, or goes on, when the lock is released.
    """


class PreviousIOError(DatabaseError):
    """An earlier input/output error made the state unsure; it has to be opened again."""


class VFSError(Error):
    """Something about a process's use of SQLite's file layer."""


class SQLiteNotFoundError(VFSError):
    """The SQLite library of a module cannot be reached.

    ``tried`` says what was tried, and what came of it.
    """

    tried: tuple[str, ...] = ()


class VFSNameInUseError(VFSError):
    """A VFS of this name is registered already, and it is another one."""


class FileLocksUnsupportedError(VFSError, sqlite3.OperationalError):
    """The file system of a database has no locks of the kind that was asked for."""


class VFSParameterError(VFSError, ValueError, sqlite3.OperationalError):
    """A parameter in the URI of a database has a value that the VFS does not know, or that another parameter forbids."""


class ForkedError(VFSError):
    """The object belongs to the parent process; a forked child has to open one of its own."""


class BlobStoreError(Error):
    """A blob store could not do what it was asked for."""


class NotABlobStoreError(BlobStoreError):
    """The file is a database of something else, or a store of a later version."""


class OptionMismatchError(BlobStoreError):
    """SQLite, or the file as it was made, has ``actual`` where ``requested`` was asked for as ``name``."""

    name: str | None = None
    requested: object = None
    actual: object = None


class BlobNameError(BlobStoreError, ValueError):
    """No blob can have this name, or a chunk's name does not say its offset."""


class BlobNotFoundError(BlobStoreError, KeyError, FileNotFoundError):
    """The store has no blob ``name``: it never had, it was deleted, or it was evicted."""

    name: str | None = None

    def __str__(self) -> str:
        # A KeyError would show the repr of its argument.
        return str(self.args[0]) if self.args else ""


class BlobExistsError(BlobStoreError, FileExistsError):
    """The store has a blob of this name, and overwriting it was not asked for."""


class BlobTooLargeError(BlobStoreError, ValueError):
    """The blob would not fit if the store were empty. Nothing was evicted for it."""


class BlobChangedError(BlobStoreError):
    """The blob was replaced, deleted or evicted while it was open.

    In WAL mode this happens only to a blob that is open for writing.
    """


class SizeMismatchError(BlobStoreError, ValueError):
    """A source or a blob has ``actual`` bytes where ``expected`` were promised. Nothing was stored.

    Where a source is longer than that, ``actual`` is one byte more than ``expected``.
    """

    expected: int | None = None
    actual: int | None = None


class ChunkGapError(BlobStoreError):
    """Chunks do not follow one another: one is at ``offset``, or none, where one has to be at ``expected``, in bytes."""

    offset: int | None = None
    expected: int | None = None


class StoreBusyError(BlobStoreError, TimeoutError):
    """Another process holds the store, or all readers are in use, for longer than ``busy_timeout``."""


class StoreFullError(BlobStoreError, OSError):
    """The device is full, the file has ``max_page_count`` pages, or the policy is to evict nothing."""


class StoreMovedError(BlobStoreError):
    """The file of the open store was removed, renamed, or replaced by another one."""


class StoreCorruptError(BlobStoreError):
    """The file is damaged. :meth:`BlobStore.check` says where."""


class StoreReadOnlyError(BlobStoreError, PermissionError):
    """The store was opened to be read only."""


class StoreClosedError(BlobStoreError, ValueError):
    """The store is closed."""


class InternalError(Error, RuntimeError):
    """A broken promise inside ltxcore. Always a bug of ours; please report it."""


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
