"""The native half of ltxcore: the LTX codec, the engine of live databases, and restores.

TXIDs are plain integers here, 0 meaning none; times are milliseconds since the Unix epoch; a file in a replica is
the tuple ``(level, min_txid, max_txid, size in bytes, created in milliseconds)``. The modules around this one give
all that better types, and are what is meant to be used.
"""

import os
import pathlib
from collections.abc import Callable, Sequence
from datetime import datetime
from types import TracebackType
from typing import BinaryIO, Final, Literal, Protocol, Self, TypeAlias, final

from ltxcore.clients import ReplicaClient
from ltxcore.errors import RestoreError
from ltxcore.ltx import TXID, Checksum, Pos
from ltxcore.stores import ObjectStore

__all__ = [
    "CHANGE_COUNTER_AT",
    "DEBUG_BUILD",
    "HEADER_SIZE",
    "MAGIC",
    "MAX_PARALLELISM",
    "PAGE_HEADER_SIZE",
    "PENDING_BYTE",
    "SNAPSHOT_LEVEL",
    "SQLITE_MAGIC",
    "SQLITE_VERSION",
    "TRAILER_SIZE",
    "VERSION",
    "VERSIONS_AT",
    "Cache",
    "ChainComparison",
    "Checkpoint",
    "Database",
    "Decoder",
    "Encoder",
    "FileClient",
    "FileLock",
    "FileReader",
    "Followed",
    "Header",
    "LegacyConversion",
    "LegacyHistory",
    "LegacyPlan",
    "LegacySegment",
    "LocalFile",
    "PageIndex",
    "PageIndexElem",
    "Plan",
    "Probed",
    "Reach",
    "ReaderSource",
    "RequestCounter",
    "Restored",
    "SQLiteHandle",
    "Scan",
    "Status",
    "Step",
    "Trailer",
    "URLReader",
    "Verified",
    "__version__",
    "apply",
    "begin_shutdown",
    "break_lock",
    "chain_checksums",
    "checksum_database",
    "compact",
    "compact_level",
    "encode_database",
    "following",
    "format_filename",
    "integrity_check",
    "legacy_restore",
    "legacy_segment",
    "legacy_snapshot",
    "legacy_verify",
    "missing_txids",
    "open_url",
    "parse_filename",
    "partial_path",
    "probe_directory",
    "reach",
    "read_file",
    "read_page_index",
    "restore",
    "restore_plan",
    "restore_points",
    "take_refusal",
    "verify",
    "write_checksums",
    "write_sidecar",
]

_Path: TypeAlias = str | os.PathLike[str]
_Source: TypeAlias = _Path | BinaryIO
_Row: TypeAlias = tuple[int, int, int, int, int]
_Key: TypeAlias = tuple[int, int, int]
_Client: TypeAlias = FileClient | ReplicaClient
_Options: TypeAlias = tuple[str | None, str | None, bool, float, float]
_Signed: TypeAlias = tuple[str, list[tuple[str, str]], float, _Options, RequestCounter | None]
_Mark: TypeAlias = tuple[int, int, int, int, int]

__version__: Final[str]
#: Whether this is an unoptimised build.
DEBUG_BUILD: Final[bool]
#: Bytes of a file header (LTX format, "Header").
HEADER_SIZE: Final[int]
#: First bytes of every LTX file (LTX format, "Header").
MAGIC: Final[bytes]
#: Bytes of a page header (LTX format, "Page frame").
PAGE_HEADER_SIZE: Final[int]
#: The byte of a database that SQLite locks; the page that holds it is never stored (SQLite file format, 1.2).
PENDING_BYTE: Final[int]
#: The version of the SQLite that the engine is built with.
SQLITE_VERSION: Final[str]
#: What every SQLite database begins with.
SQLITE_MAGIC: Final[bytes]
#: Offsets in bytes of two fields of a database header: 4 bytes, and one byte each for writing and reading.
CHANGE_COUNTER_AT: Final[int]
VERSIONS_AT: Final[int]
#: The level that holds whole databases.
SNAPSHOT_LEVEL: Final[int]
#: How many files or parts of files a restore reads at once, at most.
MAX_PARALLELISM: Final[int]
#: Bytes of a trailer (LTX format, "Trailer").
TRAILER_SIZE: Final[int]
#: Generation of the LTX format.
VERSION: Final[int]

@final
class Checkpoint:
    """A checkpoint that was run, as ``PRAGMA wal_checkpoint`` answers."""

    @property
    def busy(self) -> bool:
        """Whether something kept it from finishing."""

    @property
    def wal_frames(self) -> int:
        """Frames in the WAL."""

    @property
    def checkpointed_frames(self) -> int:
        """Frames of the WAL that are in the database file."""

@final
class LocalFile:
    """One L0 file of the meta directory."""

    @property
    def min_txid(self) -> int:
        """The first TXID."""

    @property
    def max_txid(self) -> int:
        """The last TXID."""

    @property
    def size(self) -> int:
        """Its length in bytes."""

    @property
    def created_ms(self) -> int:
        """When it was written, in milliseconds since 1970."""

@final
class ChainComparison:
    """Pages of a replica beside those of the database."""

    @property
    def differing(self) -> int:
        """How many pages differ."""

    @property
    def compared(self) -> int:
        """How many pages could be compared."""

@final
class Scan:
    """A pass over all pages that is under way."""

    @property
    def pages_done(self) -> int:
        """Pages that were read."""

    @property
    def pages(self) -> int:
        """Pages of the database."""

    @property
    def reason(self) -> str | None:
        """Why the next L0 file takes a comparison of all pages; ``None`` if the pass is for something else."""

@final
class Status:
    """The state of one database."""

    @property
    def txid(self) -> int:
        """The newest TXID in an L0 file; 0 if there is none."""

    @property
    def checksum(self) -> int:
        """The checksum of the database at ``txid``; 0 if it is not known."""

    @property
    def wal_size(self) -> int:
        """Bytes of the WAL file."""

    @property
    def page_size(self) -> int | None:
        """Bytes of a page; ``None`` while the database is not open or does not exist."""

    @property
    def last_sync_ms(self) -> int | None:
        """When the newest L0 file was made, in milliseconds since 1970."""

    @property
    def reason(self) -> str | None:
        """Why the last L0 file that does not continue from the WAL was needed."""

    @property
    def scan(self) -> Scan | None:
        """The pass over all pages that is under way."""

    @property
    def incremental_syncs(self) -> int:
        """L0 files that continue from the WAL, since the database was opened."""

    @property
    def diff_syncs(self) -> int:
        """L0 files with the pages that were found to differ."""

    @property
    def full_syncs(self) -> int:
        """L0 files with every page."""

    @property
    def restarts(self) -> int:
        """How often the WAL began anew."""

    @property
    def checkpoints(self) -> int:
        """Checkpoints that were run here."""

@final
class Header:
    """The first 100 bytes of an LTX file (LTX format, "Header"). Comparable and hashable.

    Args:
        page_size: bytes of a page, a power of two from 512 to 65536.
        commit: pages of the database after the transactions.
        min_txid: first TXID, 1 for a snapshot.
        max_txid: last TXID.
        timestamp: when the newest transaction was committed, an aware datetime; kept to the millisecond.
        pre_apply_checksum: checksum of the database before, 0 for snapshots and files without checksums.
        no_checksum: the file carries no checksums of the database.
        wal_offset: where in the WAL the transactions begin, in bytes.
        wal_size: how much of the WAL they cover, in bytes.
        wal_salt1: first salt of the WAL (SQLite file format, 4.1).
        wal_salt2: second salt of the WAL.
        node_id: who wrote the file; 0 from Litestream.

    Raises:
        FormatError: the fields contradict each other.
    """

    def __new__(
        cls,
        *,
        page_size: int,
        commit: int,
        min_txid: int,
        max_txid: int,
        timestamp: datetime,
        pre_apply_checksum: int = 0,
        no_checksum: bool = True,
        wal_offset: int = 0,
        wal_size: int = 0,
        wal_salt1: int = 0,
        wal_salt2: int = 0,
        node_id: int = 0,
    ) -> Self: ...
    @staticmethod
    def parse(data: bytes) -> Header:
        """The header in the first 100 bytes of ``data``.

        Raises:
            NotLTXError: the magic number is another.
            TruncatedError: there are fewer than 100 bytes.
            FormatError: the fields contradict each other.
        """

    def encode(self) -> bytes:
        """The 100 bytes."""

    @property
    def page_size(self) -> int:
        """Bytes of a page."""

    @property
    def commit(self) -> int:
        """Pages of the database after the transactions."""

    @property
    def min_txid(self) -> TXID:
        """First TXID."""

    @property
    def max_txid(self) -> TXID:
        """Last TXID."""

    @property
    def timestamp(self) -> datetime:
        """When the newest transaction was committed, in UTC; times no datetime can hold are moved to the nearest."""

    @property
    def timestamp_ms(self) -> int:
        """The same in milliseconds since the Unix epoch, as stored."""

    @property
    def pre_apply_checksum(self) -> Checksum:
        """Checksum of the database before; 0 if there is none."""

    @property
    def no_checksum(self) -> bool:
        """Whether the file carries no checksums of the database."""

    @property
    def wal_offset(self) -> int:
        """Where in the WAL the transactions begin, in bytes."""

    @property
    def wal_size(self) -> int:
        """How much of the WAL they cover, in bytes."""

    @property
    def wal_salt1(self) -> int:
        """First salt of the WAL."""

    @property
    def wal_salt2(self) -> int:
        """Second salt of the WAL."""

    @property
    def node_id(self) -> int:
        """Who wrote the file."""

    @property
    def is_snapshot(self) -> bool:
        """Whether the file holds every page: its first TXID is 1."""

    @property
    def lock_pgno(self) -> int:
        """The page that is never stored."""

    @property
    def pre_apply_pos(self) -> Pos:
        """The position that the file continues."""

    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Trailer:
    """The last 16 bytes of an LTX file (LTX format, "Trailer"). Comparable and hashable."""

    @property
    def post_apply_checksum(self) -> Checksum:
        """Checksum of the database afterwards; 0 if there is none."""

    @property
    def file_checksum(self) -> Checksum:
        """Checksum of the file: headers, uncompressed pages and index."""

    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Decoder:
    """Reads the pages of one LTX file, once, from front to back.

    Iterate for pages, then call :meth:`finish`: only that says whether the file was good. After an error, and after
    ``finish`` or ``close``, every call raises ``ValueError``.

    Args:
        file: a path, or a binary file object that stands at the header.

    Raises:
        FormatError: the header is not that of an LTX file.
        OSError: the file cannot be read.
    """

    def __new__(cls, file: _Source) -> Self: ...
    @property
    def header(self) -> Header:
        """The file's header."""

    def __iter__(self) -> Self: ...
    def __next__(self) -> tuple[int, bytes]:
        """The next page number and page.

        Raises:
            FormatError: the file is damaged.
        """

    def finish(self) -> Trailer:
        """Read what is left and verify the whole file.

        Raises:
            ChecksumMismatchError: the file is not what was written.
            FormatError: the file is damaged otherwise.
        """

    def close(self) -> None:
        """Let go of the file without verifying it."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self,
        exc_type: type[BaseException] | None = ...,
        exc_value: BaseException | None = ...,
        traceback: TracebackType | None = ...,
        /,
    ) -> None: ...

@final
class Encoder:
    """Writes the pages of one LTX file.

    After an error, and after ``finish``, every call raises ``ValueError``.

    Args:
        file: a binary file object. It is written to in large pieces, and stays the caller's to close.
        header: the file's header.

    Raises:
        FormatError: the header is not valid.
    """

    def __new__(cls, file: BinaryIO, header: Header) -> Self: ...
    @property
    def header(self) -> Header:
        """The file's header."""

    def write(self, pgno: int, page: bytes | bytearray | memoryview) -> None:
        """Add one page. Pages ascend; a snapshot has all of them but the lock page.

        Args:
            pgno: the page's number, from 1.
            page: ``header.page_size`` bytes.

        Raises:
            FormatError: the page does not belong there, or has another size.
        """

    def finish(self, post_apply_checksum: int = 0) -> Trailer:
        """Write index and trailer.

        Args:
            post_apply_checksum: checksum of the database afterwards; 0 if the header says that there are none.

        Raises:
            FormatError: a page is missing, or the checksum does not suit the header.
        """

@final
class PageIndexElem:
    """Where one page is in an LTX file (LTX format, "Page index"). Comparable and hashable."""

    @property
    def pgno(self) -> int:
        """The page's number."""

    @property
    def offset(self) -> int:
        """Where its frame begins, in bytes from the start of the file."""

    @property
    def size(self) -> int:
        """Bytes of its frame, header included."""

    def __eq__(self, other: object, /) -> bool: ...
    def __ne__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class PageIndex:
    """Where each page is in an LTX file (LTX format, "Page index")."""

    def __len__(self) -> int: ...
    def __contains__(self, pgno: int, /) -> bool: ...
    def get(self, pgno: int) -> PageIndexElem | None:
        """Where the page ``pgno`` is; ``None`` if the file does not have it."""

    def items(self) -> list[tuple[int, PageIndexElem]]:
        """All pages, ascending."""

def read_page_index(file: _Source) -> PageIndex:
    """Read the index at the end of an LTX file; see ``ltxcore.ltx.read_page_index``."""

def compact(
    inputs: Sequence[_Source], output: BinaryIO, *, allow_gaps: bool = False
) -> tuple[Header, Trailer]:
    """Merge LTX files; see ``ltxcore.ltx.compact``."""

def apply(file: _Source, database: _Path) -> tuple[int, int]:
    """Write an LTX file's pages into a database; see ``ltxcore.ltx.apply``. TXID and checksum afterwards."""

def encode_database(
    database: _Path, file: BinaryIO, *, txid: int, timestamp: datetime, checksums: bool
) -> Trailer:
    """Write a database as a snapshot; see ``ltxcore.ltx.encode_database``."""

def checksum_database(database: _Path) -> int:
    """The checksum of a database (LTX format, "Rolling checksum"); see ``ltxcore.ltx.checksum_database``."""

def format_filename(min_txid: int, max_txid: int) -> str:
    """The name of an LTX file."""

def parse_filename(name: str) -> tuple[int, int]:
    """The TXIDs that a file name stands for.

    Raises:
        FormatError: it is not the name of an LTX file.
    """

@final
class LegacySegment:
    """A WAL segment of the v0.3 layout that was written, and where its WAL goes on."""

    @property
    def header(self) -> Header:
        """The header of the LTX file that it was made from."""

    @property
    def end(self) -> int:
        """Bytes of the WAL up to the end of the segment."""

    @property
    def checksum(self) -> tuple[int, int]:
        """The checksum of its last frame."""

    @property
    def is_whole(self) -> bool:
        """Whether it has every page of the database, so that it does not matter what came before."""

def legacy_segment(
    file: _Path,
    output: _Path,
    *,
    generation: int,
    index: int,
    offset: int,
    checksum: tuple[int, int],
    page_size: int,
) -> LegacySegment | None:
    """Write an LTX file as the next segment of a WAL of the v0.3 layout, in an LZ4 frame. The same arguments give the same bytes.

    Args:
        file: the LTX file.
        output: the file to write, which is replaced.
        generation: the number of the generation.
        index: the number of the WAL in it.
        offset: bytes of the WAL so far; 0 before its header.
        checksum: that of its last frame.
        page_size: bytes of a page.

    Returns:
        ``None`` if no WAL with this page size can hold it: there is no page in it, or nothing is left of the database, or its pages
        have another size.

    Raises:
        FormatError: the LTX file is damaged.
        OSError: a file cannot be read or written.
    """

def legacy_snapshot(file: _Path, output: _Path) -> Header:
    """Write the database that an LTX file with every page holds to ``output``, in an LZ4 frame; the header of the LTX file.

    Raises:
        FormatError: the LTX file is damaged.
        OSError: a file cannot be read or written.
    """

@final
class RequestCounter:
    """Counts requests to URLs, and the bytes that came back."""

    def __new__(cls) -> Self: ...
    @property
    def requests(self) -> int:
        """How many requests were sent: repetitions and redirects are some, too."""

    @property
    def bytes(self) -> int:
        """How many bytes came back, without headers."""

@final
class Cache:
    """Blocks of the files of one replica in a directory, for :func:`restore`.

    ``limit`` is in bytes, for all replicas in the directory together. ``replica`` tells replicas apart, and is the name of a
    directory: 32 hexadecimal digits.
    """

    def __new__(cls, path: _Path, limit: int, replica: str) -> Self: ...
    def trouble(self) -> str | None:
        """Why the directory cannot be used, if it cannot; once."""

@final
class URLReader:
    """What a server sends."""

    @property
    def total(self) -> int | None:
        """How many bytes the whole object has, if the server has said."""

    def read(self, size: int) -> bytes:
        """Up to ``size`` bytes, as many as have come; none at the end.

        Raises:
            ReplicaError: the connection broke.
        """

    def close(self) -> None:
        """Let the connection go. Does nothing the second time."""

def open_url(place: _Signed, offset: int = 0, size: int | None = None) -> URLReader | None:
    """Ask for bytes of an object; ``None`` if the server sends whole objects only, and another part is wanted.

    Raises:
        ObjectNotFoundError: there is no such object.
        ReplicaPermissionError: the server refused.
        ReplicaError: the server cannot be reached, or gave no answer to the question.
    """

@final
class FileClient:
    """LTX files in a directory, ``<root>/ltx/<level>/<first>-<last>.ltx``."""

    def __new__(cls, root: _Path) -> Self: ...
    @property
    def path(self) -> os.PathLike[str]:
        """The directory."""

    def init(self) -> None:
        """See ``ltxcore.ReplicaClient``."""

    def ltx_files(self, level: int, seek: int, use_metadata: bool) -> list[_Row]:
        """The files of a level whose first TXID is ``seek`` or above, ascending.

        Raises:
            ReplicaError: the directory cannot be read.
        """

    def read_ltx_file(
        self, level: int, min_txid: int, max_txid: int, offset: int = 0, size: int | None = None
    ) -> bytes:
        """Up to ``size`` bytes of a file from ``offset`` on.

        Raises:
            LTXFileNotFoundError: there is no such file.
        """

    def write_ltx_path(self, level: int, min_txid: int, max_txid: int, path: _Path) -> _Row:
        """Store the local file ``path``, whole and durable.

        Raises:
            LTXFileExistsError: another file has this name already.
            ReplicaError: it cannot be written.
        """

    def write_ltx_file(self, level: int, min_txid: int, max_txid: int, data: BinaryIO) -> _Row:
        """Store what ``data`` yields; as :meth:`write_ltx_path`."""

    def damaged_ltx_files(self, files: Sequence[tuple[int, int, int]]) -> list[tuple[int, int, int]]:
        """Those of these files, given as level, first and last TXID, that are not what their names say.

        Such a file does not begin with the header of its TXIDs, does not end with the index of its pages, or is gone. What lies
        between is not read.

        Raises:
            ReplicaError: a file that is there cannot be read.
        """

    def delete_ltx_files(self, files: Sequence[tuple[int, int, int]]) -> None:
        """Delete files, given as level, first and last TXID; those that are not there are no error."""

    def delete_all(self) -> None:
        """Delete all LTX files."""

@final
class Plan:
    """Which files a restore would use."""

    @property
    def files(self) -> list[_Row]:
        """The files, in order."""

    @property
    def clamped(self) -> bool:
        """Whether the time asked for is later than all there is."""

def restore_plan(client: _Client, txid: int | None = None, timestamp_ms: int | None = None) -> Plan:
    """The files that a restore would use.

    Raises:
        NoSnapshotError: there is nothing to start from.
        TXIDNotAvailableError: no chain of files ends at ``txid``.
        RestoreError: files are missing in between.
    """

def restore_points(client: _Client) -> list[tuple[int, int]]:
    """TXID and time in milliseconds of every state that can be restored, ascending."""

def following(client: _Client, txid: int, *, thorough: bool = True) -> list[_Row]:
    """The files that continue a database at ``txid``, each continuing the one before; none if there is nothing new.

    Level 0 as far as it goes; over its holes, from other levels the file that reaches furthest, a snapshot only where no
    other does.

    Args:
        client: the replica.
        txid: where the database is.
        thorough: look into the other levels even if level 0 simply has nothing new.

    Raises:
        DivergedError: there are later transactions but none that continues, or the replica ends before ``txid``.
        ReplicaError: the storage cannot be listed.
    """

@final
class Reach:
    """How far a restore of the newest state comes."""

    @property
    def chain(self) -> list[_Key]:
        """The files that it reads, in order: level, first and last TXID."""

    @property
    def txid(self) -> int:
        """The TXID that it comes to; 0 if nothing can be restored."""

    @property
    def damaged(self) -> _Key | None:
        """A damaged file that keeps it from coming further."""

    @property
    def missing(self) -> RestoreError | None:
        """What is not there and keeps it from coming further."""

def reach(files: list[_Row], damaged: list[_Key]) -> Reach:
    """How far a restore of the newest state from these files comes.

    A restore does not know that a file is damaged before it reads it, so other files that would lead around it are of no use.

    Args:
        files: what the replica lists; times are of no account.
        damaged: those of them that are known to be damaged.
    """

def missing_txids(files: list[_Row], txids: list[int]) -> list[int]:
    """Which of ``txids``, ascending, are in none of these files below level 9: a snapshot lacks the states before its last."""

@final
class Restored:
    """A database that was rebuilt."""

    @property
    def txid(self) -> int:
        """The transaction that it is at."""

    @property
    def checksum(self) -> int:
        """Its checksum; 0 if the files have none."""

    @property
    def page_size(self) -> int:
        """Its page size, in bytes."""

    @property
    def page_count(self) -> int:
        """How many pages it has."""

    @property
    def files(self) -> list[_Row]:
        """The files that it was made from, in order."""

    @property
    def bytes_read(self) -> int:
        """Their size together, in bytes."""

    @property
    def clamped(self) -> bool:
        """Whether the time asked for is later than all there is."""

    @property
    def created_ms(self) -> int:
        """The time of its last transaction, in milliseconds."""

    @property
    def exact(self) -> bool:
        """Whether no further transactions may be from before the time asked for."""

    @property
    def page_1(self) -> int:
        """The checksum of page 1 as the replica has it; 0 if that is not known."""

    @property
    def head(self) -> bytes:
        """The database header in that page; empty if it is not known."""

    @property
    def is_update(self) -> bool:
        """Whether it began with ``base``, and ``files`` are those since then."""

    @property
    def past(self) -> tuple[list[_Mark], bytes] | None:
        """What it stands on, with ``keeps_past``: files as level, first and last TXID, size in bytes and checksum; and runs of pages.

        The files are some of those that were read, and of those that the copy stood on, oldest first. The last one ends where the
        database is. The runs say which pages were written after which of them (``rust/replica/src/restore/past.rs``).
        """

    @property
    def resumed(self) -> int:
        """How much of ``files`` an earlier restore had read, in bytes."""

def restore(
    client: _Client,
    output: _Path,
    *,
    txid: int | None = None,
    timestamp_ms: int | None = None,
    parallelism: int = 8,
    overwrite: bool = False,
    rollback_journal: bool = False,
    base: tuple[Followed, int, tuple[int, bytes | None] | None, tuple[int, int, int] | None] | None = None,
    past: tuple[list[_Mark], bytes, int] | None = None,
    keeps_past: bool = False,
    replica: str | None = None,
    cache: Cache | None = None,
    progress: Callable[[int, int, int, int], None] | None = None,
    verify: Callable[[pathlib.Path], None] | None = None,
    prepare: Callable[[pathlib.Path], None] | None = None,
    kept: Callable[[int], None] | None = None,
) -> Restored:
    """Rebuild a database; see ``ltxcore.restore``.

    ``replica`` stands for the replica: what is left of a restore of the same one is gone on with, and what is read is left for the
    next one if this one fails. ``kept`` then gets its number of bytes. Without ``replica`` nothing is left or gone on with.

    ``base`` is a copy at an earlier transaction, so that only files since then have to be read: the file, its TXID, the checksum and,
    if the copy has another one, the head of page 1 as the replica has them there, if known, and what the copy was like when it was
    proved to be the replica's, if it was: its change counter, size in bytes, and time in nanoseconds. If that does not lead to the wanted state, everything is read.

    ``past`` is what the copy stands on, as :attr:`Restored.past` was, and the place of the newest of those files that the replica
    still has. The files that follow this one are read then. They must bring every page that the copy has from later ones.

    ``cache`` holds what was read before of a replica that is not a directory.

    ``verify`` gets the path of the new database while it has a temporary name, and ``prepare`` when only its name is left to be
    given; an exception from either calls the restore off. An ``IntegrityCheckError`` from ``verify`` lets everything be read once more
    if the restore had gone on with what another one left. ``rollback_journal`` takes a database out of WAL mode.

    ``progress`` gets bytes done, bytes in all, files done, files in all.
    """

@final
class LegacyHistory:
    """What a replica in the layout of Litestream 0.3 holds."""

    def __new__(cls, objects: Sequence[tuple[str, int, int]]) -> Self:
        """Takes in a listing. Objects with other names are left out.

        Args:
            objects: the key below the place of the replica, the size in bytes, and the time in milliseconds of each.
        """

    def generations(self) -> list[tuple[str, list[tuple[int, int, int]], list[tuple[int, int, int, int]]]]:
        """Of each generation, its snapshots (index, size in bytes, milliseconds) and its segments (index, offset, size, milliseconds)."""

    def plan(
        self, generation: str | None = None, until_ms: int | None = None, index: int | None = None
    ) -> LegacyPlan:
        """The objects that lead to a state.

        Args:
            generation: of this generation alone.
            until_ms: nothing that was stored after this time, in milliseconds.
            index: no WAL after this one.

        Raises:
            FormatError: it is no generation.
            NoSnapshotError: there is no generation, not the wanted one, or no snapshot that is old enough.
            RestoreError: a WAL is missing, or the start of one.
        """

@final
class LegacyPlan:
    """What a restore reads: a snapshot, and the segments that follow it."""

    @property
    def generation(self) -> str:
        """Of this generation."""

    @property
    def snapshot(self) -> tuple[int, int, int]:
        """Index, size in bytes, milliseconds."""

    @property
    def segments(self) -> list[tuple[int, int, int, int]]:
        """Index, offset, size in bytes, milliseconds of each."""

    @property
    def size(self) -> int:
        """Size of all objects together, as they are stored, in bytes."""

    @property
    def created_ms(self) -> int:
        """When the newest of them was stored, in milliseconds."""

@final
class LegacyConversion:
    """A history in the layout of Litestream 0.3 that becomes LTX files, batch by batch."""

    def __new__(
        cls, history: LegacyHistory, store: ObjectStore, prefix: str, directory: _Path, skip_damaged: bool
    ) -> Self:
        """Begins with the first state.

        Args:
            history: what there is.
            store: where it is.
            prefix: what keys begin with.
            directory: where temporary files are, which have no names: two databases, and the LTX files of a batch.
            skip_damaged: leave out what is damaged.

        Raises:
            RestoreError: the directory cannot be written to.
        """

    @property
    def states(self) -> int:
        """How many states there are."""

    @property
    def done(self) -> int:
        """How many of them are done."""

    @property
    def reached(self) -> tuple[int, int] | None:
        """The newest transaction, and its time in milliseconds."""

    @property
    def left_out(self) -> list[tuple[str, str, int, tuple[int, int] | None]]:
        """Files that cannot be used: name, what is wrong, number of states that need it, times of the first and the last of them in milliseconds."""

    @property
    def lacked(self) -> bool:
        """Whether earlier calls have left out states before the one that it has gone on after."""

    def has_origin(self, origin: int) -> bool:
        """Whether the history has the generation that an LTX file is of, as its salts say."""

    def resume(self, min_txid: int, max_txid: int, created_ms: int, mark: int, origin: int) -> bool | None:
        """Goes on after the state of an LTX file.

        The answer is whether the history has the state; ``None`` if the file is of no generation of the history, or of no conversion.

        Args:
            min_txid: first transaction of the file.
            max_txid: last transaction.
            created_ms: the time in its header, in milliseconds.
            mark: the node there.
            origin: the salts of the WAL there, as one number.
        """

    def run(
        self, parallelism: int, progress: Callable[[int, int, int, int], object] | None = None
    ) -> tuple[list[tuple[int, int, int, int, int]], BaseException | None]:
        """Makes the files of the next states, in the order in which they have to be stored.

        Returns:
            Level, first and last transaction, offset in the spool and size in bytes of each; and what kept it from going on.
        """

    def read(self, offset: int, size: int) -> bytes:
        """Bytes of the spool, where the files of the last call are.

        Raises:
            ReplicaError: it cannot be read.
        """

def legacy_verify(
    history: LegacyHistory,
    store: ObjectStore,
    prefix: str,
    *,
    parallelism: int = 8,
    progress: Callable[[int, int, int, int], object] | None = None,
) -> tuple[int, list[tuple[str, str, int, tuple[int, int] | None]]]:
    """Reads everything that a replica holds.

    Args:
        history: what there is.
        store: where it is.
        prefix: what keys begin with.
        parallelism: how many objects are read at once.
        progress: called with bytes done, bytes, files done, files.

    Returns:
        How many states there are; and what is wrong, as :attr:`LegacyConversion.left_out` has it.

    Raises:
        ReplicaError: the storage failed.
    """

def legacy_restore(
    plan: LegacyPlan,
    store: ObjectStore,
    prefix: str,
    output: _Path,
    *,
    parallelism: int = 8,
    overwrite: bool = False,
    rollback_journal: bool = False,
    progress: Callable[[int, int, int, int], object] | None = None,
    verify: Callable[[pathlib.Path], object] | None = None,
    prepare: Callable[[pathlib.Path], object] | None = None,
) -> tuple[int, int, int, int]:
    """Rebuilds a database from a replica in the layout of Litestream 0.3.

    Args:
        plan: what to read.
        store: where it is.
        prefix: what keys begin with.
        output: the path of the database.
        parallelism: how many objects are read at once.
        overwrite: replace an existing database.
        rollback_journal: take the database out of WAL mode.
        progress: called with bytes done, bytes, files done, files.
        verify: called with the path of the new database before it replaces anything.
        prepare: called with the same path, when nothing but the name is left to be given.

    Returns:
        Size of a page in bytes and number of pages, both 0 for an empty database; index and offset that were restored.

    Raises:
        FormatError: an object is damaged, or does not continue the one before.
        RestoreError: a segment is missing, or the database cannot be written.
        ReplicaError: the storage failed.
    """

@final
class Verified:
    """What reading every file of a replica has shown."""

    @property
    def files(self) -> int:
        """How many files were read."""

    @property
    def bytes(self) -> int:
        """How many bytes they have."""

    @property
    def damaged(self) -> list[tuple[tuple[int, int, int, int, int], BaseException]]:
        """Files that are damaged, and what is wrong with each."""

    @property
    def unread(self) -> list[tuple[tuple[int, int, int, int, int], BaseException]]:
        """Files that could not be read, and why."""

    @property
    def holes(self) -> list[tuple[int, tuple[int, int, int]]]:
        """Levels that lack transactions: the last one before, and the next file."""

    @property
    def txid(self) -> int:
        """The last transaction that a restore of the newest state comes to."""

    @property
    def obstacle_file(self) -> tuple[int, int, int] | None:
        """The file that keeps it from coming further, if one does."""

    @property
    def obstacle(self) -> BaseException | None:
        """What else keeps it from coming further, if anything does."""

def verify(
    client: _Client,
    *,
    parallelism: int = 8,
    progress: Callable[[int, int, int, int], object] | None = None,
) -> Verified:
    """Reads every file of a replica.

    Args:
        client: the replica.
        parallelism: how many files are read at once.
        progress: called with bytes done, bytes, files done, files.

    Raises:
        NoSnapshotError: the replica does not exist or is empty.
        ReplicaError: it cannot be listed.
    """

def partial_path(output: _Path) -> pathlib.Path:
    """Where a restore to ``output`` has left what it had if it did not finish. A link is followed."""

def chain_checksums(client: _Client, path: _Path, *, txid: int) -> tuple[int, int]:
    """Write the checksum of every page of the database at ``txid`` to a new file, without restoring the database.

    Eight big-endian bytes a page, in order, zeros for the lock page. The file appears whole and durable, or not at all.

    Returns:
        The page size in bytes, and how many pages there are.

    Raises:
        OutputExistsError: ``path`` exists.
        Error: as for :func:`restore`.
    """

@final
class Step:
    """New LTX files, merged and verified; :meth:`Followed.merge` makes them."""

    @property
    def txid(self) -> int:
        """The transaction that it leads to."""

    @property
    def page_1(self) -> tuple[int, bytes] | None:
        """Checksum and head (100 bytes) of page 1 as the replica has it, if it is one of the pages.

        Raises:
            RestoreError: it cannot be read.
        """

    @property
    def is_whole(self) -> bool:
        """Whether it has every page of the database, so that nothing of what was there stays."""

@final
class FileLock:
    """A lock on a followed database, until it is closed or the object goes away."""

    def close(self) -> None:
        """Let it go. Does nothing the second time."""

def write_sidecar(path: _Path, content: bytes) -> None:
    """Give a file beside a followed database a new content, durably: whole, or not at all.

    Raises:
        RestoreError: it cannot be written.
    """

@final
class Followed:
    """The file of a database that follows a replica while others read it.

    A step is applied by ``save``, ``write`` and ``commit``, under ``try_exclude``. Until ``commit`` is done, a rollback journal
    takes the database back.

    Args:
        path: the database file, an absolute path without links.

    Raises:
        RestoreError: it cannot be opened.
    """

    def __new__(cls, path: _Path) -> Self: ...
    def fileno(self) -> int:
        """The descriptor, to look at the file; never to be closed."""

    def try_claim(self) -> FileLock | None:
        """Become the only one who follows with this database; ``None`` if somebody else does.

        Raises:
            RestoreError: the file system has no locks of open files.
        """

    def try_share(self) -> FileLock | None:
        """Keep others from keeping everybody out, as a reader in rollback mode does.

        SQLite then copies no WAL into the database when a connection closes. ``None`` if somebody keeps everybody out.

        Raises:
            RestoreError: as for :meth:`try_claim`.
        """

    def try_exclude(self, patience: float) -> FileLock | None:
        """Keep every reader and writer out, as SQLite's EXCLUSIVE lock does.

        Args:
            patience: how long readers that are there are waited for, in seconds; new ones are held off meanwhile.

        Returns:
            ``None``, with nothing locked, if one of them takes longer.

        Raises:
            RestoreError: as for :meth:`try_claim`.
        """

    def merge(self, client: _Client, files: Sequence[_Row]) -> Step:
        """Merge new files, each continuing the one before, beside the database.

        Raises:
            FormatError: a file is damaged.
            ReplicaError: the storage failed.
        """

    def first_difference(
        self, client: _Client, files: Sequence[_Row], step: Step | None, watch: Callable[[int, int], None]
    ) -> int | None:
        """The first page that differs from what ``files`` restore, or ``None``.

        Pages of ``step`` are left out, so that the answer is about the database after it. ``watch`` is called with the
        number of pages compared and of all; an exception from it ends the comparison. No lock is taken.

        Raises:
            FormatError: a file is damaged.
            ReplicaError: the storage failed.
        """

    def save(self, step: Step, twin: _Path) -> None:
        """Save the pages that will change in a journal. Whoever truncates ``twin``, its second name, makes it void.

        Raises:
            RestoreError: the page size has changed, or there is a journal already.
        """

    def write(self, step: Step) -> None:
        """Write the pages."""

    def commit(self) -> None:
        """Delete the journal."""

def compact_level(client: _Client, level: int) -> _Row | None:
    """Merge what is new in the level below into ``level``; see ``ltxcore.Replica.compact``."""

def integrity_check(path: _Path, mode: str) -> str | None:
    """Let SQLite check a database that is not in use; ``None`` if it is sound, else what was found first.

    Args:
        path: the database file.
        mode: ``"quick"`` or ``"full"``.

    Raises:
        DatabaseError: the file cannot be opened, or is no database.
    """

@final
class Database:
    """The engine of one live database: what is committed becomes LTX files in the meta directory.

    Methods may be called from any thread. :meth:`open`, :meth:`close`, :meth:`abandon`, :meth:`sync`, :meth:`verify`,
    :meth:`checkpoint`, :meth:`adopt` and :meth:`compare_chain` wait for each other, for as long as all pages may take to be read, and so
    does the beginning of :meth:`snapshot`; they do not hold the interpreter. The others answer at once. A process forked from the
    one that made it must not use it.

    Args:
        path: the database file; it need not exist yet.
        meta_path: the directory of local files, by default ``.<name>-litestream`` beside the database.
        monitor_interval: under steady writing there is at most one L0 file in so many seconds.
        checkpoint_interval: seconds without a checkpoint after which we run one; 0 for never.
        min_checkpoint_page_n: frames in the WAL at which a PASSIVE checkpoint is due.
        truncate_page_n: frames in the WAL at which it is cut.
        busy_timeout: seconds to wait for a lock.
        l0_retention: seconds that local files are kept after their upload.
        shares_process: whether this process may have other connections to the database.
    """

    def __new__(
        cls,
        path: _Path,
        *,
        meta_path: _Path | None = None,
        monitor_interval: float = 1.0,
        checkpoint_interval: float = 60.0,
        min_checkpoint_page_n: int = 1000,
        truncate_page_n: int = 121_359,
        busy_timeout: float = 1.0,
        l0_retention: float = 300.0,
        shares_process: bool = True,
    ) -> Self: ...
    def attach(self) -> bool:
        """Keep the database open from now on, if it is not followed yet and an application uses it in WAL mode.

        Returns:
            Whether it is open, or followed.
        """

    def open(self, remote_txid: int = 0) -> bool:
        """Open the database, given the highest TXID in the replica. False: there is no database file yet.

        Raises:
            DatabaseError: it cannot be opened or switched to WAL mode, or another process replicates it.
        """

    def close(self) -> None:
        """Sync for the last time and let go; does nothing if it is closed.

        Raises:
            DatabaseError: the last sync failed. The database is closed all the same.
        """

    def abandon(self) -> None:
        """Let go without a last sync."""

    def sync(self) -> Pos:
        """Put all that is committed now into L0 files: the position afterwards.

        Raises:
            NotReadyError: there is no database file yet.
            PreviousIOError: local files are gone; open again.
            DatabaseError: SQLite or the file system refused.
        """

    def follow(self, timeout: float) -> bool:
        """Wait up to ``timeout`` seconds for commits and put them into L0 files; true if there is a new one.

        Where :meth:`open` found no database file: wait for one; true if there is one, to be opened again.

        Raises:
            DatabaseError: as for :meth:`sync`.
        """

    def verify(self) -> None:
        """Let go of files that were replaced or changed by somebody else, and open what is there now.

        Raises:
            DatabaseError: as for :meth:`sync`.
        """

    def interrupt(self) -> None:
        """End :meth:`follow` in whatever thread it waits."""

    def cancel(self) -> None:
        """End whatever reads all pages, in whatever thread, and all that would from now on: ``NotOpenError`` is raised there."""

    def checkpoint(self, mode: str) -> Checkpoint:
        """Run a checkpoint.

        Raises:
            DatabaseError: SQLite refused.
        """

    def snapshot(self, path: _Path) -> int:
        """Write the whole database as an LTX file; its last TXID.

        Raises:
            DatabaseError: it cannot be read.
            OSError: ``path`` cannot be written.
        """

    def snapshot_stored(self, max_txid: int) -> None:
        """Say that the replica has a snapshot up to ``max_txid``: :attr:`snapshot_wanted` is settled if it reaches it."""

    @property
    def snapshot_wanted(self) -> int | None:
        """The first TXID that cannot be restored without a snapshot which is still to be made."""

    @property
    def chain_wanted(self) -> int | None:
        """The TXID of the replica whose page checksums :meth:`adopt` could use, so that the next L0 file need not hold every page."""

    def adopt(self, path: _Path, page_size: int, txid: int) -> None:
        """Take over the checksums of all pages of the replica at ``txid`` from a file that :func:`chain_checksums` has written.

        Raises:
            DatabaseError: a file cannot be read or written.
        """

    def compare_chain(self, path: _Path, page_size: int, txid: int) -> ChainComparison | None:
        """Compare the pages of the replica at ``txid`` with what they were then, by what is known here.

        Args:
            path: the file that :func:`chain_checksums` has written for ``txid``.
            page_size: the page size that it has answered, in bytes.
            txid: a TXID of the replica.

        Returns:
            How many pages differ, of how many that could be compared; ``None`` where nothing is known of them.

        Raises:
            DatabaseError: a file cannot be read.
        """

    def take_notices(self) -> list[str]:
        """What the owner should be told and has not been told yet, one sentence each, oldest first."""

    def enforce_l0_retention(self, uploaded_txid: int) -> int:
        """Delete local files that are uploaded and old enough, but never the newest; how many went."""

    def local_files(self) -> list[LocalFile]:
        """The local L0 files, ascending."""

    def check_local(self, txid: int) -> bool:
        """Whether the L0 file of ``txid`` is here and whole; one that is damaged is removed.

        Raises:
            DatabaseError: as for :meth:`sync`.
        """

    def local_path(self, txid: int) -> os.PathLike[str]:
        """The path of the L0 file of ``txid``, whether it exists or not."""

    @property
    def pos(self) -> Pos:
        """The newest position; zeros while closed."""

    @property
    def page_size(self) -> int | None:
        """Bytes of a page; ``None`` while the database is not open or does not exist."""

    def status(self) -> Status:
        """How it is going."""

@final
class SQLiteHandle:
    """One SQLite library of this process. Two handles are equal if they are one library."""

    @staticmethod
    def of_module(file: _Path) -> SQLiteHandle:
        """The library that a module of this process uses, by the file of the module.

        Raises:
            SQLiteNotFoundError: no module was loaded from there, or its symbols are hidden, or the library is too old.
        """

    @staticmethod
    def take_loaded() -> SQLiteHandle | None:
        """The library that has just loaded this file as an extension, in this thread."""

    @property
    def version(self) -> str:
        """Such as ``3.46.1``."""

    @property
    def source_id(self) -> str:
        """The check-in that it was built from."""

    @property
    def path(self) -> pathlib.Path | None:
        """The file that it was loaded from."""

    def register_os_vfs(self, name: str, lock: str) -> None:
        """Make the OS VFS available under a name, for the life of the process.

        Raises:
            VFSNameInUseError: the name means another VFS.
            ValueError: there is no such lock mode.
        """

    def register_reader_vfs(self, name: str) -> None:
        """Make the databases of :class:`ReaderSource` objects available under a name, for the life of the process.

        Raises:
            VFSNameInUseError: the name means another VFS.
        """

    def set_default_vfs(self, name: str) -> None:
        """Let connections that ask for no VFS have this one.

        Raises:
            VFSError: there is no VFS of this name.
        """

    def __eq__(self, other: object, /) -> bool: ...
    def __hash__(self) -> int: ...

@final
class Probed:
    """What a directory can do."""

    @property
    def lock_modes(self) -> list[str]:
        """Lock modes that work there, best first."""

    @property
    def shared_memory(self) -> bool:
        """Whether WAL works between processes."""

    @property
    def atomic_batches(self) -> bool:
        """Whether several writes can be made one."""

    @property
    def file_system(self) -> str | None:
        """The kind of file system, where it is well known."""

    @property
    def warning(self) -> str | None:
        """What is known against it."""

def probe_directory(directory: _Path) -> Probed:
    """Try out what a directory can do.

    Raises:
        OSError: no file can be made there.
    """

def break_lock(database: _Path) -> None:
    """Remove the lock directory that ``lock=dotfile`` left beside a database.

    Raises:
        FileNotFoundError: there is none.
        NotADirectoryError: it is a file.
    """

def take_refusal() -> tuple[Literal["parameter", "locks"], str] | None:
    """Why the OS VFS refused to open a database last in this thread; None if it did not, or if that was asked before.

    Returns:
        Whether a parameter of the URI is the reason, or locks that the file system does not have; and a sentence.
    """

def write_checksums(database: _Path) -> int:
    """Give each page of a database that has a wrong checksum the one of its content. The number of pages that were changed.

    Raises:
        DatabaseBusyError: a connection has the database open.
        DatabaseError: a transaction that was cut short has to be undone first, or the WAL changes whether pages have checksums.
        OSError: it cannot be read or written.
    """

def read_file(path: _Path) -> bytes:
    """The content of a file. No lock of this process is lost if it is a database that is open.

    Raises:
        OSError: it cannot be read.
    """

@final
class FileReader:
    """A file that is read from start to end. No lock of this process is lost if it is a database that is open.

    Raises:
        OSError: it cannot be opened.
    """

    def __new__(cls, path: _Path) -> FileReader: ...
    @property
    def size(self) -> int:
        """Length in bytes."""

    def read(self, size: int = -1, /) -> bytes:
        """Up to ``size`` bytes, or all that are left if it is negative; none at the end.

        Raises:
            OSError: they cannot be read.
        """

    def close(self) -> None:
        """Let the file go."""

def begin_shutdown(timeout: float) -> None:
    """Say that the interpreter is on its way out. From here on nothing calls into Python but in this thread.

    Args:
        timeout: how long to wait for calls of other threads that are under way, in seconds.
    """

class _Positional(Protocol):
    @property
    def size(self) -> int: ...
    def read_at(self, offset: int, size: int, /) -> bytes: ...

@final
class ReaderSource:
    """A database for the reader VFS, until it is closed or gone. Connections keep what they have opened."""

    def __new__(cls, content: bytes | os.PathLike[str] | _Positional, is_ltx: bool) -> ReaderSource:
        """Put a database there: its bytes, or an LTX snapshot of it, which is verified as a whole.

        Raises:
            FormatError: the snapshot is damaged, or holds only some of the pages.
            OSError: it cannot be read.
        """

    @property
    def name(self) -> str:
        """The name by which a connection finds it. No other one of this process has had it.

        In a forked child, connections find it after this was asked for there.
        """

    @property
    def needs_interpreter(self) -> bool:
        """Whether reading it calls Python."""

    def copy(self, directory: str | os.PathLike[str]) -> ReaderSource:
        """Another source that is a copy of this one, in a file without a name. Reading that does not call Python.

        Args:
            directory: where there is room for the file.

        Raises:
            OSError: it cannot be written, or the source ends before its size.
        """

    def take_error(self) -> BaseException | None:
        """What reading failed with last, once: SQLite can only say that it failed."""

    def close(self) -> bool:
        """Let new connections no longer find it; whether they could until now."""
